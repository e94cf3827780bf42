/** Where an entry's time goes, instruction by instruction. */

import { computeOf, LoadedModel } from "../src/native/loaded_model.ts";
import type { TypedArray } from "../src/native/session.ts";
import { OPERATIONS } from "../src/program/operations.ts";
import { bytesOf, type Instruction, type Program } from "../src/program/program.ts";
import { labelsInTurn, noisePictures, type Workload, workloads } from "./benchmarks/network.ts";
import { HYPER, stepRequest } from "./benchmarks/step.ts";
import type { BenchmarkOptions } from "./contestant.ts";

/** What one instruction takes in one run, summed over threads. */
export interface InstructionCost {
  readonly op: string;
  readonly layer: string;
  readonly milliseconds: number;
  /** Multiply-accumulates of a convolution; 0 for everything else. */
  readonly macs: number;
  /** Bytes of the image values it reads and writes. */
  readonly bytes: number;
}

/** The profile of one entry. */
export interface EntryProfile {
  readonly title: string;
  readonly threads: number;
  /** Of one run, as the clock on the wall saw it. */
  readonly milliseconds: number;
  readonly instructions: readonly InstructionCost[];
}

function macsOf({ op, ints }: Instruction, images: number): number {
  if (!op.startsWith("convolution")) return 0;
  const names: readonly string[] = OPERATIONS[op].ints;
  const at = (name: string) => ints[names.indexOf(name)];
  const cells = at("out_height") * at("out_width") * at("out_channels");
  const patch = at("kernel_height") * at("kernel_width") * at("in_channels") / at("groups");
  return images * cells * patch;
}

function trafficOf({ values }: Program, { inputs, outputs }: Instruction): number {
  return [...inputs, ...outputs]
    .filter((index) => index >= 0 && values[index].images > 0)
    .reduce((sum, index) => sum + bytesOf({ ...values[index], arena: "activations" }, 1), 0);
}

/**
 * Profiles an entry: the least of `runs` runs for each instruction and for the whole, for whatever
 * else the machine does only ever adds time.
 */
export async function profileEntry(
  model: LoadedModel,
  name: string,
  title: string,
  feeds: Readonly<Record<string, TypedArray>>,
  runs: number,
): Promise<EntryProfile> {
  const { session } = model;
  const { program } = session;
  const { first, count, images } = program.entries.find((entry) => entry.name === name)!;
  const totals = () =>
    session.profile().slice(first, first + count).map(({ nanoseconds }) => nanoseconds);
  await model.run(name, { feeds });
  const walls: number[] = [];
  const times: number[][] = Array.from({ length: count }, () => []);
  for (let run = 0; run < runs; run++) {
    const before = totals();
    const started = performance.now();
    await model.run(name, { feeds, profile: true });
    walls.push(performance.now() - started);
    totals().forEach((total, index) => times[index].push((total - before[index]) / 1e6));
  }
  const instructions = times.map((milliseconds, index) => {
    const instruction = program.instructions[first + index];
    return {
      op: instruction.op,
      layer: instruction.layer,
      milliseconds: Math.min(...milliseconds),
      macs: macsOf(instruction, images),
      bytes: trafficOf(program, instruction),
    };
  });
  return { title, threads: session.threads, milliseconds: Math.min(...walls), instructions };
}

/** Profiles inference and the training step of a network in a precision. */
async function profileWork(
  { network, images, precision: { dtype }, large }: Workload,
  options: BenchmarkOptions,
): Promise<EntryProfile[]> {
  const { graph, title } = network;
  const runs = options.quick ? 2 : large ? 3 : 10;
  const requests = [{ kind: "forward" as const, name: "forward", images }, stepRequest(images)];
  using model = LoadedModel.open(graph, requests, computeOf({ ...options, dtype }));
  const forward = model.entry("forward").feeds, step = model.entry("step").feeds;
  const pictures = noisePictures(graph, images);
  const name = `${title} ${dtype}, batch ${images}`;
  return [
    await profileEntry(
      model,
      "forward",
      `inference ${name}`,
      { [forward.images!]: pictures },
      runs,
    ),
    await profileEntry(model, "step", `training step ${name}`, {
      [step.images!]: pictures,
      [step.labels!]: labelsInTurn(images),
      [step.hyper!]: HYPER,
    }, runs),
  ];
}

/** Larger batches cost in proportion and show nothing new. */
const LARGEST_BATCH = 128;

/** Profiles the works of the benchmarks in every precision. */
export async function profileNetworks(options: BenchmarkOptions): Promise<EntryProfile[]> {
  const profiles: EntryProfile[] = [];
  for (const work of workloads(options, { small: {}, large: {} })) {
    if (work.images > LARGEST_BATCH) continue;
    profiles.push(...await profileWork(work, options));
  }
  return profiles;
}
