/**
 * A training run's state as one safetensors file: parameters, optimizer state, the best weights so
 * far, and where the run stands. Written beside and renamed, so a killed run finds the last whole
 * one.
 */

import { existsSync } from "node:fs";
import { SecateurError } from "../errors.ts";
import { readSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import type { Tensor } from "../tensor.ts";
import type { TrainingPosition } from "./checkpoint_position.ts";

export type { EpochRecord, TrainingPosition } from "./checkpoint_position.ts";

export interface TrainingState {
  readonly position: TrainingPosition;
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Optimizer state by value name. */
  readonly optimizer: ReadonlyMap<string, Tensor>;
  /** Parameters of the best epoch; empty before the first. */
  readonly best: ReadonlyMap<string, Tensor>;
}

const PARTS = ["parameters", "optimizer", "best"] as const;

/** `fingerprint` says what the run is (model, data, options); reading asks for the same. */
export async function writeCheckpoint(
  path: string,
  state: TrainingState,
  fingerprint: string,
): Promise<void> {
  const tensors = new Map<string, Tensor>();
  for (const part of PARTS) {
    for (const [name, tensor] of state[part]) tensors.set(`${part}/${name}`, tensor);
  }
  await writeSafetensors(path, tensors, {
    fingerprint,
    position: JSON.stringify(state.position),
  });
}

/**
 * The state stored at `path`, or undefined when there is none. Throws "checkpoint-mismatch" when
 * it belongs to another run, and what reading safetensors throws.
 */
export async function readCheckpoint(
  path: string,
  fingerprint: string,
): Promise<TrainingState | undefined> {
  if (!existsSync(path)) return undefined;
  const { tensors, metadata } = await readSafetensors(path);
  // Only here: a run that begins anew need not wait for the schema.
  const { trainingPosition } = await import("./checkpoint_position.ts");
  const parsed = trainingPosition.safeParse(parseJson(metadata.position));
  if (metadata.fingerprint !== fingerprint || !parsed.success) {
    throw new SecateurError(
      "checkpoint-mismatch",
      `The checkpoint ${path} belongs to a run with other options, data or weights: repeat the ` +
        `options it was started with, or leave out --resume to start anew.`,
    );
  }
  const part = (prefix: string) =>
    new Map(
      [...tensors].filter(([name]) => name.startsWith(`${prefix}/`))
        .map(([name, tensor]) => [name.slice(prefix.length + 1), tensor]),
    );
  return {
    position: parsed.data,
    parameters: part("parameters"),
    optimizer: part("optimizer"),
    best: part("best"),
  };
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}
