import { RandomStream } from "../random.ts";

/** Indices of the lowest-scoring players, all but `keep`; ties go to the higher index. */
export function lowest(scores: ArrayLike<number>, keep: number): number[] {
  const order = Array.from({ length: scores.length }, (_, player) => player)
    .sort((a, b) => scores[b] - scores[a] || a - b);
  return order.slice(keep).sort((a, b) => a - b);
}

/** Players removed when chance decides, for comparison. */
export function randomRemoval(players: number, keep: number, seed: number, group: string) {
  const random = new RandomStream(seed, `random removal ${group}`);
  return Array.from(random.permutation(players).subarray(keep)).sort((a, b) => a - b);
}
