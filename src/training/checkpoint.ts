/**
 * A training run's state as one safetensors file: parameters, optimizer state, their moving average,
 * the best weights so far, and where the run stands. Written beside and renamed, so a killed run finds
 * the last whole one.
 */

import { existsSync } from "node:fs";
import { SecateurError } from "../errors.ts";
import { readSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import type { Tensor } from "../tensor.ts";
import type { TrainingPosition } from "./checkpoint_position.ts";
import { differences, fingerprintOf, type Identity } from "./identity.ts";

export interface TrainingState {
  readonly position: TrainingPosition;
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Optimizer state by value name. */
  readonly optimizer: ReadonlyMap<string, Tensor>;
  /** Moving average by parameter; empty where none is kept. */
  readonly averages: ReadonlyMap<string, Tensor>;
  /** The best weights; empty before the first evaluation, and where they are the starting ones. */
  readonly best: ReadonlyMap<string, Tensor>;
}

const PARTS = ["parameters", "optimizer", "averages", "best"] as const;

/** `identity` says what the run is; reading asks for the same. */
export async function writeCheckpoint(
  path: string,
  state: TrainingState,
  identity: Identity,
): Promise<void> {
  const tensors = new Map<string, Tensor>();
  for (const part of PARTS) {
    for (const [name, tensor] of state[part]) tensors.set(`${part}/${name}`, tensor);
  }
  await writeSafetensors(path, tensors, {
    identity: JSON.stringify(identity),
    fingerprint: fingerprintOf(identity),
    position: JSON.stringify(state.position),
  });
}

/**
 * The state stored at `path`, or undefined when there is none. Throws "checkpoint-mismatch" when
 * it belongs to another run, and what reading safetensors throws.
 */
export async function readCheckpoint(
  path: string,
  identity: Identity,
): Promise<TrainingState | undefined> {
  if (!existsSync(path)) return undefined;
  const { tensors, metadata } = await readSafetensors(path);
  // Only here: a run that begins anew need not wait for the schema.
  const { trainingPosition } = await import("./checkpoint_position.ts");
  const parsed = trainingPosition.safeParse(parseJson(metadata.position));
  if (metadata.fingerprint !== fingerprintOf(identity) || !parsed.success) {
    const before = parseJson(metadata.identity) as Identity | undefined;
    const other = before && parsed.success ? differences(before, identity) : "";
    throw new SecateurError(
      "checkpoint-mismatch",
      `The checkpoint ${path} belongs to another run` +
        `${
          other === "" ? ", by another version" : `: ${other}`
        }. Repeat what it was started with, ` +
        `or leave out --resume to start anew.`,
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
    averages: part("averages"),
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
