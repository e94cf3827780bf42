/**
 * Greedy backward elimination on the compensated game: the channel goes whose loss the others make up
 * for best, again and again. The yardstick that sampled values are held against.
 */

import type { CriterionContext, Ranking } from "./ranking.ts";

export async function elimination(context: CriterionContext): Promise<Ranking[]> {
  const { groups, onProgress } = context;
  const games = await context.games();
  let done = 0;
  return await games.each(async (game, index): Promise<Ranking> => {
    const { players } = groups[index];
    const { players: gone } = await game.eliminate(players.length - 1);
    const out = new Set(gone);
    const order = [...gone, ...players.keys().filter((player) => !out.has(player))];
    const scores = new Array<number>(players.length);
    order.forEach((player, place) => scores[player] = place);
    onProgress?.({ stage: "elimination", done: ++done, total: groups.length, unit: "groups" });
    return { order, scores };
  });
}
