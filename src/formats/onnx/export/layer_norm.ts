/** Layer norm over channels as ONNX nodes. ONNX normalises the last axes, so pictures are turned. */

import type { Node } from "../../../graph/graph.ts";
import { type ExportContext, float, int, ints, onnxNode } from "./node_proto.ts";
import type { NodeProto } from "../proto/onnx_pb.ts";

type LayerNorm = Node & { op: "layer_norm" };

/** ONNX has an operator for it from this set on. */
const FIRST_OPSET = 17;

/** x normalised over its last axis. */
function normalised(
  node: LayerNorm,
  x: string,
  output: string,
  context: ExportContext,
): NodeProto[] {
  const { name, epsilon } = node;
  const [scale, offset] = [node.scale, node.offset].map(context.parameter);
  if (context.opset >= FIRST_OPSET) {
    const attributes = [int("axis", -1), float("epsilon", epsilon)];
    return [
      onnxNode("LayerNormalization", { name, inputs: [x, scale, offset], output }, attributes),
    ];
  }
  const nodes: NodeProto[] = [];
  const part = (op: string, step: string, inputs: string[], attributes = [] as typeof axes) => {
    const value = context.value(`${node.output}/${step}`);
    nodes.push(onnxNode(op, { name: `${name}/${step}`, inputs, output: value }, attributes));
    return value;
  };
  const axes = [ints("axes", [-1])];
  const mean = part("ReduceMean", "mean", [x], axes);
  const centred = part("Sub", "centred", [x, mean]);
  const squares = part("Mul", "squares", [centred, centred]);
  const variance = part("ReduceMean", "variance", [squares], axes);
  const safe = part("Add", "safe", [variance, context.numbers(`${name}.epsilon`, [], [epsilon])]);
  const deviation = part("Sqrt", "deviation", [safe]);
  // Named as the layer, which is what reading it back calls the quotient.
  const quotient = context.value(`${node.output}/quotient`);
  nodes.push(onnxNode("Div", { name, inputs: [centred, deviation], output: quotient }));
  const scaled = part("Mul", "scaled", [quotient, scale]);
  nodes.push(onnxNode("Add", { name: `${name}/moved`, inputs: [scaled, offset], output }));
  return nodes;
}

export function exportLayerNorm(node: LayerNorm, context: ExportContext): NodeProto[] {
  const { name, inputs: [x], output } = node;
  if (context.shapes.get(output)!.length === 1) return normalised(node, x, output, context);
  const last = context.value(`${output}/channels_last`);
  const norm = context.value(`${output}/normalised`);
  const turned = (suffix: string, from: string, to: string, order: readonly number[]) =>
    onnxNode("Transpose", { name: `${name}/${suffix}`, inputs: [from], output: to }, [
      ints("perm", order),
    ]);
  return [
    turned("channels_last", x, last, [0, 2, 3, 1]),
    ...normalised(node, last, norm, context),
    turned("channels_first", norm, output, [0, 3, 1, 2]),
  ];
}
