/**
 * Information concentration: rank and entropy of a layer's feature maps fused into one figure.
 *
 * That the two are fused, and that the result sets layer-wise ratios, is Chen & Wang, arXiv
 * 2408.16772. The normalisation, the list of fusions and the weighting over the sites of a coupled
 * set are ours.
 */

import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph, Node } from "../graph/graph.ts";
import { costOf } from "../graph/cost.ts";

/** How rank and entropy become one figure. */
export type Fusion = "product" | "arithmetic" | "geometric" | "harmonic";

export const FUSIONS: readonly Fusion[] = ["product", "arithmetic", "geometric", "harmonic"];

/** Measured indicators of one site (one value gates stand after), each in [0, 1]. */
export interface SiteStatistics {
  readonly value: string;
  /** Mean numerical rank over images and channels / min(h, w); undefined for 1 x 1 maps. */
  readonly rank?: number;
  /** Mean over channels of the response entropy / log bins. */
  readonly entropy: number;
}

export interface SiteConcentration extends SiteStatistics {
  readonly concentration: number;
}

/** Concentration of one channel group and the figures behind it. */
export interface GroupConcentration {
  readonly group: string;
  readonly rank?: number;
  readonly entropy: number;
  readonly concentration: number;
}

/** Fuses two non-negative indicators; `weight` in [0, 1] is the rank's share. */
export function fuse(rank: number, entropy: number, fusion: Fusion, weight = 0.5): number {
  switch (fusion) {
    case "product":
      return rank * entropy;
    case "arithmetic":
      return weight * rank + (1 - weight) * entropy;
    case "geometric":
      return rank ** weight * entropy ** (1 - weight);
    case "harmonic":
      return rank === 0 || entropy === 0 ? 0 : 1 / (weight / rank + (1 - weight) / entropy);
  }
}

const meanOf = (figures: readonly number[]): number =>
  figures.reduce((sum, figure) => sum + figure, 0) / Math.max(1, figures.length);

/**
 * Concentration of every site. Each indicator is divided by its mean over the sites first, so that
 * neither outweighs the other by its scale; a site without rank takes its entropy alone.
 */
export function concentrate(
  sites: readonly SiteStatistics[],
  fusion: Fusion = "geometric",
  weight = 0.5,
): SiteConcentration[] {
  const rankMean = meanOf(sites.flatMap((site) => site.rank ?? [])) || 1;
  const entropyMean = meanOf(sites.map((site) => site.entropy)) || 1;
  return sites.map((site) => {
    const entropy = site.entropy / entropyMean;
    const rank = site.rank === undefined ? entropy : site.rank / rankMean;
    return { ...site, concentration: fuse(rank, entropy, fusion, weight) };
  });
}

/** Layers whose output reaches `value` as channels of the group, without crossing another site. */
function producersOf(
  value: string,
  group: ChannelGroup,
  writers: ReadonlyMap<string, Node>,
): string[] {
  const producers = new Set(group.producers);
  const own = new Set(group.players.flatMap((player) => player.channels.map(({ value }) => value)));
  const found: string[] = [];
  const pending = [value];
  while (pending.length > 0) {
    const node = writers.get(pending.pop()!);
    if (node === undefined) continue;
    if (producers.has(node.name)) found.push(node.name);
    else {
      pending.push(
        ...node.inputs.filter((input) => own.has(input) && !group.sites.includes(input)),
      );
    }
  }
  return found;
}

/** Mean of a group's site figures, weighted by the MACs of the layers that made each site. */
export function concentrationOf(
  graph: Graph,
  groups: readonly ChannelGroup[],
  sites: readonly SiteConcentration[],
): GroupConcentration[] {
  const macs = new Map(costOf(graph).layers.map((layer) => [layer.name, layer.macs]));
  const writers = new Map(graph.nodes.map((node) => [node.output, node]));
  const bySite = new Map(sites.map((site) => [site.value, site]));
  return groups.map((group) => {
    const measured = group.sites.map((value) => bySite.get(value)!);
    const weights = group.sites.map((value) =>
      producersOf(value, group, writers).reduce((sum, name) => sum + (macs.get(name) ?? 0), 0)
    );
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const mean = (figure: (site: SiteConcentration) => number) =>
      total === 0
        ? meanOf(measured.map(figure))
        : measured.reduce((sum, site, i) => sum + weights[i] * figure(site), 0) / total;
    const ranked = measured.every((site) => site.rank !== undefined);
    return {
      group: group.name,
      ...(ranked ? { rank: mean((site) => site.rank!) } : {}),
      entropy: mean((site) => site.entropy),
      concentration: mean((site) => site.concentration),
    };
  });
}
