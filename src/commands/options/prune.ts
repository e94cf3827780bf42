/** Options of `prune`, and what they mean together. */

import { BASE_CRITERIA, type Criterion, CRITERION_NAMES } from "../../criteria/criteria.ts";
import { type Fusion, FUSIONS } from "../../concentration/concentration.ts";
import { SecateurError } from "../../errors.ts";
import { escaped } from "../../formats/bytes.ts";
import { DEFAULT_OPSET, OLDEST_WRITTEN_OPSET } from "../../formats/onnx/export/export.ts";
import { NEWEST_OPSET } from "../../formats/onnx/read/reader.ts";
import { RUNTIMES } from "../../latency/runtime.ts";
import { OBJECTIVES } from "../../objectives/objective.ts";
import type { AskedBudget, PruneOptions } from "../../pruning/options.ts";
import { defaultWarmup } from "../../training/schedule.ts";
import {
  batchAxis,
  between,
  flag,
  oneOf,
  positive,
  share,
  shareOrAll,
  sharesByName,
  text,
  texts,
  unlessRefused,
  whole,
} from "./values.ts";
import { longFlag, parseOptions } from "./parse.ts";
import {
  DATA_OPTIONS,
  JSON_OPTION,
  LOSS_OPTIONS,
  MODEL_OPTIONS,
  RUN_OPTIONS,
  TRAINING_OPTIONS,
} from "./shared.ts";

const DEFAULT_CUT = 0.455;

/** What depends on whether the run is a first look at the embedded model, done in minutes. */
const DEFAULTS = {
  embedded: { epochs: 8, pairs: 16, calibration: 64 },
  own: { epochs: 20, pairs: 32, calibration: 128 },
} as const;

/** Pairs a stage of the compensated game, which costs no passes of the network. */
const COMPENSATED_PAIRS = 8;

const defaultOf = (name: keyof typeof DEFAULTS.own): string =>
  `(default ${DEFAULTS.own[name]}; ${DEFAULTS.embedded[name]} for the embedded default)`;

const BUDGET_TABLE = {
  cutFlops: {
    schema: share().optional(),
    value: "share",
    help: "share of the FLOPs to remove, such as 45.5% (default)",
  },
  cutParams: {
    schema: share().optional(),
    value: "share",
    help: "share of the parameters to remove, in place of FLOPs; with --cut-flops, both",
  },
  cutLatency: {
    schema: share().optional(),
    value: "share",
    help: "share of the time of a pass to remove, in place of FLOPs",
  },
  runtime: {
    schema: text("a runtime or a file").optional(),
    value: "name",
    help: `with --cut-latency, what will run the model: ${RUNTIMES.join(" or ")}, timed on this ` +
      "machine (default secateur), or a table that profile wrote",
  },
} as const;

const RATIO_TABLE = {
  scope: {
    schema: oneOf("inner", "all").default("all"),
    value: "scope",
    help: "inner: channels of single layers only; all: residual streams too (default)",
  },
  keep: {
    schema: texts("a layer, a group or a pattern"),
    value: "layer",
    repeatable: true,
    help:
      "leave a layer's channels alone: a layer, a group or a pattern such as layer1.*; may be " +
      "given several times",
  },
  maxRatio: {
    schema: sharesByName(),
    value: "layer=share",
    repeatable: true,
    help: "largest share that a layer's group may lose, over --cap; may be given several times",
  },
  cap: {
    schema: between(0.01, 0.99).default(0.9),
    value: "share",
    help: "largest share that a group of channels may lose (default 0.9)",
  },
  roundTo: {
    schema: whole(1, 1024).default(1),
    value: "count",
    help: "keep multiples of this many channels (default 1)",
  },
  ratios: {
    schema: oneOf("global", "sensitivity", "concentration", "uniform").default("global"),
    value: "rule",
    help:
      "how many channels go where: global, by what each group's cut does to the layers behind " +
      "for what it saves (default), sensitivity, by what it does to the outputs, concentration or " +
      "uniform",
  },
  fusion: {
    schema: oneOf(...FUSIONS as [Fusion, ...Fusion[]]).default("geometric"),
    value: "mean",
    help: `how rank and entropy are fused: ${FUSIONS.join(", ")} (default geometric)`,
  },
  rankWeight: {
    schema: between(0, 1).default(0.5),
    value: "weight",
    help: "weight of the rank in the fusion (default 0.5)",
  },
  exponent: {
    schema: between(0, 8).optional(),
    value: "power",
    help:
      "power of the concentration: of shares (default 1); with global and sensitivity, of its " +
      "weight on what a group loses (default 0: left out)",
  },
  rankImages: {
    schema: whole(1, 1_000_000).default(640),
    value: "count",
    help: "training pictures that ranks are measured on (default 640)",
  },
  entropyImages: {
    schema: whole(2, 1_000_000).default(2048),
    value: "count",
    help: "training pictures that entropies are measured on (default 2048)",
  },
} as const;

const SELECTION_TABLE = {
  criterion: {
    schema: oneOf(...CRITERION_NAMES as [Criterion, ...Criterion[]]).default("shapley"),
    value: "name",
    help: `which channels go: ${BASE_CRITERIA.join(", ")} (default shapley); reversed-NAME turns ` +
      "an order around",
  },
  worth: {
    schema: oneOf("compensated", "loss", "probability").default("compensated"),
    value: "name",
    help:
      "what a coalition is worth: what compensated layers give back of their outputs (default), " +
      "minus the network's loss, or its probability of the right class",
  },
  calibration: {
    schema: whole(1, 1_000_000).optional(),
    value: "count",
    help: "training pictures that the network's games are played on " +
      defaultOf("calibration"),
  },
  pairs: {
    schema: whole(2, 100_000).optional(),
    value: "count",
    help: "most pairs of permutations per group of channels, and per stage in the compensated " +
      `game (default ${COMPENSATED_PAIRS}; in the network's games ${DEFAULTS.own.pairs}, or ` +
      `${DEFAULTS.embedded.pairs} for the embedded default)`,
  },
  stages: {
    schema: whole(1, 1000).default(16),
    value: "count",
    help: "how often values of the compensated game are taken anew on the way (default 16)",
  },
  ahead: {
    schema: shareOrAll().default(0.25),
    value: "share",
    help: "removals that those values look ahead, as a share of what may still go, or all sizes " +
      "(default 0.25)",
  },
  compensate: {
    schema: unlessRefused(),
    negated: true,
    help: "leave out the least-squares compensation of the weights",
  },
  reestimate: {
    schema: unlessRefused(),
    negated: true,
    help: "leave out the re-estimation of batch-norm statistics",
  },
} as const;

const FINE_TUNING_TABLE = {
  epochs: {
    schema: whole(0, 100_000).optional(),
    value: "count",
    help: `epochs of fine-tuning ${defaultOf("epochs")}`,
  },
  lr: {
    schema: positive(100).default(0.02),
    value: "rate",
    help: "peak learning rate of fine-tuning (default 0.02)",
  },
  ...TRAINING_OPTIONS,
  distill: {
    schema: between(0, 1).default(0),
    value: "share",
    help: "share of the loss taken from the original model as teacher (default 0)",
  },
  ...LOSS_OPTIONS,
  control: { schema: flag(), help: "fine-tune the unpruned model too, for comparison" },
} as const;

/** What a run is after. */
export const OBJECTIVE_OPTION = {
  objective: {
    schema: oneOf(...OBJECTIVES).optional(),
    value: "name",
    help:
      "how a model is judged and trained: classify, by labels; or match, by how close its outputs " +
      "are to the original's, which needs none (default: as the data has classes or not)",
  },
} as const;

/** Whether to go on where secateur would rather stop. */
export const FORCE_OPTION = {
  force: { schema: flag(), help: "prune a model that does no better than guessing all the same" },
} as const;

/** Whether to share finished stages with other runs. */
export const CACHE_OPTION = {
  cache: {
    schema: unlessRefused(),
    negated: true,
    help: "run every stage, and leave nothing for other runs: neither take finished stages from " +
      "the cache nor put any there",
  },
} as const;

/** How the pruned model is written as ONNX. */
export const EXPORT_OPTIONS = {
  opset: {
    schema: whole(OLDEST_WRITTEN_OPSET, NEWEST_OPSET).default(DEFAULT_OPSET),
    value: "version",
    help: `ONNX operator set of pruned.onnx, ${OLDEST_WRITTEN_OPSET} to ${NEWEST_OPSET} (default ` +
      `${DEFAULT_OPSET})`,
  },
  batchAxis: {
    schema: batchAxis().default("N"),
    value: "axis",
    help: "first axis of pruned.onnx: a name leaves the batch open (default N), a number fixes it",
  },
} as const;

const METHOD_TABLE = {
  ...RATIO_TABLE,
  ...SELECTION_TABLE,
  ...FINE_TUNING_TABLE,
  ...RUN_OPTIONS,
} as const;

/** All options of `prune`. */
export const PRUNE_OPTIONS = {
  ...MODEL_OPTIONS,
  ...DATA_OPTIONS,
  ...BUDGET_TABLE,
  ...METHOD_TABLE,
  ...OBJECTIVE_OPTION,
  ...EXPORT_OPTIONS,
  ...FORCE_OPTION,
  ...CACHE_OPTION,
  ...JSON_OPTION,
} as const;

function budgetOf(raw: Readonly<Record<string, unknown>>): AskedBudget {
  const { cutFlops, cutParams, cutLatency, runtime } = parseOptions(BUDGET_TABLE, raw);
  const counted = Object.entries({ cutFlops, cutParams })
    .filter(([, cut]) => cut !== undefined).map(([name]) => longFlag(name));
  if (cutLatency !== undefined && counted.length > 0) {
    throw new SecateurError(
      "option-invalid",
      `Expected a budget in time or one that is counted, got --cut-latency and ` +
        `${counted.join(" and ")}; leave one out.`,
    );
  }
  if (cutLatency !== undefined) {
    return { kind: "latency", cut: cutLatency, runtime: runtime ?? "secateur" };
  }
  if (runtime !== undefined) {
    throw new SecateurError(
      "option-invalid",
      `Expected --cut-latency beside --runtime ${
        escaped(runtime)
      }, which says whose time is cut, ` +
        `but there is no budget in time; add --cut-latency or leave --runtime out.`,
    );
  }
  if (cutParams === undefined) return { kind: "flops", cut: cutFlops ?? DEFAULT_CUT };
  return cutFlops === undefined
    ? { kind: "parameters", cut: cutParams }
    : { kind: "flops", cut: cutFlops, alsoParameters: cutParams };
}

/**
 * The options of a run from the command line's text, but for the device, which has to be looked for.
 * `embedded` says that model and data are the
 * embedded default, which takes smaller samples and fewer epochs. Throws "option-invalid".
 */
export function pruneOptions(
  raw: Readonly<Record<string, unknown>>,
  embedded: boolean,
): Omit<PruneOptions, "device"> {
  const { lr, pairs, calibration, warmup, exponent, stages, device: _device, ...method } =
    parseOptions(METHOD_TABLE, raw);
  const defaults = embedded ? DEFAULTS.embedded : DEFAULTS.own;
  const epochs = method.epochs ?? defaults.epochs;
  return {
    ...method,
    budget: budgetOf(raw),
    epochs,
    warmup: warmup ?? defaultWarmup(epochs),
    exponent: exponent ?? (method.ratios === "concentration" ? 1 : 0),
    pairs: pairs ?? (method.worth === "compensated" ? COMPENSATED_PAIRS : defaults.pairs),
    shapleyStages: stages,
    calibration: calibration ?? defaults.calibration,
    learningRate: lr,
  };
}
