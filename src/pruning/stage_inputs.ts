/** What the results of stages depend on, for the store. */

import type { Normalisation, PictureSet } from "../data/dataset.ts";
import { digestOfPictures } from "../data/digest.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import { digestOfGraph } from "../graph/digest.ts";
import type { Graph } from "../graph/graph.ts";
import { loadAddon } from "../native/binding.ts";
import { resolveDtype } from "../native/loaded_model.ts";
import { cpuFeatures, describeDevice } from "../native/session.ts";
import type { PruneOptions } from "./options.ts";

/**
 * What decides results: not threads, not where they go, not what is trained beside them. The device is
 * among what every stage depends on.
 */
export function decidingOptions(options: PruneOptions): Partial<PruneOptions> {
  const { threads: _threads, device: _device, out: _out, resume: _resume, ...rest } = options;
  const { control: _control, ...deciding } = rest;
  return deciding;
}

/** Those of them that the choice of widths depends on. */
export function choosingOptions(options: PruneOptions): Partial<PruneOptions> {
  const { scope, keep, maxRatio, cap, roundTo, ratios, criterion, worth, fusion } = options;
  const { rankWeight, exponent, rankImages, entropyImages, calibration } = options;
  const { budget, pairs, shapleyStages, ahead, seed } = options;
  return {
    ...{ budget, scope, keep, maxRatio, cap, roundTo, ratios, criterion, worth, fusion },
    ...{ rankWeight, exponent, rankImages, entropyImages, calibration },
    ...{ pairs, shapleyStages, ahead, seed },
  };
}

/** Of one model's groups, what tells them from others. */
export const outline = (groups: readonly ChannelGroup[]) =>
  groups.map(({ name, sites, players }) => [name, sites, players.length]);

/** What every stage depends on. */
export function commonInputs(
  { graph, training, normalisation }: {
    readonly graph: Graph;
    readonly training: PictureSet;
    readonly normalisation: Normalisation;
  },
  { dtype, device }: Pick<PruneOptions, "dtype" | "device">,
) {
  const { sourceHash } = loadAddon();
  return {
    layout: 1,
    addon: sourceHash,
    instructions: cpuFeatures(),
    type: resolveDtype(dtype, device),
    device: describeDevice(device),
    model: digestOfGraph(graph),
    training: digestOfPictures(training),
    normalisation,
  };
}
