import type { Criterion } from "../criteria/criteria.ts";
import type { Fusion } from "../concentration/concentration.ts";
import type { CountedBudget } from "../ratios/budget.ts";
import type { Scope } from "../graph/channels.ts";
import type { Worth } from "../shapley/worth.ts";
import type { ObjectiveName } from "../objectives/objective.ts";
import type { DTypeChoice } from "../native/loaded_model.ts";
import type { Device } from "../native/session.ts";

/**
 * What decides how many channels of each group go: `global` weighs the groups' own curves in one
 * knapsack, `sensitivity` the same curves by what they do to the outputs; the others share by a figure.
 */
export type RatioRule = "global" | "sensitivity" | "concentration" | "uniform";

/** Whether a rule weighs curves of what groups lose. */
export const weighsCurves = (rule: RatioRule): boolean =>
  rule === "sensitivity" || rule === "global";

/**
 * What a coalition of channels is worth: what the layers behind can give back of their outputs, or how
 * the whole network does.
 */
export type GameWorth = "compensated" | Worth;

/** What to cut, as asked; of time, what the model will run in: a runtime or the path of a table. */
export type AskedBudget = CountedBudget | {
  readonly kind: "latency";
  readonly cut: number;
  readonly runtime: string;
};

/** Everything that decides a pruning run beside the model and the data. */
export interface PruneOptions {
  /** How a model is judged and trained: by classes (default), or by the original's outputs. */
  readonly objective?: ObjectiveName;
  readonly budget: AskedBudget;
  /** Which channel groups may lose channels. */
  readonly scope: Scope;
  /** Layers or groups that stay whole, by name or pattern. */
  readonly keep?: readonly string[];
  /** Largest share that groups may lose, by layer, group or pattern; over `cap`. */
  readonly maxRatio?: Readonly<Record<string, number>>;
  /** Largest share that a group may lose. */
  readonly cap: number;
  /** Kept counts are multiples of this. */
  readonly roundTo: number;
  readonly ratios: RatioRule;
  readonly criterion: Criterion;
  /** What a coalition of channels is worth in the Shapley game. */
  readonly worth: GameWorth;
  readonly fusion: Fusion;
  /** Share of the rank in the fusion, in [0, 1]. */
  readonly rankWeight: number;
  /**
   * Power of the concentration: of the shares it gives, and of the weight it has on a group's curve
   * in a knapsack, where 0 leaves it out.
   */
  readonly exponent: number;
  /** Training images that rank and entropy are measured on. */
  readonly rankImages: number;
  readonly entropyImages: number;
  /** Training images that Shapley values are estimated on. */
  readonly calibration: number;
  /** Most antithetic pairs of permutations per group; of the compensated game, per stage. */
  readonly pairs: number;
  /** How often values of the compensated game are taken anew on the way to the deepest cut. */
  readonly shapleyStages: number;
  /** Removals that they look ahead, as a share of what may still go, or all sizes. */
  readonly ahead: number | "all";
  readonly compensate: boolean;
  readonly reestimate: boolean;
  /** Fine-tuning; 0 epochs leave it out. */
  readonly epochs: number;
  readonly learningRate: number;
  readonly batch: number;
  readonly weightDecay: number;
  /** Largest norm of a step's gradients; left out or 0, none are shortened. */
  readonly clip?: number;
  /** Decay of a moving average of the weights, which competes with them; left out, none is kept. */
  readonly ema?: number;
  readonly warmup: number;
  /** Share of the loss that the original model gives as teacher, in [0, 1]; 0 leaves it out. */
  readonly distill: number;
  readonly temperature: number;
  readonly smoothing: number;
  /** Alphas of pictures mixed of two (training/mix.ts); left out, none are. */
  readonly mixup?: number;
  readonly cutmix?: number;
  /** Fine-tune the unpruned model in the same way, for comparison. */
  readonly control: boolean;
  /** Training pictures of each class held out; by default a tenth of the smallest, at most 500. */
  readonly holdOut?: number;
  readonly seed: number;
  readonly resume: boolean;
  /** Folder of everything written. */
  readonly out: string;
  readonly dtype: DTypeChoice;
  readonly threads?: number;
  /** What executes the network's programs; the CPU by default. */
  readonly device?: Device;
}
