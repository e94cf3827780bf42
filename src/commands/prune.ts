/** `prune`: a model cut to a budget, with a report of what was done and why. */

import { join } from "node:path";
import process from "node:process";
import { layerCosts } from "../latency/costs.ts";
import type { Budget } from "../ratios/budget.ts";
import { solveShares } from "../ratios/shares.ts";
import { contractMetadata, type InputContract, normalisationOf } from "../data/contract.ts";
import { SecateurError } from "../errors.ts";
import { makeFolder, writeFileAtomic } from "../formats/atomic.ts";
import { writeModel } from "../formats/model_file.ts";
import { formMetadata } from "../formats/onnx/form_metadata.ts";
import type { Graph } from "../graph/graph.ts";
import { computeOf } from "../native/loaded_model.ts";
import type { RunOptions } from "../progress.ts";
import { withOwnAnswer } from "../pruning/answer.ts";
import { constrainedGroups } from "../pruning/constraints.ts";
import { Artefacts } from "../pruning/artefacts.ts";
import { writeCheckedOnnx } from "../pruning/export.ts";
import { type AskedLatency, tableOf } from "../pruning/latency_budget.ts";
import type { PruneOptions } from "../pruning/options.ts";
import { prune, type Pruned, type PruneInput, type PruneRunOptions } from "../pruning/pipeline.ts";
import type { StageStart } from "../pruning/stages.ts";
import { applyPlanSource } from "../pruning/apply_plan.ts";
import { planOf } from "../pruning/plan.ts";
import { chanceSentence, Plausibility } from "../pruning/plausibility.ts";
import { buildReport } from "../report/build.ts";
import { reportJson } from "../report/json.ts";
import { measureLatency } from "../report/latency.ts";
import { reportPage } from "../report/page.ts";
import type { Report } from "../report/report.ts";
import { reportTable } from "../report/table.ts";
import { stageName } from "../report/tables.ts";
import { epochText } from "../report/training.ts";
import type { ObjectiveName } from "../objectives/objective.ts";
import { requireFit, requirePictures } from "../training/evaluate.ts";
import { type Console, openConsole } from "./terminal/console.ts";
import { forecast } from "./terminal/meter.ts";
import { fitOf, graphOf, type ModelSource, readSource } from "./inputs/model.ts";
import { type OptionValues, parseOptions } from "./options/parse.ts";
import { isJob, tellMemory } from "./terminal/starter.ts";
import { OutputFolder, warnOfNothing } from "./terminal/output.ts";
import { openDevice } from "./inputs/device.ts";
import { planInput } from "./inputs/input_plan.ts";
import { contractOf, isEmbedded, openParts, specOf } from "./inputs/pictures.ts";
import {
  CACHE_OPTION,
  EXPORT_OPTIONS,
  FORCE_OPTION,
  OBJECTIVE_OPTION,
  pruneOptions,
} from "./options/prune.ts";
import { DATA_OPTIONS, DEVICE_OPTION, JSON_OPTION, MODEL_OPTIONS } from "./options/shared.ts";

const SOURCE_TABLE = {
  ...MODEL_OPTIONS,
  ...DATA_OPTIONS,
  ...OBJECTIVE_OPTION,
  ...EXPORT_OPTIONS,
  ...FORCE_OPTION,
  ...CACHE_OPTION,
  ...JSON_OPTION,
} as const;
type SourceValues = OptionValues<typeof SOURCE_TABLE>;

/** Seconds within which a run that is asked to stop has stopped. */
const STOPPING = 120;

/** Runs the command with commander's options. */
export async function runPrune(
  raw: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<void> {
  const started = new Date().toISOString();
  const values = parseOptions(SOURCE_TABLE, raw);
  const embedded = isEmbedded(values);
  const objective = objectiveOf(values);
  const asked = withObjective(pruneOptions(raw, embedded), objective);
  const console = openConsole(values.json);
  const run = { signal, onProgress: console.progress.bind(console) };
  try {
    // What would fail in the middle fails here, before anything is written.
    const device = openDevice(parseOptions(DEVICE_OPTION, raw), console);
    const options: PruneOptions = { ...asked, ...(device === undefined ? {} : { device }) };
    // The job of a batch that was killed may still be stopping there.
    await using _folder = await OutputFolder.claim(options.out, isJob() ? STOPPING : 0);
    tellMemory();
    const { input, source, contract, skipped } = await load(values, options, console, run);
    await requirePossible(input.graph, options);
    if (options.resume) warnOfNothing(join(options.out, "run", "run.json"), console);
    if (objective === "classify") {
      await requirePlausible(input, options, values.force, console, run);
    }
    const pruned = await pruneUntilStopped(input, options, {
      ...run,
      ...(values.cache ? { artefacts: new Artefacts() } : {}),
      onStage: (start) => console.stage(stageName(start.stage), stageDetail(start)),
      onNote: (sentence) => console.warn(sentence),
      onEpoch: (record) =>
        console.stage(`epoch ${record.epoch} of ${options.epochs}`, epochText(record)),
    });
    console.stage("latency");
    const timed = performance.now();
    const latency = await measureLatency(input.graph, pruned.graph, {
      ...run,
      ...computeOf(options),
    });
    const report = buildReport(pruned, {
      options,
      command: process.argv.slice(2),
      started,
      source: embedded ? "the embedded default" : source.source,
      input: contract,
      data: {
        spec: specOf(values),
        training: input.training.count,
        heldOut: input.heldOut.count,
        test: input.test.count,
        skipped,
      },
      latency,
      stages: [{ name: "latency", seconds: (performance.now() - timed) / 1000 }],
    });
    await writeResults(options.out, pruned, report, source.form, values, console);
  } finally {
    console.close();
  }
}

const isWithoutClasses = ({ data }: SourceValues): boolean =>
  data?.startsWith("pictures:") ?? false;

/** As asked, or as the data has it. Throws "option-invalid" for classes where there are none. */
function objectiveOf(values: SourceValues): ObjectiveName {
  const without = isWithoutClasses(values);
  const { objective = without ? "match" : "classify", data } = values;
  if (objective === "match" || !without) return objective;
  throw new SecateurError(
    "option-invalid",
    `Expected pictures with classes for --objective classify, such as imagefolder:FOLDER, got --data ` +
      `${data}, which has none: leave --objective out, or give match.`,
  );
}

/** Throws "option-invalid" for what needs labels where there are none. */
function withObjective(options: PruneOptions, objective: ObjectiveName): PruneOptions {
  if (objective === "classify") return options;
  const { criterion, worth, distill, smoothing, mixup, cutmix } = options;
  const needing = [
    ...(/taylor/.test(criterion) ? [`--criterion ${criterion}`] : []),
    ...(worth === "compensated" ? [] : [`--worth ${worth}`]),
    ...(distill > 0 ? ["--distill"] : []),
    ...(smoothing > 0 ? ["--smoothing"] : []),
    ...(mixup !== undefined ? ["--mixup"] : []),
    ...(cutmix !== undefined ? ["--cutmix"] : []),
  ];
  if (needing.length === 0) return { ...options, objective };
  throw new SecateurError(
    "option-invalid",
    `Expected options that need no labels beside --objective match, got ${
      needing.join(", ")
    }; leave ` +
      `${needing.length === 1 ? "it" : "them"} out.`,
  );
}

/** What is said of a stage's beginning. */
function stageDetail({ seconds, atMost, taken, awaited }: StageStart): string | undefined {
  if (taken) return "taken from before";
  if (awaited) return "another run is at it; waiting for its result";
  return seconds === undefined ? undefined : forecast(seconds, atMost);
}

/** As `prune`; when stopped, says where the finished part is. */
async function pruneUntilStopped(
  input: PruneInput,
  options: PruneOptions,
  run: PruneRunOptions,
): Promise<Pruned> {
  try {
    return await prune(input, options, run);
  } catch (thrown) {
    if (!(thrown instanceof SecateurError) || thrown.code !== "cancelled") throw thrown;
    throw new SecateurError(
      "cancelled",
      `Stopped; what is finished is in ${join(options.out, "run")}, go on with --resume.`,
      { cause: thrown },
    );
  }
}

interface Loaded {
  readonly input: PruneInput;
  readonly source: ModelSource;
  readonly contract: InputContract;
  readonly skipped: number;
}

async function load(
  values: SourceValues,
  options: PruneOptions,
  console: Console,
  run: RunOptions,
): Promise<Loaded> {
  const source = await readSource(values, console);
  const plan = await planInput(values, source, console);
  const { training, heldOut, test, skipped } = await openParts(
    { ...values, holdOut: options.holdOut },
    plan,
    console,
    run,
  );
  if (heldOut === undefined) {
    throw new SecateurError(
      "option-invalid",
      "Expected held-out pictures, which serve every choice, but there are none: use --hold-out " +
        "with at least 1, and data with at least 2 pictures of each class.",
    );
  }
  const matched = options.objective === "match";
  const graph = matched && "graph" in source
    ? source.graph
    : graphOf(source, fitOf(training, plan.contract));
  (matched ? requirePictures : requireFit)(graph, training, plan.contract);
  return {
    input: { graph, training, heldOut, test, normalisation: normalisationOf(plan.contract) },
    source,
    contract: contractOf(plan, training),
    skipped,
  };
}

/**
 * Throws "budget-impossible" before anything is computed or written; of time in a runtime that is still
 * to be measured, it shows later. Throws as `readTable` and `layerCosts` for a table.
 */
async function requirePossible(graph: Graph, options: PruneOptions): Promise<void> {
  const { groups, caps } = constrainedGroups(graph, options);
  const { budget: asked, roundTo } = options;
  const budget = asked.kind === "latency" ? await latencyBudget(graph, asked) : asked;
  if (budget === undefined) return;
  // Whether a budget can be met does not depend on concentration.
  solveShares(graph, groups, groups.map(() => 1), { budget, caps, roundTo });
}

async function latencyBudget(graph: Graph, asked: AskedLatency): Promise<Budget | undefined> {
  const table = await tableOf(asked);
  return table && { kind: asked.kind, cut: asked.cut, costs: layerCosts(graph, table) };
}

/** Throws "check-failed" for a model that does no better than guessing, unless `force`. */
async function requirePlausible(
  { graph, training, normalisation }: PruneInput,
  options: PruneOptions,
  force: boolean,
  console: Console,
  run: RunOptions,
): Promise<void> {
  const { seed } = options;
  using check = await Plausibility.open(graph, training, seed, { ...run, ...computeOf(options) });
  const found = await check.try(normalisation);
  if (!found.nearChance) return;
  if (!force) {
    const diagnosis = await check.diagnose(normalisation);
    throw new SecateurError("check-failed", chanceSentence(graph.name, found, diagnosis));
  }
  console.warn(
    `${graph.name} gets ${found.correct} of ${found.total} training pictures right, no better ` +
      `than guessing; it is pruned all the same.`,
  );
}

async function writeResults(
  folder: string,
  pruned: Pruned,
  report: Report,
  form: ModelSource["form"],
  { opset, batchAxis }: Pick<SourceValues, "opset" | "batchAxis">,
  console: Console,
): Promise<void> {
  await makeFolder(folder);
  const path = (name: string) => join(folder, name);
  // First, because it refuses to write what another runtime computes otherwise.
  const metadata = contractMetadata(report.input);
  const version = report.provenance.version;
  const written = { metadata, version, opset, batch: batchAxis, form };
  await writeCheckedOnnx(path("pruned.onnx"), withOwnAnswer(pruned.graph), written);
  await writeModel(path("pruned.safetensors"), pruned.graph, {
    ...metadata,
    ...formMetadata(form),
  });
  const { original, removals, constraints } = pruned;
  const plan = { schema: 1, ...planOf(original, removals, constraints) };
  await writeFileAtomic(path("plan.json"), `${JSON.stringify(plan, null, 1)}\n`);
  await writeFileAtomic(path("apply_plan.py"), await applyPlanSource(plan));
  await writeFileAtomic(path("report.json"), reportJson(report));
  await writeFileAtomic(path("report.html"), reportPage(report));
  const names = [
    ...["pruned.onnx", "pruned.safetensors", "plan.json", "apply_plan.py"],
    ...["report.json", "report.html"],
  ];
  console.result(report.results);
  console.text(...reportTable(report).split("\n"), `Written: ${names.map(path).join(", ")}`);
}
