/** Measures contestants in turns, so that a drifting clock meets all of them alike. */

import { setTimeout } from "node:timers/promises";
import { type Timing, timingOf } from "../src/latency/timing.ts";
import type { Contestant } from "./contestant.ts";

/** Milliseconds in which threads that spin at the end of a contestant's work go to sleep. */
const PAUSE = 30;

/**
 * `rounds` measurements of every contestant, after one that does not count: [contestant][round].
 * Every other round goes backwards, so that nobody always follows the same one.
 */
export async function alternate(
  contestants: readonly Contestant[],
  rounds: number,
  onRound: (done: number) => void = () => {},
): Promise<number[][]> {
  const figures: number[][] = contestants.map(() => []);
  for (let round = -1; round < rounds; round++) {
    const turn = contestants.map((_, index) => index);
    if (round % 2 !== 0) turn.reverse();
    for (const index of turn) {
      const figure = await contestants[index].measure();
      if (round >= 0) figures[index].push(figure);
      await setTimeout(PAUSE);
    }
    onRound(round + 1);
  }
  return figures;
}

/**
 * How many times better ours is than the peer's, round by round: neighbours in time share the
 * clock rate, so their ratio varies less than either.
 */
export function ratios(
  ours: readonly number[],
  peers: readonly number[],
  better: "higher" | "lower",
): Timing {
  return timingOf(
    ours.map((figure, round) =>
      better === "higher" ? figure / peers[round] : peers[round] / figure
    ),
  );
}

/** Interquartile range as a share of the median. */
export function spread({ median, low, high }: Timing): number {
  return (high - low) / median;
}
