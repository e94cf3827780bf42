/**
 * Graph to program: lower, instrument, fuse, differentiate, update, pack, allocate. The entries
 * asked for share weights, state and feeds and overlay their activations.
 */

import { SecateurError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import { allocate } from "./memory/allocate.ts";
import { Draft, type DraftEntry, type DraftInstruction } from "./draft.ts";
import {
  buildCoalitions,
  buildForward,
  buildStatistics,
  buildStep,
  type Built,
  type Context,
} from "./entries.ts";
import { buildEquations, buildMoments } from "./equations.ts";
import type { PackedBytes } from "./passes/pack.ts";
import type { Precision } from "./precision.ts";
import type { Compiled, EntryRequest } from "./requests.ts";
import { verify } from "./verify.ts";

export type {
  CoalitionsRequest,
  Compiled,
  CompiledEntry,
  EntryRequest,
  EquationsRequest,
  ForwardRequest,
  MomentsRequest,
  StatisticsRequest,
  StepRequest,
} from "./requests.ts";

/** How to compile. */
export interface CompileOptions {
  /** Of images and convolutions; outputs, losses, weights and statistics are f32 in any. */
  readonly precision: Precision;
  /** Images per slice; chosen for each entry by default. */
  readonly slice?: number;
  /** Bytes of a pack_convolution's output: the backend's answer. */
  readonly packedBytes: PackedBytes;
}

const PREPARE = "prepare";

function build(context: Context, request: EntryRequest): readonly Built[] {
  switch (request.kind) {
    case "forward":
      return [buildForward(context, request)];
    case "step":
      return [buildStep(context, request)];
    case "statistics":
      return [buildStatistics(context, request)];
    case "coalitions":
      return buildCoalitions(context, request);
    case "equations":
      return [buildEquations(context, request)];
    case "moments":
      return [buildMoments(context, request)];
  }
}

function checkRequests(requests: readonly EntryRequest[]): void {
  const names = new Set<string>([PREPARE]);
  for (const request of requests) {
    const counts = request.kind === "coalitions" ? request.coalitions : [];
    for (const count of [request.images, ...counts]) {
      if (Number.isSafeInteger(count) && count > 0) continue;
      throw new SecateurError(
        "program-invalid",
        `${request.name} is asked for ${count} images or coalitions; give a positive integer.`,
      );
    }
    if (names.has(request.name)) {
      throw new SecateurError(
        "program-invalid",
        `Two entries are called ${request.name}; entry names must differ, and "${PREPARE}" is taken.`,
      );
    }
    names.add(request.name);
  }
}

/** One entry of everything that depends on weights alone, each value computed once. */
function prepareEntry(built: readonly Built[]): DraftEntry {
  const writers = new Map<string, string>();
  const instructions: DraftInstruction[] = [];
  for (const instruction of built.flatMap(({ prepare }) => prepare)) {
    const [output] = Object.values(instruction.outputs);
    const text = JSON.stringify(instruction);
    const known = writers.get(output);
    if (known === undefined) {
      writers.set(output, text);
      instructions.push(instruction);
    } else if (known !== text) {
      throw new SecateurError(
        "graph-unsupported",
        `${instruction.layer} prepares ${output} differently from another layer; layers that ` +
          `share a weight must have the same shapes.`,
      );
    }
  }
  return { name: PREPARE, images: 0, slice: 0, instructions, keep: new Set() };
}

/**
 * Compiles a graph. Throws "graph-invalid" or "graph-unsupported" when instructions cannot
 * express it, "program-invalid" when a request names what the graph lacks.
 */
export function compile(
  graph: Graph,
  requests: readonly EntryRequest[],
  options: CompileOptions,
): Compiled {
  checkRequests(requests);
  const draft = new Draft();
  const { precision, packedBytes } = options;
  const context: Context = {
    draft,
    graph,
    precision,
    packedBytes,
    ...(options.slice === undefined ? {} : { slice: options.slice }),
  };
  const built = requests.flatMap((request) => build(context, request));
  const entries = [prepareEntry(built), ...built.map(({ entry }) => entry)];
  const parameters = [...graph.parameters].map(([name, { shape }]) =>
    draft.values.has(name)
      ? name
      : draft.value({ name, dtype: "f32", shape, images: 0, place: "weights" })
  );
  const program = allocate(draft, entries, parameters);
  const lasting = entries.flatMap((entry) => [...entry.lasting?.values ?? []]);
  verify(
    program,
    new Set([...lasting, ...draft.constants.keys()]),
    new Map(entries.map(({ name, keep }) => [name, keep])),
  );
  const used = new Set(program.values.map(({ name }) => name));
  return {
    program,
    prepare: PREPARE,
    entries: new Map(built.map(({ compiled }) => [compiled.name, compiled])),
    constants: new Map([...draft.constants].filter(([name]) => used.has(name))),
  };
}
