/**
 * Which stages jobs have in common, by their options alone: what the store's digests will say once
 * models and pictures are read. Where options name the same in two ways, it takes them for different.
 */

import { JOB_OPTIONS, type JobOptions } from "./job_options.ts";
import { parseCriterion } from "../../criteria/criteria.ts";
import { DATA_OPTIONS, MODEL_OPTIONS } from "../../commands/options/shared.ts";
import { type PruneOptions, weighsCurves } from "../../pruning/options.ts";

/** Stages that jobs may share, in the order of a run. */
export const SHARED_STAGES = [
  "baseline",
  "statistics",
  "moments",
  "contributions",
  "curves",
  "sensitivities",
  "control",
] as const;
export type SharedStage = typeof SHARED_STAGES[number];

/** Stages that come before widths are known: a run has them behind it once it begins surgery. */
export const CHOOSING: readonly SharedStage[] = [
  "statistics",
  "moments",
  "contributions",
  "curves",
  "sensitivities",
];

/** For every stage a job has, what tells its result from others. */
export type Sharing = Readonly<Partial<Record<SharedStage, string>>>;

const SOURCE_TABLE = { ...MODEL_OPTIONS, ...DATA_OPTIONS };

/** What a job's model and pictures are, in options. */
function sourceOf(options: JobOptions): unknown {
  const named = Object.entries(options)
    .filter(([name]) => JOB_OPTIONS.get(name)!.key in SOURCE_TABLE)
    .map(([name, value]) => [name, String(value)]);
  return named.sort();
}

/** Criteria that play the compensated game, and so need moments. */
const PLAYING: ReadonlySet<string> = new Set(["shapley", "elimination"]);

export function sharingOf(
  { options, prune }: { readonly options: JobOptions; readonly prune: PruneOptions },
): Sharing {
  const { dtype, holdOut, scope, keep, seed, criterion, worth, ratios, exponent } = prune;
  const { base } = parseCriterion(criterion);
  const source = [sourceOf(options), dtype, options.device, holdOut];
  const groups = [source, scope, keep];
  const network = base === "shapley" && worth !== "compensated";
  const ranked = {
    groups: [groups, prune.cap, prune.maxRatio, prune.roundTo],
    criterion: [criterion, seed, prune.pairs, prune.shapleyStages, prune.ahead],
    ...(network ? { worth, calibration: prune.calibration, budget: prune.budget } : {}),
  };
  const weighs = weighsCurves(ratios);
  const concentrates = ratios === "concentration" || (weighs && exponent > 0);
  const plays = weighs || (PLAYING.has(base) && !network);
  const keys: Partial<Record<SharedStage, unknown>> = {
    baseline: source,
    ...(concentrates ? { statistics: [groups, prune.rankImages, prune.entropyImages, seed] } : {}),
    ...(plays ? { moments: [groups, seed] } : {}),
    contributions: ranked,
    ...(weighs ? { curves: ranked } : {}),
    ...(ratios === "sensitivity" ? { sensitivities: ranked } : {}),
    ...(prune.control ? { control: [source, trainingOf(prune)] } : {}),
  };
  return Object.fromEntries(
    Object.entries(keys).map(([stage, key]) => [stage, JSON.stringify([stage, key])]),
  );
}

/** What the control's training depends on. */
function trainingOf(prune: PruneOptions): unknown {
  const { epochs, learningRate, batch, weightDecay, clip, ema, warmup, distill } = prune;
  const { temperature, smoothing, mixup, cutmix, seed } = prune;
  return [
    ...[epochs, learningRate, batch, weightDecay, clip, ema, warmup, distill],
    ...[temperature, smoothing, mixup, cutmix, seed],
  ];
}

/** How many results of a stage jobs need, and how many different ones. */
export interface SharedCount {
  readonly stage: SharedStage;
  readonly needed: number;
  readonly made: number;
}

export function sharedCounts(sharings: readonly Sharing[]): SharedCount[] {
  return SHARED_STAGES.map((stage) => {
    const keys = sharings.map((sharing) => sharing[stage]).filter((key) => key !== undefined);
    return { stage, needed: keys.length, made: new Set(keys).size };
  }).filter(({ needed }) => needed > 0);
}
