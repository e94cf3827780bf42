/** Measures one case: opens its contestants, lets them take turns, and sums up. */

import { type Timing, timingOf } from "../src/latency/timing.ts";
import { alternate, ratios } from "./alternate.ts";
import type { BenchmarkOptions, Case, Contestant, OwnCase, Target } from "./contestant.ts";
import type { PeerInterpreter } from "./peer_process.ts";
import { openPeer } from "./peers.ts";

/** A contestant's figures. */
export interface Figures extends Timing {
  readonly about: string;
  readonly tried?: Readonly<Record<string, unknown>>;
  readonly samples: readonly number[];
}

/** One line of the table. */
export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  readonly ours: Figures;
  readonly peer?: Figures & { readonly name: string };
  /** How many times better ours is. */
  readonly ratio?: Timing;
  readonly target?: Target;
  /** Share of the arithmetic that the peer's largest matrix product reaches on this machine. */
  readonly ceiling?: { readonly share: number; readonly of: string };
  /** Measurements of each contestant. */
  readonly rounds: number;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface MeasureOptions extends BenchmarkOptions {
  readonly rounds: number;
  readonly interpreter?: PeerInterpreter;
  readonly onRound?: (done: number) => void;
}

function figuresOf({ about, tried }: Contestant, samples: readonly number[]): Figures {
  return { about, ...(tried ? { tried } : {}), samples, ...timingOf(samples) };
}

/** Floating-point operations a second in a large matrix product: the ceiling that is measured. */
function openCeiling(
  { operations }: Case,
  options: MeasureOptions,
): Promise<Contestant> | undefined {
  if (operations === undefined || options.interpreter === undefined) return undefined;
  return openPeer(options.interpreter, "ceiling", options, { dtype: operations.dtype });
}

/** Opens all, or closes what was opened and throws. */
async function openAll(
  opening: readonly (() => Promise<Contestant>)[],
): Promise<Contestant[]> {
  const contestants: Contestant[] = [];
  try {
    for (const open of opening) contestants.push(await open());
    return contestants;
  } catch (thrown) {
    for (const contestant of contestants) await contestant.close();
    throw thrown;
  }
}

/** The rows of a case: one for each peer, or one alone. */
export async function measureCase(one: Case, options: MeasureOptions): Promise<Row[]> {
  const { interpreter } = options;
  const rounds = Math.min(options.rounds, one.mostRounds ?? Infinity);
  const peers: OwnCase[] = [...one.own ?? []];
  if (interpreter !== undefined) {
    peers.push(...one.peers.map((peer) => ({ ...peer, open: () => peer.open(interpreter) })));
  }
  const contestants = await openAll([() => one.ours(), ...peers.map(({ open }) => open)]);
  try {
    const ceiling = await openCeiling(one, options);
    if (ceiling) contestants.push(ceiling);
    const samples = await alternate(contestants, rounds, options.onRound);
    const ours = figuresOf(contestants[0], samples[0]);
    const common = {
      name: one.name,
      unit: one.unit,
      better: one.better,
      ours,
      ...(ceiling === undefined ? {} : {
        ceiling: {
          share: ours.median * one.operations!.count / timingOf(samples.at(-1)!).median,
          of: ceiling.about,
        },
      }),
      rounds,
      details: { ...one.details, ...contestants[0].details },
    };
    if (peers.length === 0) return [{ ...common, ...(one.target ? { target: one.target } : {}) }];
    return peers.map(({ name, target = one.target }, index) => ({
      ...common,
      peer: { name, ...figuresOf(contestants[index + 1], samples[index + 1]) },
      ratio: ratios(samples[0], samples[index + 1], one.better),
      ...(target ? { target } : {}),
    }));
  } finally {
    for (const contestant of contestants) await contestant.close();
  }
}
