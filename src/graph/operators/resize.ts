import type { Shape } from "../graph.ts";
import { channelwise, expectPicture, type NodeOf } from "./operator.ts";

type Resize = NodeOf<"resize">;

/** Interpolation between pictures of different sizes; linear, so that zero channels stay zero. */
export const resize = channelwise<Resize>((node, input): Shape => {
  const [channels] = expectPicture(input);
  if (node.scales.some((scale) => !(scale > 0) || !Number.isFinite(scale))) {
    throw new Error(`scales by ${node.scales.join(", ")}, which are not positive numbers`);
  }
  return [channels, ...node.size];
});

/** Where cell `i` of the output lies among the cells of the input. */
function coordinate(node: Resize, axis: 0 | 1, i: number, extent: number): number {
  const { coordinates, size: { [axis]: out }, scales: { [axis]: scale } } = node;
  switch (coordinates) {
    case "asymmetric":
      return i / scale;
    case "align_corners":
      return out === 1 ? 0 : i * (extent - 1) / (out - 1);
    case "pytorch_half_pixel":
      return out === 1 ? 0 : (i + 0.5) / scale - 0.5;
    case "half_pixel":
      return (i + 0.5) / scale - 0.5;
  }
}

const ROUND: Readonly<Record<Resize["rounding"], (at: number) => number>> = {
  floor: Math.floor,
  ceil: Math.ceil,
  round_prefer_floor: (at) => Math.ceil(at - 0.5),
  round_prefer_ceil: (at) => Math.floor(at + 0.5),
};

/** Cells read along one axis, and their shares: [out, taps] each, row-major. */
export interface ResizeTaps {
  readonly taps: number;
  readonly indices: Int32Array;
  readonly shares: Float32Array;
}

/** What each output along an axis of `extent` cells is made of. */
export function resizeTaps(node: Resize, axis: 0 | 1, extent: number): ResizeTaps {
  const inside = (index: number) => Math.min(extent - 1, Math.max(0, index));
  const taps = node.mode === "nearest" ? 1 : 2;
  const indices = new Int32Array(node.size[axis] * taps);
  const shares = new Float32Array(node.size[axis] * taps);
  for (let i = 0; i < node.size[axis]; i++) {
    const at = coordinate(node, axis, i, extent);
    if (node.mode === "nearest") {
      indices[i] = inside(ROUND[node.rounding](at));
      shares[i] = 1;
      continue;
    }
    const first = Math.floor(at);
    indices.set([inside(first), inside(first + 1)], 2 * i);
    shares.set([1 - (at - first), at - first], 2 * i);
  }
  return { taps, indices, shares };
}
