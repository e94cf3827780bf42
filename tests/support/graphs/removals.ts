/** Random sets of channels to cut. */

import type { ChannelGroup } from "../../../src/graph/channels.ts";
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
