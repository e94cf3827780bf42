/** PReLU, layer and group norm, local response norm and softmax: graph to instructions. */

import type { NodeOf } from "../../graph/operators/operator.ts";
import type { Lowering } from "./lowering.ts";

type Normalisation =
  | NodeOf<"prelu">
  | NodeOf<"layer_norm">
  | NodeOf<"group_norm">
  | NodeOf<"local_response_norm">
  | NodeOf<"softmax">;

export function lowerNormalisation(lowering: Lowering, node: Normalisation): void {
  const x = lowering.picture(node).name;
  switch (node.op) {
    case "prelu":
      return lowering.emit(node, "prelu", { x, slope: lowering.parameter(node.slope) });
    case "layer_norm": {
      const scale = lowering.parameter(node.scale), offset = lowering.parameter(node.offset);
      return lowering.emit(node, "layer_norm", { x, scale, offset }, { epsilon: node.epsilon });
    }
    case "group_norm": {
      const scale = lowering.parameter(node.scale), offset = lowering.parameter(node.offset);
      const { groups, epsilon } = node;
      return lowering.emit(node, "group_norm", { x, scale, offset }, { groups, epsilon });
    }
    case "local_response_norm": {
      const { size, alpha, beta, bias } = node;
      return lowering.emit(node, "local_response_norm", { x }, { size, alpha, beta, bias });
    }
    case "softmax":
      return lowering.emit(node, "softmax", { x });
  }
}
