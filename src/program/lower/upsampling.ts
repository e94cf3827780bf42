/** Transposed convolutions, resizing and padding that repeats: graph to instructions. */

import type { NodeOf } from "../../graph/operators/operator.ts";
import { type ResizeTaps, resizeTaps } from "../../graph/operators/resize.ts";
import { paddedFrom } from "../../graph/operators/spatial.ts";
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
function emitTaps(
  lowering: Lowering,
  node: NodeOf<"resize"> | NodeOf<"pad">,
  x: LoweredValue,
  [rows, columns]: readonly [ResizeTaps, ResizeTaps],
): void {
  const { draft } = lowering;
  const { taps } = rows;
  const [height, width] = [rows, columns].map(({ indices }) => indices.length / taps);
  const table = (name: string, extent: number, data: Int32Array | Float32Array) =>
    draft.constant(`${name}/${node.name}`, [extent, taps], data);
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
    taps,
  });
}

export function lowerResize(lowering: Lowering, node: NodeOf<"resize">): void {
  const x = lowering.picture(node);
  emitTaps(lowering, node, x, [resizeTaps(node, 0, x.height), resizeTaps(node, 1, x.width)]);
}

/** Padding that repeats cells is a resize that takes each from one place. */
export function lowerPadding(lowering: Lowering, node: NodeOf<"pad">): void {
  const x = lowering.picture(node);
  const along = (axis: 0 | 1, extent: number): ResizeTaps => {
    const indices = paddedFrom(node, axis, extent);
    return { taps: 1, indices, shares: new Float32Array(indices.length).fill(1) };
  };
  emitTaps(lowering, node, x, [along(0, x.height), along(1, x.width)]);
}
