/** Recordings: what native/replay runs without JavaScript, and compares. */

import type { Program } from "../program/program.ts";
import { ByteWriter, encodeProgram } from "./encode.ts";
import type { TypedArray } from "./session.ts";

const MAGIC = "SCTRPLY1";

export interface Expectation {
  readonly value: string;
  readonly data: TypedArray;
  /** Largest difference allowed, as a share of the largest expected magnitude. */
  readonly tolerance: number;
}

export interface RecordedRun {
  /** Entry to run; without one the feeds are only written. */
  readonly entry?: string;
  readonly feeds: Readonly<Record<string, TypedArray>>;
  readonly expectations: readonly Expectation[];
}

/** The bytes of a recording, as native/replay/recording.h describes them. */
export function encodeRecording(program: Program, runs: readonly RecordedRun[]): Uint8Array {
  const writer = new ByteWriter();
  const blob = (data: TypedArray) => {
    writer.i64(data.byteLength);
    writer.raw(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  };
  writer.raw(new TextEncoder().encode(MAGIC));
  blob(encodeProgram(program));
  writer.list(runs, (run) => {
    writer.string(run.entry ?? "");
    writer.list(Object.entries(run.feeds), ([value, data]) => {
      writer.string(value);
      blob(data);
    });
    writer.list(run.expectations, (expectation) => {
      writer.string(expectation.value);
      writer.f64(expectation.tolerance);
      blob(expectation.data);
    });
  });
  return writer.bytes();
}
