/** `profile`: times a model's layers at every width on this machine. */

import { availableParallelism, loadavg } from "node:os";
import { dirname } from "node:path";
import { makeFolder } from "../formats/atomic.ts";
import { layerCosts } from "../latency/costs.ts";
import { filled } from "../latency/layer_graph.ts";
import { profileLayers } from "../latency/profile.ts";
import { openRuntime } from "../latency/open.ts";
import { type LatencyTable, writeTable } from "../latency/table.ts";
import type { Graph } from "../graph/graph.ts";
import { loadAddon } from "../native/binding.ts";
import { columns, count, figures, words } from "../report/columns.ts";
import { architectureOf } from "./inputs/architecture.ts";
import { PROFILE_OPTIONS } from "./options/model.ts";
import { parseOptions } from "./options/parse.ts";
import { type Console, openConsole } from "./terminal/console.ts";

/** Runs the command with commander's options. */
export async function runProfile(
  raw: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<void> {
  const values = parseOptions(PROFILE_OPTIONS, raw);
  loadAddon();
  const console = openConsole(values.json);
  try {
    const graph = filled((await architectureOf(values, console)).graph);
    const { batch, dtype, roundTo, out } = values;
    const threads = values.threads ?? availableParallelism();
    await makeFolder(dirname(out));
    const runtime = await openRuntime(values.runtime, { batch, threads }, dtype);
    console.stage("Layer times", `${graph.name} in ${runtime.name}, ${conditionsOf(runtime)}`);
    warnWhereBusy(console);
    const table = await profileLayers(graph, runtime, {
      roundTo,
      signal,
      onProgress: console.progress.bind(console),
    });
    await writeTable(out, table);
    console.result({ ...found(graph, table), out });
    console.text(...printed(graph, table), "", `Wrote ${out}.`);
  } finally {
    console.close();
  }
}

/** Says so where others compute here: passes of milliseconds are interrupted, layers are not. */
function warnWhereBusy(console: Pick<Console, "warn">): void {
  const [load] = loadavg(), processors = availableParallelism();
  if (load <= processors / 2) return;
  console.warn(
    `This machine is busy (load ${load.toFixed(1)} on ${plural(processors, "processor")}): ` +
      `what a whole pass takes comes out too long; profile again when it is quiet.`,
  );
}

const plural = (number: number, what: string): string =>
  `${count(number)} ${what}${number === 1 ? "" : "s"}`;

const conditionsOf = (
  { dtype, conditions: { batch, threads } }: Awaited<ReturnType<typeof openRuntime>>,
): string => `${dtype}, ${plural(batch, "picture")} per pass, ${plural(threads, "thread")}`;

/** Layers with their times at full width, and the whole; plain data for JSON. */
function found(graph: Graph, table: LatencyTable) {
  const { layers, overhead, costAt } = layerCosts(graph, table);
  const { runtime, version, dtype, batch, threads, machine, whole } = table;
  return {
    model: graph.name,
    ...{ machine, runtime, version, dtype, batch, threads },
    layers: layers.map(({ name, inWidth, outWidth }, index) => ({
      ...{ name, inWidth, outWidth },
      milliseconds: costAt(index, inWidth, outWidth),
      half: costAt(index, Math.ceil(inWidth / 2), Math.ceil(outWidth / 2)),
    })),
    overhead,
    measured: whole.map(({ share, measured }) => ({ share, milliseconds: measured })),
  };
}

function printed(graph: Graph, table: LatencyTable): string[] {
  const { layers, overhead, measured } = found(graph, table);
  const rows = layers.map(({ name, inWidth, outWidth, milliseconds, half }) => [
    ...[name, count(inWidth), count(outWidth)],
    ...[milliseconds.toFixed(4), half.toFixed(4), (half / milliseconds).toFixed(2)],
  ]);
  const shares = measured.map(({ share, milliseconds }) =>
    `${milliseconds.toFixed(3)} ms with ${100 * share}% of the channels`
  );
  return [
    ...columns({
      heads: [
        ...[words("layer"), figures("in"), figures("out"), figures("ms")],
        ...[figures("half as wide"), figures("of it")],
      ],
      rows,
    }),
    "",
    `${graph.name}: ${shares.join(", ")}; ${overhead.toFixed(4)} ms of it whatever the layers.`,
  ];
}
