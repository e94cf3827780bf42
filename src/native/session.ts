/** A compiled program loaded into native code: write values, run entries, read values. */

import { availableParallelism } from "node:os";
import { SecateurError } from "../errors.ts";
import { elementsOf, type Program, type Value } from "../program/program.ts";
import type { OperationName } from "../program/operations.ts";
import type { CpuFeatures, Engine, NativeSession, SessionMemory } from "./addon.ts";
import { loadAddon } from "./binding.ts";
import { encodeProgram } from "./encode.ts";
import { coded, codedError, requireOwnMemory } from "./native_errors.ts";

/** What values are exchanged as: bf16 values as Float32Array, bytes as Uint8Array. */
export type TypedArray = Float32Array | Int32Array | Float64Array | Uint8Array;

export interface SessionOptions {
  /** Threads that compute; the default is what the machine offers. Results do not depend on it. */
  readonly threads?: number;
  /** Default "automatic". */
  readonly engine?: Engine;
  /** What executes the program; the CPU by default. */
  readonly device?: Device;
}

/** An executor other than the CPU: a device of the plugin in a file. */
export interface Device {
  readonly plugin: string;
  readonly index: number;
}

/** What people call an executor: "cpu", "cuda:0". */
export function deviceName(device: Device | undefined): string {
  return device === undefined ? "cpu" : `cuda:${device.index}`;
}

/** Which device computes, where results may depend on it: "cpu", or what its plugin says of it. */
export function describeDevice(device: Device | undefined): string {
  if (device === undefined) return "cpu";
  const { plugin, index } = device;
  return coded(() => loadAddon().describePlugin(plugin, index));
}

export interface EntryOptions {
  /** Values written before the entry runs, by name. */
  readonly feeds?: Readonly<Record<string, TypedArray>>;
  /** Values read after it, by name. */
  readonly fetch?: readonly string[];
  /** Rejects with "cancelled" soon after it aborts; what the entry wrote is then unspecified. */
  readonly signal?: AbortSignal;
  /** Adds to `Session.profile`. */
  readonly profile?: boolean;
}

/** Time spent in one instruction, summed over slices, threads and profiled runs. */
export interface InstructionTime {
  readonly op: OperationName;
  readonly layer: string;
  readonly nanoseconds: number;
}

/**
 * One loaded program with its memory and threads. Writes, runs and reads happen in the order they
 * are asked for, on a thread of the session's own. Sessions share nothing.
 */
export class Session {
  readonly program: Program;
  readonly threads: number;
  readonly #native: NativeSession;
  readonly #values: ReadonlyMap<string, number>;
  readonly #entries: ReadonlyMap<string, number>;
  readonly #nanoseconds: Float64Array;
  #jobs = 0;

  private constructor(program: Program, threads: number, native: NativeSession) {
    this.program = program;
    this.threads = threads;
    this.#native = native;
    this.#values = new Map(program.values.map((value, index) => [value.name, index]));
    this.#entries = new Map(program.entries.map((entry, index) => [entry.name, index]));
    this.#nanoseconds = new Float64Array(program.instructions.length);
  }

  /**
   * Verifies and loads a program; its memory starts as zeros. Throws "program-invalid" for what
   * is wrong with it or not supported, "addon-failed" when memory or threads are refused,
   * "option-invalid" for an impossible number of threads or value of SECATEUR_ISA, and what
   * `loadAddon` throws.
   */
  static open(program: Program, options: SessionOptions = {}): Session {
    const addon = loadAddon();
    const threads = options.threads ?? availableParallelism();
    if (!Number.isInteger(threads) || threads < 1) {
      throw new SecateurError(
        "option-invalid",
        `Expected a whole number of threads from 1, found ${threads}.`,
      );
    }
    const bytes = encodeProgram(program);
    const { engine = "automatic", device } = options;
    const native = coded(() =>
      new addon.Session(bytes, threads, engine, device?.plugin, device?.index)
    );
    return new Session(program, threads, native);
  }

  /**
   * Copies a whole value in, before what is asked for next. f32 numbers round to nearest even
   * where the value is bf16. Throws "program-invalid" for an unknown value, another type or
   * number of elements, shared memory, a value in the slice arena, or a disposed session.
   */
  write(value: string, data: TypedArray): void {
    const index = this.#value(value);
    requireMatch(this.program.values[index], data);
    coded(() => this.#native.write(index, data));
  }

  /** Copies a whole value out, after what was asked for before. Rejects as `write` throws. */
  async read(value: string): Promise<TypedArray> {
    return (await this.#submit(-1, { fetch: [value] }))[value];
  }

  /**
   * Writes feeds, runs an entry and reads fetches as one job. Rejects with "program-invalid" for
   * unknown names and unfit feeds, "cancelled" when the signal aborts or the session is disposed,
   * and what kernels refuse.
   */
  run(entry: string, options: EntryOptions = {}): Promise<Record<string, TypedArray>> {
    const index = this.#entries.get(entry);
    if (index !== undefined) return this.#submit(index, options);
    return Promise.reject(unknown("entry", entry, this.#entries.keys()));
  }

  /** Times of the runs that asked for a profile, in program order. */
  profile(): InstructionTime[] {
    return this.program.instructions.map(({ op, layer }, index) => ({
      op,
      layer,
      nanoseconds: this.#nanoseconds[index],
    }));
  }

  /** Bytes this session holds. */
  memory(): SessionMemory {
    return coded(() => this.#native.memory());
  }

  /** Frees everything; what is still running is cancelled first. Further calls do nothing. */
  dispose(): void {
    this.#native.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #submit(entry: number, options: EntryOptions): Promise<Record<string, TypedArray>> {
    const { signal, fetch = [] } = options;
    if (signal?.aborted) throw cancelled();
    const feeds = Object.entries(options.feeds ?? {});
    const targets = feeds.map(([name, data]) => {
      const index = this.#value(name);
      requireMatch(this.program.values[index], data);
      return index;
    });
    const sources = fetch.map((name) => this.#value(name));
    const data = feeds.map(([, array]) => array);
    const job = this.#jobs = (this.#jobs + 1) % 2 ** 31;
    const cancel = () => this.#native.cancel(job);
    try {
      const pending = this.#native
        .run(job, entry, targets, data, sources, options.profile ?? false);
      signal?.addEventListener("abort", cancel);
      const { fetched, nanoseconds } = await pending;
      nanoseconds.forEach((spent, index) => this.#nanoseconds[index] += spent);
      const arrays = fetched.map((buffer, i) => arrayOf(this.program.values[sources[i]], buffer));
      return Object.fromEntries(fetch.map((name, i) => [name, arrays[i]]));
    } catch (thrown) {
      throw codedError(thrown);
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  #value(name: string): number {
    const index = this.#values.get(name);
    if (index === undefined) throw unknown("value", name, this.#values.keys());
    return index;
  }
}

/**
 * Bytes of the packed form that a pack_convolution with these integer attributes writes. Throws
 * "program-invalid" when they make no sense.
 */
export function packedBytes(
  ints: readonly number[],
  engine: Engine = "automatic",
  device?: Device,
): number {
  const addon = loadAddon();
  return coded(() => addon.packedBytes(ints, 1, engine, device?.plugin, device?.index));
}

/**
 * Instruction sets that sessions opened now would use. Throws "option-invalid" when SECATEUR_ISA
 * is none of portable, avx2, avx512, avx512-vnni, avx512-bf16 and amx.
 */
export function cpuFeatures(): CpuFeatures {
  const addon = loadAddon();
  return coded(() => addon.cpuFeatures());
}

/** A number of elements, counted over all images. */
function totalElements(value: Value): number {
  return elementsOf(value) * Math.max(value.images, 1);
}

function requireMatch(value: Value, data: TypedArray): void {
  const expected = constructorOf(value);
  if (!(data instanceof expected)) {
    throw new SecateurError(
      "program-invalid",
      `Expected a ${expected.name} for the ${value.dtype} value "${value.name}", ` +
        `found ${Object.prototype.toString.call(data).slice(8, -1)}.`,
    );
  }
  requireOwnMemory(data, `value "${value.name}"`);
  if (data.length !== totalElements(value)) {
    const images = value.images === 0 ? "" : `${value.images} x `;
    throw new SecateurError(
      "program-invalid",
      `Expected ${totalElements(value)} elements (${images}[${value.shape.join(", ")}]) for ` +
        `value "${value.name}", found ${data.length}.`,
    );
  }
}

function constructorOf(value: Value) {
  switch (value.dtype) {
    case "f32":
    case "bf16":
      return Float32Array;
    case "i32":
      return Int32Array;
    case "f64":
      return Float64Array;
    case "bytes":
      return Uint8Array;
  }
}

function arrayOf(value: Value, buffer: ArrayBuffer): TypedArray {
  return new (constructorOf(value))(buffer);
}

function unknown(what: string, name: string, known: Iterable<string>): SecateurError {
  const names = [...known];
  const shown = names.slice(0, 8).join(", ") + (names.length > 8 ? ", ..." : "");
  return new SecateurError(
    "program-invalid",
    `The program has no ${what} named "${name}"; it has ${shown || "none"}.`,
  );
}

function cancelled(): SecateurError {
  return new SecateurError("cancelled", "The run was cancelled.");
}
