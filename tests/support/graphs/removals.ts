/** Random sets of channels to cut, and what masking them means. */

import type { ChannelGroup } from "../../../src/graph/channels.ts";
import type { Removal } from "../../../src/graph/cut.ts";
import type { RandomStream } from "../../../src/random.ts";

/** Players of one group that go. */
export interface RandomRemoval {
  readonly group: ChannelGroup;
  readonly removed: readonly number[];
}

/** Removes each player with the given probability, but never a whole group. */
export function randomRemovals(
  groups: readonly ChannelGroup[],
  random: RandomStream,
  share = 0.5,
): RandomRemoval[] {
  return groups.map((group) => {
    const stays = random.integer(group.players.length);
    const removed = group.players.map((_, player) => player)
      .filter((player) => player !== stays && random.uniform() < share);
    return { group, removed };
  });
}

/** Channels to mask by value, for the oracle: the sites of the players that go. */
export function masksOf(removals: readonly Removal[]): Map<string, Set<number>> {
  const masks = new Map<string, Set<number>>();
  for (const { group, removed } of removals) {
    for (const player of removed) {
      for (const { value, channel } of group.players[player].sites) {
        masks.set(value, (masks.get(value) ?? new Set()).add(channel));
      }
    }
  }
  return masks;
}
