import { elementCount } from "../../tensor.ts";
import type { Shape } from "../graph.ts";
import { coupleOperands, mapOfAll, type NodeOf, type Operator } from "./operator.ts";

/** One number a channel, whatever the rank. */
function isPerChannel(shape: Shape): boolean {
  return elementCount(shape) === shape[0];
}

/**
 * Product of two values, of which one may be a map that is the same for all channels. A channel of
 * either that is zero makes the product's zero, so all three couple and the gate stands after the
 * product.
 */
export const multiply: Operator<NodeOf<"multiply">> = {
  trainable: () => [],
  buffers: () => [],
  keepsZero: false,
  shape(_node, [a, b]) {
    const same = a.length === b.length && a.every((extent, axis) => extent === b[axis]);
    if (same) return a;
    const map = mapOfAll([a, b]);
    if (map !== undefined) return map === 0 ? b : a;
    const [large, small] = isPerChannel(a) ? [b, a] : [a, b];
    if (large[0] !== small[0] || !isPerChannel(small)) {
      throw new Error(
        `multiplies [${a.join(", ")}] by [${b.join(", ")}], which neither agree nor are one ` +
          `number for each channel or each pixel`,
      );
    }
    return large.length === 1 ? small : large;
  },
  macs: () => 0,
  channels: coupleOperands,
  cut: (node) => node,
};
