/** Import of transposed convolutions. */

import type { Padding, Pair } from "../../../../graph/graph.ts";
import { Refusal, shown } from "../../read/array.ts";
import type { OnnxNode } from "../../read/reader.ts";
import type { Importer } from "../importer.ts";

interface Transposed {
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly dilation: Pair;
  readonly outputPadding: Pair;
}

function pairOf(values: readonly number[], what: string, least: number): Pair {
  const [vertical, horizontal] = values;
  const sensible = values.length === 2 &&
    values.every((value) => Number.isInteger(value) && value >= least && value <= 2 ** 16);
  if (sensible) return [vertical, horizontal];
  throw new Refusal(`has ${what} of ${shown(values.slice(0, 8))} instead of two axes`);
}

/** What is around an output. */
type Around = Pick<Transposed, "outputPadding"> & { readonly padding: Padding };

/**
 * Padding that crops the output to the extents asked for, the odd cell at the end or the start; where
 * it does not reach them, rows and columns without input at the end.
 */
function croppedTo(
  [, , ...area]: readonly number[],
  { kernel, stride, dilation, outputPadding }: Transposed,
  wanted: Pair,
  oddAtEnd: boolean,
): Around {
  const reach = (axis: 0 | 1): number =>
    stride[axis] * (area[axis] - 1) + outputPadding[axis] + dilation[axis] * (kernel[axis] - 1) + 1;
  const around = (axis: 0 | 1): Pair => {
    const total = Math.max(0, reach(axis) - wanted[axis]);
    const small = Math.floor(total / 2);
    return oddAtEnd ? [small, total - small] : [total - small, small];
  };
  const missing = (axis: 0 | 1) => outputPadding[axis] + Math.max(0, wanted[axis] - reach(axis));
  const [top, bottom] = around(0), [left, right] = around(1);
  return { padding: [top, left, bottom, right], outputPadding: [missing(0), missing(1)] };
}

function aroundOf(node: OnnxNode, shape: readonly number[], geometry: Transposed): Around {
  const { attributes } = node;
  const automatic = attributes.string("auto_pad", "NOTSET");
  const upper = automatic !== "SAME_LOWER";
  if (attributes.has("output_shape")) {
    const wanted = pairOf(attributes.ints("output_shape").slice(-2), "an output shape", 1);
    return croppedTo(shape, geometry, wanted, automatic === "SAME_UPPER");
  }
  if (automatic === "SAME_UPPER" || automatic === "SAME_LOWER") {
    const { stride } = geometry;
    return croppedTo(shape, geometry, [shape[2] * stride[0], shape[3] * stride[1]], upper);
  }
  const pads = automatic === "VALID" ? [0, 0, 0, 0] : attributes.ints("pads", [0, 0, 0, 0]);
  if (pads.length !== 4 || pads.some((pad) => !(Number.isInteger(pad) && pad >= 0))) {
    throw new Refusal(`has pads of ${shown(pads.slice(0, 8))}`);
  }
  const { outputPadding } = geometry;
  return { padding: [pads[0], pads[1], pads[2], pads[3]], outputPadding };
}

/** ConvTranspose. */
export function importTransposedConvolution(importer: Importer, node: OnnxNode): void {
  const x = importer.picture(node);
  const weight = importer.requiredConstant(node, 1);
  const bias = importer.constant(node, 2);
  const { attributes } = node;
  const { shape } = weight.array;
  if (shape.length !== 4) throw new Refusal(`has weights of ${shape.length} axes instead of 4`);
  const geometry: Transposed = {
    kernel: pairOf(attributes.ints("kernel_shape", shape.slice(2)), "a kernel", 1),
    stride: pairOf(attributes.ints("strides", [1, 1]), "strides", 1),
    dilation: pairOf(attributes.ints("dilations", [1, 1]), "dilations", 1),
    outputPadding: pairOf(attributes.ints("output_padding", [0, 0]), "output padding", 0),
  };
  const groups = attributes.int("group", 1);
  if (!Number.isInteger(groups) || groups < 1) throw new Refusal(`has ${groups} groups`);
  importer.emit(node, {
    op: "transposed_convolution",
    inputs: [x.name],
    weight: importer.parameter(weight),
    ...(bias === undefined ? {} : { bias: importer.parameter(bias) }),
    ...geometry,
    ...aroundOf(node, x.shape, geometry),
    groups,
  });
}
