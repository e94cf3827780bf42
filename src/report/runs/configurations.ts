/** Runs that differ in their seeds alone, taken together; and which of them are best. */

import type { RunRow } from "./read.ts";

/** A figure over seeds; `deviation` is that of single runs, 0 for one. */
export interface Spread {
  readonly mean: number;
  readonly deviation: number;
}

/** What decides a run but for its seed. */
export interface Configuration {
  /** "shapley, global": what tells it from others at the same budget. */
  readonly series: string;
  readonly model: string;
  readonly data: string;
  readonly budget: RunRow["budget"];
  readonly runs: readonly RunRow[];
  readonly heldOut: Spread;
  readonly test: Spread;
  readonly macs: Spread;
  readonly parameters: Spread;
  /** Time of a pass as a share of the original's, by pictures per pass. */
  readonly latency: ReadonlyMap<number, Spread>;
}

/** Options that decide no result, or that a run's place in the page says. */
const ASIDE: ReadonlySet<string> = new Set([
  ...["seed", "out", "resume", "threads", "control", "budget"],
]);
/** Options that a series is named by, in this order, whether they vary or not. */
const NAMING = ["criterion", "ratios"];

const sorted = (options: RunRow["options"]) =>
  Object.entries(options).filter(([name]) => !ASIDE.has(name)).sort(([a], [b]) => a < b ? -1 : 1);

/** Models of one name are told apart by where their weights came from. */
function modelNames(runs: readonly RunRow[]): (run: RunRow) => string {
  const sources = Map.groupBy(runs, ({ model }) => model);
  return ({ model, source }) =>
    new Set(sources.get(model)!.map((run) => run.source)).size > 1 ? `${model} (${source})` : model;
}

/** "criterion" as a word, "epochs" with its name: how an option's value is told. */
const told = (name: string, value: unknown): string => {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return NAMING.includes(name) ? text : `${name} ${text ?? "not given"}`;
};

/** What series are called: by criterion, rule, and what else differs between runs. */
function seriesNames(runs: readonly RunRow[]): (run: RunRow) => string {
  const names = new Set(runs.flatMap(({ options }) => sorted(options).map(([name]) => name)));
  const varying = [...names].filter((name) =>
    new Set(runs.map(({ options }) => JSON.stringify(options[name]))).size > 1
  );
  const types = new Set(runs.map(({ dtype }) => dtype));
  const telling = [...NAMING, ...varying.filter((name) => !NAMING.includes(name))];
  return ({ options, dtype }) =>
    [
      ...telling.filter((name) => name !== "dtype").map((name) => told(name, options[name])),
      ...(types.size > 1 ? [dtype] : []),
    ].join(", ");
}

export function spread(values: readonly number[]): Spread {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1)) };
}

/** Of runs that are the same but for when they began, the last. */
function latest(runs: readonly RunRow[], keyOf: (run: RunRow) => string): RunRow[] {
  const byKey = new Map<string, RunRow>();
  for (const run of runs.toSorted((a, b) => a.started < b.started ? -1 : 1)) {
    byKey.set(JSON.stringify([keyOf(run), run.seed]), run);
  }
  return runs.filter((run) => byKey.get(JSON.stringify([keyOf(run), run.seed])) === run);
}

/** Runs by what decides them, in the order in which they come; of the same run made twice, the last. */
export function configurationsOf(runs: readonly RunRow[]): Configuration[] {
  const keyOf = ({ options, model, source, data, dtype, budget }: RunRow) =>
    JSON.stringify([sorted(options), budget, model, source, data, dtype]);
  const modelOf = modelNames(runs), seriesOf = seriesNames(runs);
  return [...Map.groupBy(latest(runs, keyOf), keyOf).values()].map((alike) => {
    const [first] = alike;
    const over = (figure: (run: RunRow) => number) => spread(alike.map(figure));
    const share = (run: RunRow, batch: number) => {
      const found = run.latency.find((row) => row.batch === batch);
      return found && found.pruned / found.original;
    };
    const batches = first.latency.map(({ batch }) => batch)
      .filter((batch) => alike.every((run) => share(run, batch) !== undefined));
    return {
      series: seriesOf(first),
      model: modelOf(first),
      data: first.data,
      budget: first.budget,
      runs: alike,
      heldOut: over(({ top1 }) => top1.heldOut),
      test: over(({ top1 }) => top1.test),
      macs: over(({ macs }) => macs),
      parameters: over(({ parameters }) => parameters),
      latency: new Map(batches.map((batch) => [batch, over((run) => share(run, batch)!)])),
    };
  });
}

/** Configurations of one model on one set of pictures. */
export interface Problem {
  readonly model: string;
  readonly data: string;
  readonly configurations: readonly Configuration[];
}

export function problemsOf(configurations: readonly Configuration[]): Problem[] {
  const keyOf = ({ model, data }: Configuration) => JSON.stringify([model, data]);
  return [...Map.groupBy(configurations, keyOf).values()].map((found) => ({
    model: found[0].model,
    data: found[0].data,
    configurations: found,
  }));
}

/** Those that no other one beats in both a cost and accuracy, by rising cost. */
export function paretoFront<T>(
  items: readonly T[],
  costOf: (item: T) => number,
  worthOf: (item: T) => number,
): T[] {
  const byCost = items.toSorted((a, b) => costOf(a) - costOf(b) || worthOf(b) - worthOf(a));
  const front: T[] = [];
  for (const item of byCost) {
    if (front.length === 0 || worthOf(item) > worthOf(front.at(-1)!)) front.push(item);
  }
  return front;
}

/** By budget, the configuration that did best on held-out pictures: test pictures choose nothing. */
export function bestPerBudget(configurations: readonly Configuration[]): Configuration[] {
  const byBudget = Map.groupBy(configurations, ({ budget }) => JSON.stringify(budget));
  return [...byBudget.values()].map((rivals) =>
    rivals.reduce((best, rival) => rival.heldOut.mean > best.heldOut.mean ? rival : best)
  ).sort((a, b) =>
    a.budget.kind < b.budget.kind
      ? -1
      : a.budget.kind > b.budget.kind
      ? 1
      : a.budget.asked - b.budget.asked
  );
}
