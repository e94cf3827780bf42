/** A filter along channels as ONNX nodes: a convolution of one axis, of what the channels are in a row. */

import { channelsInPlace } from "../../../graph/operators/channel_filter.ts";
import type { Node } from "../../../graph/graph.ts";
import { type ExportContext, int, ints, onnxNode } from "./node_proto.ts";
import type { NodeProto } from "../proto/onnx_pb.ts";

export function exportChannelFilter(
  node: Node & { op: "channel_filter" },
  context: ExportContext,
): NodeProto[] {
  const { name, inputs: [x], output, positions, extent } = node;
  const shape = context.shapes.get(output)!;
  const nodes: NodeProto[] = [];
  const part = (
    op: string,
    step: string,
    inputs: string[],
    attributes?: Parameters<typeof onnxNode>[2],
  ) => {
    const value = context.value(`${output}/${step}`);
    nodes.push(onnxNode(op, { name: `${name}/${step}`, inputs, output: value }, attributes));
    return value;
  };
  const list = (what: string, values: readonly number[]) =>
    context.integers(`${name}.${what}`, values);
  const axis = [int("axis", 1)];
  const area = shape.slice(1);
  const whole = positions.length === extent;
  let from = x;
  if (!whole) {
    const none = area.map(() => 0);
    const padded = part("Pad", "zero", [x, list("zero", [0, 0, ...none, 0, 1, ...none])]);
    const places = channelsInPlace(node).map((channel) => channel < 0 ? positions.length : channel);
    from = part("Gather", "places", [padded, list("places", places)], axis);
  }
  const row = part("Reshape", "row", [from, list("row", [0, 1, -1])]);
  const weights = [context.parameter(node.weight)];
  if (node.bias !== undefined) weights.push(context.parameter(node.bias));
  // Named as the layer, which is what reading it back calls the convolution.
  const filtered = context.value(`${output}/filtered`);
  nodes.push(
    onnxNode("Conv", { name, inputs: [row, ...weights], output: filtered }, [
      ints("kernel_shape", [node.padding[0] + node.padding[1] + 1]),
      ints("pads", node.padding),
    ]),
  );
  const back = [filtered, list("channels", [0, extent, ...area])];
  if (whole) {
    nodes.push(onnxNode("Reshape", { name: `${name}/channels`, inputs: back, output }));
    return nodes;
  }
  const inputs = [part("Reshape", "channels", back), list("positions", positions)];
  nodes.push(onnxNode("Gather", { name: `${name}/positions`, inputs, output }, axis));
  return nodes;
}
