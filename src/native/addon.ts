/** What the native addon exports; the only description of it on this side of the boundary. */

/** Which convolution kernels to use; "automatic" takes the fastest that supports the shape. */
export type Engine = "automatic" | "portable" | "onednn";

/** Bytes a session holds; slice arenas and scratch are those of all threads together. */
export interface SessionMemory {
  readonly arenas: number;
  readonly partials: number;
  readonly scratch: number;
}

/** Instruction sets this process may use: the processor's, up to SECATEUR_ISA. */
export interface CpuFeatures {
  readonly avx2: boolean;
  readonly avx512: boolean;
  readonly avx512Bf16: boolean;
  readonly avx512Vnni: boolean;
  /** Its dot product of bf16, where that was measured to multiply faster than f32 does. */
  readonly bf16Dot: boolean;
  /** Its dot product of int16, where that was measured to be worth converting to. */
  readonly int16Dot: boolean;
  readonly amxBf16: boolean;
}

/** Multiply-accumulates a second of one core by AVX-512, measured; 0 without the instruction. */
export interface ProductRates {
  readonly f32: number;
  readonly bf16: number;
  readonly int16: number;
}

/** Bytes of the values asked for, and nanoseconds per instruction (empty unless profiled). */
export interface NativeResult {
  readonly fetched: ArrayBuffer[];
  readonly nanoseconds: Float64Array;
}

/** A loaded program. Values and entries go by index, bf16 values travel as f32. */
export interface NativeSession {
  write(value: number, data: ArrayBufferView): void;
  /** `job` is a number of the caller's, for `cancel`; entry -1 runs nothing. */
  run(
    job: number,
    entry: number,
    feeds: readonly number[],
    data: readonly ArrayBufferView[],
    fetches: readonly number[],
    profile: boolean,
  ): Promise<NativeResult>;
  cancel(job: number): void;
  memory(): SessionMemory;
  dispose(): void;
}

/** A layer that reads players' channels, n unknowns and m outputs. */
export interface NativeConsumer {
  /** [n, n], symmetric. */
  readonly covariance: Float64Array;
  /** [m, n] */
  readonly weights: Float64Array;
  /** [n]: the player whose channel an unknown belongs to, -1 where it stays. */
  readonly owners: Int32Array;
}

/** See native/linear_algebra/reproduction.h; work runs on pool threads, one piece at a time. */
export interface NativeReproduction {
  walk(walks: Int32Array, depth: number, threads: number): Promise<Float64Array<ArrayBuffer>>;
  remove(players: Int32Array): Promise<Float64Array<ArrayBuffer>>;
  eliminate(count: number): Promise<{ players: Int32Array; costs: Float64Array<ArrayBuffer> }>;
  weights(consumer: number): Promise<Float64Array<ArrayBuffer>>;
  cancel(): void;
}

/** Everything thrown or rejected natively is an Error with a `code` of ErrorCode. */
export interface Addon {
  /** Digest of the sources the addon was built from; `binding.ts` compares it. */
  readonly sourceHash: string;
  /** `plugin` is the file of another executor than the CPU, `device` which of its devices. */
  readonly Session: new (
    program: Uint8Array,
    threads: number,
    engine: Engine,
    plugin?: string,
    device?: number,
  ) => NativeSession;
  readonly Reproduction: new (
    consumers: readonly NativeConsumer[],
    players: number,
    ridge: number,
  ) => NativeReproduction;
  packedBytes(
    ints: readonly number[],
    threads: number,
    engine: Engine,
    plugin?: string,
    device?: number,
  ): number;
  /** One line about a plugin's device; throws "addon-failed" with why it cannot be used. */
  describePlugin(plugin: string, device: number): string;
  /**
   * Numerical rank of each of `count` row-major rows x cols matrices: singular values above
   * max(rows, cols) * eps(f32) * the largest. -1 where a matrix holds a NaN or an infinity.
   */
  ranks(data: Float32Array, count: number, rows: number, cols: number): Int32Array;
  cpuFeatures(): CpuFeatures;
  productRates(): ProductRates;
  /** Ids of the process that started this one and of the one that started that; 0 where unknown. */
  ancestry(): readonly number[];
  /** Solves (gram + ridge * mean(diagonal) * I) X = rhs [n, m], on a pool thread. */
  choleskySolve(
    gram: Float64Array,
    rhs: Float64Array,
    n: number,
    m: number,
    ridge: number,
  ): Promise<Float64Array<ArrayBuffer>>;
}
