/**
 * Group norm as ONNX nodes: instance norm of what its groups are as one channel each, then a number a
 * channel to scale and one to move by, as PyTorch writes it.
 */

import type { Node } from "../../../graph/graph.ts";
import { type ExportContext, float, onnxNode } from "./node_proto.ts";
import type { NodeProto } from "../proto/onnx_pb.ts";

type GroupNorm = Node & { op: "group_norm" };

export function exportGroupNorm(node: GroupNorm, context: ExportContext): NodeProto[] {
  const { name, inputs: [x], output, groups } = node;
  const shape = context.shapes.get(output)!;
  const epsilon = float("epsilon", node.epsilon);
  const [scale, offset] = [node.scale, node.offset].map(context.parameter);
  if (groups === shape[0] && shape.length === 3) {
    return [
      onnxNode("InstanceNormalization", { name, inputs: [x, scale, offset], output }, [epsilon]),
    ];
  }
  const nodes: NodeProto[] = [];
  const part = (op: string, step: string, inputs: string[]) => {
    const value = context.value(`${output}/${step}`);
    nodes.push(onnxNode(op, { name: `${name}/${step}`, inputs, output: value }));
    return value;
  };
  const reshaped = (step: string, value: string, to: readonly number[]) =>
    part("Reshape", step, [value, context.integers(`${name}.${step}`, to)]);
  const filled = (what: string, value: number) =>
    context.numbers(`${name}.${what}`, [groups], new Array<number>(groups).fill(value));
  const area = shape.slice(1).map((_, axis) => axis + 1);
  const aligned = (what: string, vector: string) =>
    area.length === 0
      ? vector
      : part("Unsqueeze", what, [vector, context.integers(`${name}.${what}`, area)]);
  const grouped = reshaped("groups", x, [0, groups, -1]);
  const normalised = context.value(`${output}/normalised`);
  const inputs = [grouped, filled("ones", 1), filled("zeros", 0)];
  nodes.push(
    onnxNode("InstanceNormalization", { name, inputs, output: normalised }, [epsilon]),
  );
  const back = reshaped("channels", normalised, [0, ...shape]);
  const scaled = part("Mul", "scaled", [back, aligned("scale", scale)]);
  const moved = [scaled, aligned("offset", offset)];
  nodes.push(onnxNode("Add", { name: `${name}/moved`, inputs: moved, output }));
  return nodes;
}
