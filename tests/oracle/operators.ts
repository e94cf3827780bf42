/** Operators of graph.ts that only some families use, in plain f64 loops, channels first. */

import type { Node, Shape } from "../../src/graph/graph.ts";

type NodeOf<Name extends Node["op"]> = Extract<Node, { op: Name }>;
type Numbers = ArrayLike<number>;

const size = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);

/** Every input cell adds its kernel to the output. */
export function transposedConvolution(
  node: NodeOf<"transposed_convolution">,
  x: Float64Array,
  [inChannels, height, width]: Shape,
  [outChannels, rows, columns]: Shape,
  weight: Numbers,
  bias: Numbers | undefined,
): Float64Array {
  const [kernelRows, kernelColumns] = node.kernel;
  const perGroup = outChannels / node.groups, inPerGroup = inChannels / node.groups;
  const y = new Float64Array(outChannels * rows * columns);
  for (let c = 0; c < inChannels; c++) {
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        for (let o = 0; o < perGroup; o++) {
          for (let p = 0; p < kernelRows; p++) {
            for (let q = 0; q < kernelColumns; q++) {
              const row = i * node.stride[0] - node.padding[0] + p * node.dilation[0];
              const column = j * node.stride[1] - node.padding[1] + q * node.dilation[1];
              if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
              const out = Math.floor(c / inPerGroup) * perGroup + o;
              const w = weight[((c * perGroup + o) * kernelRows + p) * kernelColumns + q];
              y[(out * rows + row) * columns + column] += w * x[(c * height + i) * width + j];
            }
          }
        }
      }
    }
  }
  return y.map((value, i) => value + (bias?.[Math.floor(i / rows / columns)] ?? 0));
}

/** Where output cell i lies in the input, as ONNX's Resize defines it. */
function original(node: NodeOf<"resize">, axis: 0 | 1, i: number, extent: number): number {
  const out = node.size[axis], scale = node.scales[axis];
  if (node.coordinates === "asymmetric") return i / scale;
  if (node.coordinates === "align_corners") return out > 1 ? i * (extent - 1) / (out - 1) : 0;
  if (node.coordinates === "pytorch_half_pixel" && out === 1) return 0;
  return (i + 0.5) / scale - 0.5;
}

/** The value at a fractional place of a line, edges repeated. */
function interpolate(node: NodeOf<"resize">, at: number, read: (index: number) => number): number {
  if (node.mode === "linear") {
    const first = Math.floor(at);
    return (first + 1 - at) * read(first) + (at - first) * read(first + 1);
  }
  const half = at - Math.floor(at) === 0.5;
  switch (node.rounding) {
    case "floor":
      return read(Math.floor(at));
    case "ceil":
      return read(Math.ceil(at));
    case "round_prefer_floor":
      return read(half ? Math.floor(at) : Math.round(at));
    case "round_prefer_ceil":
      return read(half ? Math.ceil(at) : Math.round(at));
  }
}

export function resize(
  node: NodeOf<"resize">,
  x: Float64Array,
  [, height, width]: Shape,
  out: Shape,
): Float64Array {
  const [, rows, columns] = out;
  const inside = (index: number, extent: number) => Math.min(extent - 1, Math.max(0, index));
  return new Float64Array(size(out)).map((_, index) => {
    const column = index % columns, row = Math.floor(index / columns) % rows;
    const channel = Math.floor(index / columns / rows);
    return interpolate(
      node,
      original(node, 0, row, height),
      (i) =>
        interpolate(
          node,
          original(node, 1, column, width),
          (j) => x[(channel * height + inside(i, height)) * width + inside(j, width)],
        ),
    );
  });
}

/** Places in a row, zero where no channel lies; every answer sums what lies around its place. */
export function channelFilter(
  { positions, extent, padding }: NodeOf<"channel_filter">,
  x: Float64Array,
  weight: Numbers,
  bias = 0,
): Float64Array {
  const row = new Float64Array(extent);
  positions.forEach((place, c) => row[place] = x[c]);
  return Float64Array.from(positions, (place) => {
    let sum = bias;
    for (let tap = 0; tap < weight.length; tap++) {
      sum += weight[tap] * (row[place - padding[0] + tap] ?? 0);
    }
    return sum;
  });
}

/** Applies f to the channels of each pixel. */
export function pixelwise(
  x: Float64Array,
  [channels]: Shape,
  f: (pixel: number[]) => number[],
): Float64Array {
  const area = x.length / channels, y = new Float64Array(x.length);
  for (let p = 0; p < area; p++) {
    const pixel = Array.from({ length: channels }, (_, c) => x[c * area + p]);
    f(pixel).forEach((value, c) => y[c * area + p] = value);
  }
  return y;
}

export function standardised(pixel: readonly number[], epsilon: number): number[] {
  const mean = pixel.reduce((sum, value) => sum + value, 0) / pixel.length;
  const squares = pixel.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return pixel.map((value) => (value - mean) / Math.sqrt(squares / pixel.length + epsilon));
}

/** Group norm, channels first: every group of every image by its own mean and deviation. */
export function groupNorm(
  x: Float64Array,
  groups: number,
  epsilon: number,
): Float64Array {
  const cells = x.length / groups, y = new Float64Array(x.length);
  for (let group = 0; group < groups; group++) {
    const own = Array.from(x.subarray(group * cells, (group + 1) * cells));
    y.set(standardised(own, epsilon), group * cells);
  }
  return y;
}

export function responses(
  pixel: readonly number[],
  { size, alpha, beta, bias }: Readonly<Record<"size" | "alpha" | "beta" | "bias", number>>,
): number[] {
  return pixel.map((value, c) => {
    const first = Math.max(0, c - Math.floor((size - 1) / 2));
    const around = pixel.slice(first, c + Math.ceil((size - 1) / 2) + 1);
    const squares = around.reduce((sum, other) => sum + other * other, 0);
    return value / (bias + alpha / size * squares) ** beta;
  });
}

export function shares(pixel: readonly number[]): number[] {
  const largest = Math.max(...pixel);
  const powers = pixel.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
