/** Activations, sums and products: graph to instructions. */

import { SecateurError } from "../../errors.ts";
import { ACTIVATION_KINDS } from "../../graph/graph.ts";
import { activationParameters } from "../../graph/operators/activation.ts";
import type { NodeOf } from "../../graph/operators/operator.ts";
import type { LoweredValue, Lowering } from "./lowering.ts";

type Elementwise = NodeOf<"relu"> | NodeOf<"activation"> | NodeOf<"add"> | NodeOf<"multiply">;

function refuse(lowering: Lowering, node: Elementwise, a: LoweredValue, b: LoweredValue): never {
  throw new SecateurError(
    "graph-unsupported",
    `${node.name} (${node.op}) of ${lowering.graph.name} combines a flattened picture of ` +
      `${a.height}x${a.width}x${a.channels} with features of ` +
      `${b.height}x${b.width}x${b.channels}.`,
  );
}

function lowerBinary(lowering: Lowering, node: NodeOf<"add"> | NodeOf<"multiply">): void {
  const a = lowering.input(node), b = lowering.input(node, 1);
  const same = a.flattened === b.flattened && a.height === b.height && a.width === b.width;
  if (node.op === "add") {
    if (!same) refuse(lowering, node, a, b);
    return lowering.emit(node, "add", { a: a.name, b: b.name }, { relu: 0 }, { like: a });
  }
  const single = (value: LoweredValue) => value.height === 1 && value.width === 1;
  const scaled = !a.flattened && !b.flattened && (single(a) || single(b));
  if (!same && !scaled) refuse(lowering, node, a, b);
  // The instruction has one number a channel on the right.
  const [left, right] = !same && single(a) ? [b, a] : [a, b];
  lowering.emit(node, "multiply", { a: left.name, b: right.name }, {}, { like: left });
}

/** Flattened pictures may pass through, as every element is treated alike. */
export function lowerElementwise(lowering: Lowering, node: Elementwise): void {
  if (node.op === "add" || node.op === "multiply") return lowerBinary(lowering, node);
  const x = lowering.input(node);
  if (node.op === "relu") return lowering.emit(node, "relu", { x: x.name }, {}, { like: x });
  const kind = ACTIVATION_KINDS.indexOf(node.kind);
  const attributes = { kind, ...activationParameters(node) };
  lowering.emit(node, "activation", { x: x.name }, attributes, { like: x });
}
