import { SecateurError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import {
  compile,
  type Compiled,
  type CompiledEntry,
  type EntryRequest,
} from "../program/compile.ts";
import type { Precision } from "../program/precision.ts";
import type { Tensor } from "../tensor.ts";
import type { Engine } from "./addon.ts";
import {
  cpuFeatures,
  type Device,
  deviceName,
  packedBytes,
  Session,
  type TypedArray,
} from "./session.ts";

/** "auto" is bf16 where the engine is faster in it: on GPUs, and with AMX or AVX-512. */
export type DTypeChoice = "auto" | Precision;

/** How to compute; results do not depend on `threads`. */
export interface ComputeOptions {
  readonly dtype?: DTypeChoice;
  readonly threads?: number;
  readonly engine?: Engine;
  /** Images per slice; chosen for each entry by default, the whole batch on another device. */
  readonly slice?: number;
  /** What executes; the CPU by default. */
  readonly device?: Device;
}

/** Of the options of something larger, those that say how to compute. */
export function computeOf({ dtype, threads, device }: ComputeOptions): ComputeOptions {
  return {
    ...(dtype === undefined ? {} : { dtype }),
    ...(threads === undefined ? {} : { threads }),
    ...(device === undefined ? {} : { device }),
  };
}

/** The precision that a choice means on this machine, on its CPU unless a device is given. */
export function resolveDtype(choice: DTypeChoice = "auto", device?: Device): Precision {
  if (choice !== "auto") return choice;
  if (device !== undefined) return "bf16";
  const { amxBf16, avx512 } = cpuFeatures();
  return amxBf16 || avx512 ? "bf16" : "f32";
}

function requireFinite(data: Float32Array, name: string, graph: string): void {
  // A plain loop: five times as fast as findIndex for the weights of a model.
  let position = 0;
  while (position < data.length && Number.isFinite(data[position])) position++;
  if (position === data.length) return;
  throw new SecateurError(
    "numeric-failure",
    `Expected finite weights, but ${name} of ${graph} holds ${data[position]} at position ` +
      `${position}: the file is damaged, or was written by a run that diverged.`,
  );
}

/** What to feed and fetch, by the names that `entry()` gives. */
export interface RunRequest {
  readonly feeds?: Readonly<Record<string, TypedArray>>;
  readonly fetch?: readonly string[];
  readonly signal?: AbortSignal;
  readonly profile?: boolean;
}

/** A graph compiled for the entries asked for and loaded with its weights. */
export class LoadedModel {
  readonly graph: Graph;
  readonly dtype: Precision;
  /** What executes: "cpu", "cuda:0". */
  readonly device: string;
  readonly session: Session;
  readonly #compiled: Compiled;
  /** Entries that leave other weights behind than they found. */
  readonly #updating: ReadonlySet<string>;
  #stale = true;

  private constructor(
    graph: Graph,
    dtype: Precision,
    device: string,
    compiled: Compiled,
    session: Session,
    updating: ReadonlySet<string>,
  ) {
    this.graph = graph;
    this.dtype = dtype;
    this.device = device;
    this.session = session;
    this.#compiled = compiled;
    this.#updating = updating;
  }

  /** Compiles and loads. Throws what `compile`, `Session.open`, `loadAddon` and `write` throw. */
  static open(
    graph: Graph,
    requests: readonly EntryRequest[],
    options: ComputeOptions = {},
  ): LoadedModel {
    const { engine = "automatic", threads, device } = options;
    const dtype = resolveDtype(options.dtype, device);
    // Caches are the CPU's reason for slices; a GPU wants all the work at once.
    const slice = options.slice ?? (device === undefined ? undefined : Infinity);
    const compiled = compile(graph, requests, {
      precision: dtype,
      packedBytes: (ints) => packedBytes(ints, engine, device),
      ...(slice === undefined ? {} : { slice }),
    });
    const session = Session.open(compiled.program, {
      engine,
      ...(threads === undefined ? {} : { threads }),
      ...(device === undefined ? {} : { device }),
    });
    const updating = requests
      .filter(({ kind }) => kind === "step" || kind === "statistics")
      .map(({ name }) => name);
    const name = deviceName(device);
    const model = new LoadedModel(graph, dtype, name, compiled, session, new Set(updating));
    for (const [name, data] of compiled.constants) session.write(name, data);
    model.write(graph.parameters);
    return model;
  }

  /** Where an entry finds its feeds and leaves its results. */
  entry(name: string): CompiledEntry {
    const entry = this.#compiled.entries.get(name);
    if (entry !== undefined) return entry;
    throw new SecateurError(
      "program-invalid",
      `${this.graph.name} was not compiled with an entry ${name}.`,
    );
  }

  /**
   * Replaces parameters; what inference needs is prepared again before its next run. Throws
   * "numeric-failure" at a NaN or an infinity, which rectifiers downstream might hide.
   */
  write(parameters: ReadonlyMap<string, Tensor>): void {
    for (const [name, { data }] of parameters) {
      requireFinite(data, name, this.graph.name);
      this.session.write(name, data);
    }
    this.#stale = true;
  }

  /** Runs an entry as `Session.run` does, preparing packed weights first when they are stale. */
  async run(name: string, request: RunRequest = {}): Promise<Record<string, TypedArray>> {
    if (this.#updating.has(name)) {
      this.#stale = true;
    } else if (this.#stale) {
      this.#stale = false;
      await this.session.run(this.#compiled.prepare);
    }
    return await this.session.run(name, request);
  }

  /** The graph with its parameters as they are now. */
  async current(): Promise<Graph> {
    const parameters = new Map<string, Tensor>();
    for (const [name, { shape }] of this.graph.parameters) {
      parameters.set(name, { shape, data: await this.session.read(name) as Float32Array });
    }
    return { ...this.graph, parameters };
  }

  dispose(): void {
    this.session.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
