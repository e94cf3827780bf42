/** Everything a pruning run tells about itself: what report.json, the table and the page show. */

import type { GameWorth } from "../pruning/options.ts";
import type { InputContract } from "../data/contract.ts";
import type { Shape } from "../graph/graph.ts";
import type { Precision } from "../program/precision.ts";
import type { LatencyOutcome } from "../latency/outcome.ts";
import type { Timing } from "../latency/timing.ts";
import type { OutputError } from "../objectives/figures.ts";
import type { Constraints } from "../pruning/constraints.ts";
import type { Outcome } from "../shapley/estimate.ts";
import type { CutProof } from "../surgery/check.ts";
import type { EpochRecord } from "../training/checkpoint_position.ts";
import type { TrainingOutcome } from "../training/options.ts";

/** How the run was made: enough to repeat it. */
export interface Provenance {
  readonly version: string;
  /** Arguments after the program's name. */
  readonly command: readonly string[];
  /** ISO 8601, UTC. */
  readonly started: string;
  readonly seed: number;
  /** Every option as it took effect. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly versions: {
    /** "Deno 2.9.6". */
    readonly runtime: string;
    /** Digest of the native sources and the variant built from them. */
    readonly addon: string;
  };
  readonly machine: {
    readonly cpu: string;
    readonly instructionSets: readonly string[];
    readonly threads: number;
    /** What computed in place of the processor. */
    readonly gpu?: string;
  };
}

export interface ModelSummary {
  /** Architecture. */
  readonly name: string;
  /** The file of the weights, or "embedded default". */
  readonly source: string;
  readonly input: Shape;
  /** Of a classifier. */
  readonly classes?: number;
  /** Outputs, where it is none. */
  readonly outputs?: readonly string[];
}

export interface DataSummary {
  /** As named with --data. */
  readonly spec: string;
  /** Pictures of each part. */
  readonly training: number;
  readonly heldOut: number;
  readonly test: number;
  /** Unreadable pictures left out. */
  readonly skipped: number;
}

/** MACs, parameters or predicted milliseconds, as `kind` says; `asked` is the share to remove. */
export interface BudgetResult {
  readonly kind: "flops" | "parameters" | "latency";
  readonly asked: number;
  readonly original: number;
  readonly allowed: number;
  readonly reached: number;
  /** allowed - reached: what was cut too much, less than `step`. */
  readonly gap: number;
  /** What the cheapest legal channel step would have cost. */
  readonly step: number;
  /** The share of the parameters that was asked for beside, and what they were and are. */
  readonly alsoParameters?: {
    readonly asked: number;
    readonly original: number;
    readonly reached: number;
  };
  /** Milliseconds of passes predicted and measured, of a budget in time. */
  readonly times?: LatencyOutcome;
}

/** Shapley value of one player; margins are half widths of 95% intervals. */
export interface ShapleyRow {
  readonly value: number;
  readonly margin: number;
  /** Holds for all players of the group at once. */
  readonly jointMargin: number;
  /** Standard deviation over bootstrap samples of the calibration images, where they were drawn. */
  readonly imageError?: number;
  readonly kept: boolean;
}

export interface ShapleyResult {
  /** What a coalition was worth. */
  readonly worth: GameWorth;
  readonly values: readonly ShapleyRow[];
  readonly outcome: Outcome;
  /** Too little was sampled for the intervals to hold as often as they say. */
  readonly approximate: boolean;
  /** Players whose interval crosses the cut. */
  readonly unsettled: number;
  readonly pairs: number;
  readonly evaluations: number;
}

/** One group of channels that go together. */
export interface GroupRow {
  readonly name: string;
  readonly kind: "inner" | "stream";
  readonly channelsBefore: number;
  readonly channelsAfter: number;
  /** Indices of the channels that stayed. */
  readonly kept: readonly number[];
  /**
   * What is lost when the first k channels to go have gone, k from 0: shares of what the layers behind
   * put out. Only where widths were chosen by it.
   */
  readonly curve?: readonly number[];
  /** Absent where maps are 1 x 1, and where ratios do not go by it. */
  readonly rank?: number;
  readonly entropy?: number;
  readonly concentration?: number;
  /** Share removed. */
  readonly ratio: number;
  readonly shapley?: ShapleyResult;
}

/** One layer with cost; channels are those it writes. */
export interface LayerRow {
  readonly name: string;
  readonly op: string;
  readonly channelsBefore: number;
  readonly channelsAfter: number;
  readonly macsBefore: number;
  readonly macsAfter: number;
  readonly parametersBefore: number;
  readonly parametersAfter: number;
}

export interface CostSummary {
  readonly macs: number;
  readonly parameters: number;
}

/** Accuracy on one set; held-out pictures serve choices, test pictures reporting alone. */
export interface Accuracy {
  readonly set: "held-out" | "test";
  readonly loss: number;
  readonly total: number;
  /** Of a classifier. */
  readonly top1?: number;
  readonly top5?: number;
  readonly correct?: number;
  /** Of outputs matched to the original's: squared error as a share of each one's variance. */
  readonly errors?: readonly OutputError[];
}

/** Moments of a run at which accuracy is measured, in order. */
export const ACCURACY_STEPS = [
  "original",
  "afterCut",
  "afterCompensation",
  "afterReestimation",
  "lastEpoch",
  "bestEpoch",
  "controlLast",
  "controlBest",
] as const;

export type AccuracyStep = typeof ACCURACY_STEPS[number];

export interface LatencyRow {
  /** Pictures per pass. */
  readonly batch: number;
  readonly original: Timing;
  readonly pruned: Timing;
  readonly runs: number;
}

/** The masked original against the cut model: the proof that surgery changed nothing else. */
export interface CheckResult {
  /** Largest |masked - cut| over outputs. */
  readonly maxError: number;
  /** Largest |output|. */
  readonly scale: number;
  /** Largest error allowed, relative to the scale. */
  readonly tolerance: number;
  /** Largest |original - cut|: how much the cut changed. */
  readonly changed: number;
  /** What showed the outputs move; left out where the pictures did. */
  readonly proof?: Exclude<CutProof, "pictures">;
  /** By how much they moved there, as a share of the largest. */
  readonly probeChanged?: number;
  readonly dtype: "f32";
}

export interface StageTime {
  readonly name: string;
  readonly seconds: number;
}

/** What the run found; report.json's `results`. */
export interface Results {
  readonly budget: BudgetResult;
  readonly cost: { readonly before: CostSummary; readonly after: CostSummary };
  /** Of compensation and re-estimation, those kept because they lowered the held-out loss. */
  readonly keptSteps: readonly AccuracyStep[];
  /** Whose weights the written model has; `epoch`, from 1, where they are fine-tuned. */
  readonly written: { readonly step: AccuracyStep; readonly epoch?: number };
  /** One entry per set it was measured on. */
  readonly accuracy: Readonly<Partial<Record<AccuracyStep, readonly Accuracy[]>>>;
  readonly latency: readonly LatencyRow[];
  readonly check: CheckResult;
  readonly groups: readonly GroupRow[];
  /** What was asked of single groups. */
  readonly constraints: Constraints;
  readonly layers: readonly LayerRow[];
  readonly training: {
    readonly pruned: readonly EpochRecord[];
    readonly control?: readonly EpochRecord[];
    /** Of the pruned model, where it was fine-tuned. */
    readonly outcome?: TrainingOutcome;
  };
  readonly stages: readonly StageTime[];
}

export interface Report {
  readonly provenance: Provenance;
  readonly model: ModelSummary;
  /** How a picture becomes the model's input. */
  readonly input: InputContract;
  readonly data: DataSummary;
  readonly dtype: Precision;
  readonly results: Results;
}
