/** What is measured: the same work, done by secateur and by its peers, in one unit. */

import type { Device } from "../src/native/session.ts";
import type { PeerInterpreter } from "./peer_process.ts";

/** One way to do the work; opened once and measured many times. */
export interface Contestant {
  /** How it does it, such as "frozen, channels-last". */
  readonly about: string;
  /** Other ways it tried before it chose this one, and the seconds each took. */
  readonly tried?: Readonly<Record<string, unknown>>;
  /** What opening it found out about its answers, added to the case's details. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** Does the work and returns the figure in the case's unit. */
  measure(): Promise<number>;
  close(): void | Promise<void>;
}

/** What the issue asks of a figure. */
export type Target =
  /** This many times better than the peer. */
  | { readonly kind: "ratio"; readonly least: number }
  /** At most this share of the peer's. */
  | { readonly kind: "share"; readonly most: number }
  /** At most this much in the case's unit, whatever the peer takes. */
  | { readonly kind: "figure"; readonly most: number };

/** A peer of a case in PyTorch, and what is asked against it. */
export interface PeerCase {
  readonly name: string;
  readonly target?: Target;
  open(interpreter: PeerInterpreter): Promise<Contestant>;
}

/** Another size or setting of secateur's own to compare with. */
export interface OwnCase {
  readonly name: string;
  readonly target?: Target;
  open(): Promise<Contestant>;
}

/** One line of a benchmark, or one for each peer. */
export interface Case {
  readonly name: string;
  readonly unit: string;
  /** Rates are better when higher, times and sizes when lower. */
  readonly better: "higher" | "lower";
  /** Floating-point operations behind one unit, where the unit is a rate of arithmetic. */
  readonly operations?: { readonly count: number; readonly dtype: "f32" | "bf16" };
  /** What else a reader needs in order to judge the figure. */
  readonly details: Readonly<Record<string, unknown>>;
  /** No more rounds than this, where one measurement takes long or hardly varies. */
  readonly mostRounds?: number;
  ours(): Promise<Contestant>;
  readonly peers: readonly PeerCase[];
  readonly own?: readonly OwnCase[];
  /** Asked of our figure when there is no peer to ask it against. */
  readonly target?: Target;
}

/** Everything a benchmark may depend on. */
export interface BenchmarkOptions {
  readonly threads: number;
  /** What computes our side of inference, steps, games and ranks; the CPU without one. */
  readonly device?: Device;
  /** Tiny sizes that only show that everything runs. */
  readonly quick: boolean;
  /** Least seconds of work in one measurement of a rate. */
  readonly seconds: number;
  /** A folder for files that the work needs. */
  readonly folder: string;
}

/** A named set of cases. */
export interface Benchmark {
  readonly name: string;
  readonly about: string;
  cases(options: BenchmarkOptions): Case[] | Promise<Case[]>;
}

/**
 * Seconds of one run of `work`, repeated until `least` seconds have passed on the clock `now`, in
 * milliseconds.
 */
export async function secondsPerRun(
  work: () => void | Promise<void>,
  least: number,
  now: () => number = () => performance.now(),
): Promise<number> {
  const started = now();
  let runs = 0, seconds;
  do {
    await work();
    runs += 1;
    seconds = (now() - started) / 1000;
  } while (seconds < least);
  return seconds / runs;
}
