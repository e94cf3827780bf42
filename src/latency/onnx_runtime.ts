/** Times in onnxruntime, which writes what every node took to a file. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { reasonOf, SecateurError } from "../errors.ts";
import { encodeOnnx } from "../formats/onnx/export/export.ts";
import type { Graph } from "../graph/graph.ts";
import { elementCount } from "../tensor.ts";
import { READERS } from "./layer_graph.ts";
import type { RunConditions, Runtime, TimedGraph } from "./runtime.ts";

/** Of a number in f32. */
const BYTES = 4;

type Library = typeof import("onnxruntime-node");
type Session = Awaited<ReturnType<Library["InferenceSession"]["create"]>>;

async function library(): Promise<Library> {
  return await import("onnxruntime-node").catch((thrown) => {
    throw new SecateurError(
      "platform-unsupported",
      `Expected onnxruntime to time layers with, but it does not load here ` +
        `(${reasonOf(thrown).split("\n")[0]}); install the npm package onnxruntime-node, or give ` +
        `--runtime secateur or a table that was measured elsewhere.`,
      { cause: thrown },
    );
  });
}

/** One event of onnxruntime's profile; times in microseconds. */
interface ProfileEvent {
  readonly cat: string;
  readonly name: string;
  readonly dur: number;
  readonly args?: { readonly op_name?: string; readonly output_size?: string };
}

/** Nodes that onnxruntime puts in where neighbours want other layouts. */
const REORDERS = new Set(["ReorderInput", "ReorderOutput"]);

/**
 * Whether a node counts for a unit: its own, and the changes of layout that it needs towards the
 * convolutions before and after it; not that of the answer behind them.
 */
function counts({ cat, name, args }: ProfileEvent, prefix: string, answerBytes: number): boolean {
  if (cat !== "Node" || !name.endsWith("_kernel_time")) return false;
  const reorders = REORDERS.has(args?.op_name ?? "") &&
    Number(args?.output_size ?? 0) > answerBytes;
  return reorders || (name.includes(prefix) && !REORDERS.has(args?.op_name ?? ""));
}

/** Milliseconds of the nodes of every pass that count; a pass ends in model_run. */
export function nodeTimes(
  events: readonly ProfileEvent[],
  prefix: string,
  answerBytes: number,
): number[] {
  const passes: number[] = [];
  let microseconds = 0;
  for (const event of events) {
    if (counts(event, prefix, answerBytes)) microseconds += event.dur;
    if (event.name !== "model_run") continue;
    passes.push(microseconds / 1000);
    microseconds = 0;
  }
  return passes;
}

class TimedSession implements TimedGraph {
  readonly #session: Session;
  readonly #feeds: Parameters<Session["run"]>[0];
  /** Where the profile goes and whose time counts. */
  readonly #profile: { folder: string; prefix: string } | undefined;
  readonly #answerBytes: number;
  readonly #milliseconds: number[] = [];

  constructor(
    session: Session,
    feeds: Parameters<Session["run"]>[0],
    answerBytes: number,
    profile?: { folder: string; prefix: string },
  ) {
    this.#session = session;
    this.#feeds = feeds;
    this.#answerBytes = answerBytes;
    this.#profile = profile;
  }

  async pass(): Promise<void> {
    const started = performance.now();
    await this.#session.run(this.#feeds);
    this.#milliseconds.push(performance.now() - started);
  }

  async finish(): Promise<readonly number[]> {
    if (this.#profile === undefined) {
      await this.#session.release();
      return this.#milliseconds;
    }
    const { folder, prefix } = this.#profile;
    try {
      this.#session.endProfiling();
      await this.#session.release();
      const [file] = readdirSync(folder);
      const events = JSON.parse(readFileSync(join(folder, file), "utf8"));
      return nodeTimes(events, prefix, this.#answerBytes);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

/** onnxruntime on the CPU, in f32. Throws "platform-unsupported" where it does not load. */
export async function onnxRuntime(conditions: RunConditions): Promise<Runtime> {
  const { InferenceSession, Tensor, env } = await library();
  const { batch, threads } = conditions;
  const open = async (graph: Graph, prefix?: string): Promise<TimedGraph> => {
    const { shape } = graph.input;
    const folder = prefix === undefined
      ? undefined
      : mkdtempSync(join(tmpdir(), "secateur-profile-"));
    const session = await InferenceSession.create(encodeOnnx(graph, { batch }), {
      intraOpNumThreads: threads,
      logSeverityLevel: 3, // errors alone: what it warns about is its own optimisation
      ...(folder === undefined
        ? {}
        : { enableProfiling: true, profileFilePrefix: join(folder, "layers") }),
    });
    const data = new Float32Array(batch * elementCount(shape)).fill(0.5);
    const feeds = { [session.inputNames[0]]: new Tensor("float32", data, [batch, ...shape]) };
    const profile = folder === undefined || prefix === undefined ? undefined : { folder, prefix };
    return new TimedSession(session, feeds, batch * READERS * BYTES, profile);
  };
  return {
    name: "onnxruntime",
    version: env.versions.common,
    dtype: "f32",
    conditions,
    openLayer: open,
    openWhole: (graph) => open(graph),
  };
}
