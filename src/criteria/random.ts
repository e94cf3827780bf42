/** Chance, which every other criterion must beat. */

import { RandomStream } from "../random.ts";
import type { CriterionContext, Ranking } from "./ranking.ts";

export const random = ({ groups, seed }: CriterionContext): Promise<Ranking[]> =>
  Promise.resolve(groups.map(({ name, players }) => {
    const stream = new RandomStream(seed, `random removal ${name}`);
    const order = [...stream.permutation(players.length)];
    const scores = new Array<number>(players.length);
    order.forEach((player, place) => scores[player] = place);
    return { order, scores };
  }));
