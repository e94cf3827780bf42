/** Transposed convolution, resizing, slopes and what compares channels, as ONNX nodes. */

import type { Node } from "../../../graph/graph.ts";
import { type ExportContext, float, int, ints, onnxNode, text } from "./node_proto.ts";
import type { NodeProto } from "../proto/onnx_pb.ts";

type NodeOf<Name extends Node["op"]> = Node & { op: Name };

/** ONNX aligns slopes with the last axes, so they get the picture's. */
export function exportPrelu(node: NodeOf<"prelu">, context: ExportContext): NodeProto[] {
  const slope = context.parameter(node.slope);
  const area = context.shapes.get(node.output)!.slice(1);
  const end = (name: string) => onnxNode("PRelu", { ...node, inputs: [...node.inputs, name] });
  if (area.length === 0) return [end(slope)];
  const axes = context.integers(`${node.name}.axes`, area.map((_, axis) => axis + 1));
  const output = context.value(`${node.output}/slope`);
  const name = `${node.name}/slope`;
  return [onnxNode("Unsqueeze", { name, inputs: [slope, axes], output }), end(output)];
}

export function exportTransposedConvolution(
  node: NodeOf<"transposed_convolution">,
  { parameter }: ExportContext,
): NodeProto {
  const bias = node.bias === undefined ? [] : [parameter(node.bias)];
  const inputs = [...node.inputs, parameter(node.weight), ...bias];
  return onnxNode("ConvTranspose", { ...node, inputs }, [
    ints("kernel_shape", node.kernel),
    ints("strides", node.stride),
    ints("pads", node.padding),
    ints("dilations", node.dilation),
    ints("output_padding", node.outputPadding),
    int("group", node.groups),
  ]);
}

/** By scales; where rounding them to f32 would lose a row or column, by the next larger number. */
export function exportResize(node: NodeOf<"resize">, context: ExportContext): NodeProto {
  const [, ...area] = context.shapes.get(node.inputs[0])!;
  const scales = node.scales.map((scale, axis) => {
    const near = Math.fround(scale);
    const enough = Math.floor(area[axis] * near) >= node.size[axis];
    return enough ? near : Math.fround(near * (1 + 2 ** -23));
  });
  const name = context.numbers(`${node.name}.scales`, [4], [1, 1, ...scales], "f32");
  return onnxNode("Resize", { ...node, inputs: [...node.inputs, "", name] }, [
    text("mode", node.mode),
    text("coordinate_transformation_mode", node.coordinates),
    text("nearest_mode", node.rounding),
  ]);
}

export function exportDepthToSpace(node: NodeOf<"depth_to_space">): NodeProto {
  return onnxNode("DepthToSpace", node, [int("blocksize", node.block), text("mode", "CRD")]);
}

export function exportResponseNorm(node: NodeOf<"local_response_norm">): NodeProto {
  const { size, alpha, beta, bias } = node;
  return onnxNode("LRN", node, [
    int("size", size),
    float("alpha", alpha),
    float("beta", beta),
    float("bias", bias),
  ]);
}

export function exportSoftmax(node: NodeOf<"softmax">): NodeProto {
  return onnxNode("Softmax", node, [int("axis", 1)]);
}
