/** Times in onnxruntime, which writes what every node took to a file. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { reasonOf, SecateurError } from "../errors.ts";
import { encodeOnnx } from "../formats/onnx/export/export.ts";
import { quoted } from "../formats/bytes.ts";
import type { Graph } from "../graph/graph.ts";
import { elementCount } from "../tensor.ts";
import { AROUND_PREFIX, MOST_AROUND } from "./layer_graph.ts";
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
 * Whether a node counts for a unit: all but those around it, whatever they were fused into, and the
 * changes of layout that it needs towards the convolutions before and after it; not the small ones
 * that those around it need among themselves.
 */
function counts({ cat, name, args }: ProfileEvent, aroundBytes: number): boolean {
  if (cat !== "Node" || !name.endsWith("_kernel_time")) return false;
  if (REORDERS.has(args?.op_name ?? "")) return Number(args?.output_size ?? 0) > aroundBytes;
  return !name.replace(/^fused /, "").startsWith(AROUND_PREFIX);
}

/** Milliseconds of the nodes of every pass that count; a pass ends in model_run. */
export function nodeTimes(events: readonly ProfileEvent[], aroundBytes: number): number[] {
  const passes: number[] = [];
  let microseconds = 0;
  for (const event of events) {
    if (counts(event, aroundBytes)) microseconds += event.dur;
    if (event.name !== "model_run") continue;
    passes.push(microseconds / 1000);
    microseconds = 0;
  }
  return passes;
}

class TimedSession implements TimedGraph {
  readonly #session: Session;
  readonly #feeds: Parameters<Session["run"]>[0];
  /** The folder that a profile goes to. */
  readonly #profile: string | undefined;
  readonly #aroundBytes: number;
  readonly #milliseconds: number[] = [];

  constructor(
    session: Session,
    feeds: Parameters<Session["run"]>[0],
    aroundBytes: number,
    profile?: string,
  ) {
    this.#session = session;
    this.#feeds = feeds;
    this.#aroundBytes = aroundBytes;
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
    const folder = this.#profile;
    try {
      this.#session.endProfiling();
      await this.#session.release();
      const [file] = readdirSync(folder);
      const events = JSON.parse(readFileSync(join(folder, file), "utf8"));
      return nodeTimes(events, this.#aroundBytes);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

const refused = (graph: Graph, thrown: unknown): SecateurError =>
  new SecateurError(
    "check-failed",
    `onnxruntime was expected to run ${quoted(graph.name)}, but it says ` +
      `${quoted(reasonOf(thrown).slice(0, 300))}; time it with --runtime secateur, or report the ` +
      `model.`,
    { cause: thrown },
  );

/** onnxruntime on the CPU, in f32. Throws "platform-unsupported" where it does not load. */
export async function onnxRuntime(conditions: RunConditions): Promise<Runtime> {
  const { InferenceSession, Tensor, env } = await library();
  const { batch, threads } = conditions;
  const open = async (graph: Graph, folder?: string): Promise<TimedGraph> => {
    const { shape } = graph.input;
    const session = await InferenceSession.create(encodeOnnx(graph, { batch }), {
      intraOpNumThreads: threads,
      logSeverityLevel: 3, // errors alone: what it warns about is its own optimisation
      ...(folder === undefined
        ? {}
        : { enableProfiling: true, profileFilePrefix: join(folder, "layers") }),
    }).catch((thrown) => {
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
      throw refused(graph, thrown);
    });
    const data = new Float32Array(batch * elementCount(shape)).fill(0.5);
    const feeds = { [session.inputNames[0]]: new Tensor("float32", data, [batch, ...shape]) };
    return new TimedSession(session, feeds, batch * MOST_AROUND * BYTES, folder);
  };
  return {
    name: "onnxruntime",
    version: env.versions.common,
    dtype: "f32",
    conditions,
    // Its profile has whole microseconds, and two or three for nodes that do nothing.
    clockTime: 0.003,
    openLayer: (graph) => open(graph, mkdtempSync(join(tmpdir(), "secateur-profile-"))),
    openWhole: (graph) => open(graph),
  };
}
