/** Transposed convolutions and resizing: graph to instructions. */

import type { NodeOf } from "../../graph/operators/operator.ts";
import { resizeTaps } from "../../graph/operators/resize.ts";
import { convolutionAttributes } from "./convolution_attributes.ts";
import { type LoweredValue, type Lowering, nhwc, present } from "./lowering.ts";

/**
 * The gradient of a convolution whose input is our output. That has no bias, which is therefore
 * that of a depthwise convolution by one.
 */
export function lowerTransposedConvolution(
  lowering: Lowering,
  node: NodeOf<"transposed_convolution">,
): void {
  const { draft, options: { entry, images, dtype } } = lowering;
  const x = lowering.picture(node);
  const [channels, height, width] = lowering.shapes.get(node.output)!;
  const geometry = convolutionAttributes({ height, width, channels }, x, node);
  const inputs = { dy: x.name, packed: lowering.parameter(node.weight) };
  const op = "convolution_backward_data";
  if (node.bias === undefined) {
    return lowering.emit(node, op, inputs, geometry, { output: "dx" });
  }
  const name = draft.value({
    name: `${entry}:unbiased/${node.output}`,
    dtype,
    shape: nhwc(height, width, channels),
    images,
    place: "activations",
  });
  const outputs = { dx: name };
  lowering.instructions.push({ op, inputs, outputs, attributes: geometry, layer: node.name });
  addBias(lowering, node, { name, height, width, channels, flattened: false }, node.bias);
}

function addBias(
  lowering: Lowering,
  node: NodeOf<"transposed_convolution">,
  picture: LoweredValue,
  bias: string,
): void {
  const { name, channels } = picture;
  const ones = lowering.draft.constant(
    `ones/kernel/${channels}`,
    [channels, 1, 1, 1],
    new Float32Array(channels).fill(1),
  );
  const inputs = present({ x: name, packed: ones, bias: lowering.parameter(bias) });
  const shape = convolutionAttributes(picture, picture, { kernel: [1, 1], groups: channels });
  lowering.emit(node, "convolution", inputs, { ...shape, relu: 0 });
}

/**
 * A transposed convolution whose kernels are each one pixel of a block: products with ones and zeros,
 * which move numbers exactly.
 */
export function lowerDepthToSpace(lowering: Lowering, node: NodeOf<"depth_to_space">): void {
  const { block } = node;
  const x = lowering.picture(node);
  const [channels, height, width] = lowering.shapes.get(node.output)!;
  const cells = block ** 2;
  const kernel = Float32Array.from(
    { length: x.channels * cells },
    (_, i) => Math.floor(i / cells) % cells === i % cells ? 1 : 0,
  );
  const packed = lowering.draft.constant(
    `blocks/${channels}/${block}`,
    [x.channels, 1, block, block],
    kernel,
  );
  const geometry = convolutionAttributes({ height, width, channels }, x, {
    kernel: [block, block],
    stride: [block, block],
    groups: channels,
  });
  const inputs = { dy: x.name, packed };
  lowering.emit(node, "convolution_backward_data", inputs, geometry, { output: "dx" });
}

/** Tables say which rows and columns each output is made of. */
export function lowerResize(lowering: Lowering, node: NodeOf<"resize">): void {
  const { draft } = lowering;
  const x = lowering.picture(node);
  const [height, width] = node.size;
  const rows = resizeTaps(node, 0, x.height), columns = resizeTaps(node, 1, x.width);
  const table = (name: string, extent: number, data: Int32Array | Float32Array) =>
    draft.constant(`${name}/${node.name}`, [extent, rows.taps], data);
  lowering.emit(node, "resize", {
    x: x.name,
    rows: table("rows", height, rows.indices),
    row_shares: table("row_shares", height, rows.shares),
    columns: table("columns", width, columns.indices),
    column_shares: table("column_shares", width, columns.shares),
  }, {
    in_height: x.height,
    in_width: x.width,
    channels: x.channels,
    out_height: height,
    out_width: width,
    taps: rows.taps,
  });
}
