/**
 * A budget in time: the times of layers that widths are solved by, and what passes then take. Layers'
 * times predict those of whole models only nearly, so widths are solved again where a measurement
 * misses what was asked.
 */

import { availableParallelism } from "node:os";
import { cutShapes, type Removal } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import { machineName } from "../latency/cache.ts";
import { filled } from "../latency/layer_graph.ts";
import { measureWhole } from "../latency/measure.ts";
import { openRuntime } from "../latency/open.ts";
import type { LatencyOutcome, PassTimes } from "../latency/outcome.ts";
import { profileLayers } from "../latency/profile.ts";
import { type Runtime, type RuntimeName, RUNTIMES } from "../latency/runtime.ts";
import { type LatencyTable, readTable } from "../latency/table.ts";
import { PRECISIONS } from "../program/precision.ts";
import type { RunOptions } from "../progress.ts";
import type { Ratios } from "../ratios/budget.ts";
import { SecateurError } from "../errors.ts";
import type { AskedBudget, PruneOptions } from "./options.ts";

export type AskedLatency = Extract<AskedBudget, { kind: "latency" }>;

/** How far a measurement may be from what was asked, as a share of the original's time. */
const MISS = 0.01;
const MOST_CORRECTIONS = 2;

const isRuntime = (text: string): text is RuntimeName =>
  (RUNTIMES as readonly string[]).includes(text);

/** The table that a budget names, or undefined where it names a runtime. Throws as `readTable`. */
export async function tableOf({ runtime }: AskedLatency): Promise<LatencyTable | undefined> {
  return isRuntime(runtime) ? undefined : await readTable(runtime);
}

/** The table of a runtime on this machine, one picture a pass. Throws as `profileLayers`. */
export async function profiled(
  graph: Graph,
  { runtime }: AskedLatency,
  { dtype, threads = availableParallelism(), roundTo }: PruneOptions,
  run: RunOptions,
): Promise<LatencyTable> {
  const opened = await openRuntime(runtime as RuntimeName, { batch: 1, threads }, dtype);
  return await profileLayers(graph, opened, { ...run, roundTo });
}

/** The runtime of a table, where it runs on this machine as it ran then. */
async function runtimeOf(table: LatencyTable): Promise<Runtime | undefined> {
  const { machine, runtime, version, dtype, batch, threads } = table;
  const precision = PRECISIONS.find((name) => name === dtype);
  if (machine !== machineName() || precision === undefined) return undefined;
  const opened = await openRuntime(runtime, { batch, threads }, precision);
  return opened.version === version ? opened : undefined;
}

/** How widths are solved, and what the model is at them. */
export interface Solving {
  /** Ratios at which this share of the time goes. Throws "budget-impossible". */
  solve(cut: number): Ratios;
  /** What goes at them; which channels of a group does not matter to time. */
  removals(ratios: Ratios): readonly Removal[];
}

/**
 * Solves for `asked`, the share to remove, measures, and solves again for the allowance times what was
 * predicted over what was measured while that misses by more than a point; the nearest counts. Throws
 * "budget-impossible" and "cancelled".
 */
export async function settle(
  graph: Graph,
  table: LatencyTable,
  asked: number,
  { solve, removals }: Solving,
  { signal }: RunOptions,
): Promise<{ ratios: Ratios; outcome: LatencyOutcome }> {
  const runtime = await runtimeOf(table);
  return await corrected(
    asked,
    table.runtime,
    solve,
    runtime && (async (ratios) => {
      const cut = filled(cutShapes(graph, removals(ratios)));
      const [original, after] = await measureWhole([graph, cut], runtime, signal ? { signal } : {});
      return { original, cut: after };
    }),
  );
}

/** As `settle`, with what measures a model of such widths; left out, nothing is measured. */
export async function corrected(
  asked: number,
  runtime: RuntimeName,
  solve: Solving["solve"],
  measure: ((ratios: Ratios) => Promise<PassTimes>) | undefined,
): Promise<{ ratios: Ratios; outcome: LatencyOutcome }> {
  let ratios = solve(asked);
  const original = ratios.allowed / (1 - asked);
  const outcomeOf = (corrections: number, measured?: PassTimes): LatencyOutcome => ({
    runtime,
    predicted: { original, cut: ratios.reached },
    ...(measured ? { measured } : {}),
    corrections,
  });
  if (measure === undefined) return { ratios, outcome: outcomeOf(0) };
  let best = { ratios, outcome: outcomeOf(0) };
  let least = Infinity;
  for (let corrections = 0;; corrections++) {
    const times = await measure(ratios);
    const stays = times.cut / times.original;
    const miss = Math.abs(stays - (1 - asked));
    if (miss < least) {
      best = { ratios, outcome: outcomeOf(corrections, times) };
      least = miss;
    }
    if (miss <= MISS || corrections === MOST_CORRECTIONS) return best;
    const next = again(solve, 1 - (1 - asked) * (ratios.reached / original) / stays);
    if (next === undefined || String(next.kept) === String(ratios.kept)) return best;
    ratios = next;
  }
}

/** Ratios of another share, undefined where there are none. */
function again(solve: Solving["solve"], cut: number): Ratios | undefined {
  if (!(cut > 0 && cut < 1)) return undefined;
  try {
    return solve(cut);
  } catch (thrown) {
    if (thrown instanceof SecateurError && thrown.code === "budget-impossible") return undefined;
    throw thrown;
  }
}
