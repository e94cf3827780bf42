/** Filters along channels: graph to instructions. */

import { channelsInPlace } from "../../graph/operators/channel_filter.ts";
import type { NodeOf } from "../../graph/operators/operator.ts";
import { convolutionAttributes } from "./convolution_attributes.ts";
import { type LoweredValue, type Lowering, present } from "./lowering.ts";

type ChannelFilter = NodeOf<"channel_filter">;

const GATHERED = {
  in_height: 1,
  in_width: 1,
  out_height: 1,
  out_width: 1,
  start_row: 0,
  start_column: 0,
  stride_height: 1,
  stride_width: 1,
};

/** Channels as they lie along the filter, zeros where some are gone; or back. */
function moved(
  lowering: Lowering,
  node: ChannelFilter,
  what: string,
  { name: x, channels }: Pick<LoweredValue, "name" | "channels">,
  from: readonly number[],
): { x: string; map: string; attributes: Record<string, number> } {
  const map = lowering.draft.constant(
    `${what}/${node.name}`,
    [from.length],
    Int32Array.from(from),
  );
  const attributes = { ...GATHERED, in_channels: channels, out_channels: from.length };
  return { x, map, attributes };
}

/**
 * Channels of one cell lie in memory as the rows of a picture of one channel and one column do: the
 * filter is a convolution of that.
 */
export function lowerChannelFilter(lowering: Lowering, node: ChannelFilter): void {
  const { draft, instructions, options: { entry, images, dtype } } = lowering;
  const { positions, extent, padding } = node;
  const x = lowering.picture(node);
  const line = { height: extent, width: 1, channels: 1 };
  const taps = padding[0] + padding[1] + 1;
  const geometry = convolutionAttributes(line, line, {
    kernel: [taps, 1],
    padding: [padding[0], 0],
  });
  const along = (name: string) =>
    draft.value({ name, dtype, shape: [extent], images, place: "activations" });
  const inputs = (from: string) =>
    present({
      x: from,
      packed: lowering.parameter(node.weight, [1, 1, taps, 1]),
      bias: node.bias === undefined ? undefined : lowering.parameter(node.bias),
    });
  if (positions.length === extent) {
    return lowering.emit(node, "convolution", inputs(x.name), { ...geometry, relu: 0 });
  }
  const spread = moved(lowering, node, "places", x, channelsInPlace(node));
  const whole = along(`${entry}:whole/${node.output}`);
  const filtered = along(`${entry}:filtered/${node.output}`);
  instructions.push({
    op: "gather",
    inputs: { x: spread.x, map: spread.map },
    outputs: { y: whole },
    attributes: spread.attributes,
    layer: node.name,
  }, {
    op: "convolution",
    inputs: inputs(whole),
    outputs: { y: filtered },
    attributes: { ...geometry, relu: 0 },
    layer: node.name,
  });
  const kept = moved(lowering, node, "positions", { name: filtered, channels: extent }, positions);
  lowering.emit(node, "gather", { x: kept.x, map: kept.map }, kept.attributes);
}
