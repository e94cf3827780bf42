/** What a machine with a GPU replays without JavaScript: operations against the oracle, networks against the CPU. */

import type { Graph } from "../../../src/graph/graph.ts";
import { createModel } from "../../../src/models/models.ts";
import { LoadedModel } from "../../../src/native/loaded_model.ts";
import { encodeRecording, type RecordedRun } from "../../../src/native/recording.ts";
import { type Device, packedBytes, type TypedArray } from "../../../src/native/session.ts";
import { compile, type EntryRequest } from "../../../src/program/compile.ts";
import type { Precision } from "../../../src/program/precision.ts";
import { RandomStream } from "../../../src/random.ts";
import { elementCount } from "../../../src/tensor.ts";
import { TOLERANCE } from "../examples/all.ts";
import type { NamedExample } from "../examples/arguments.ts";
import { exchangeOf, programOf, runOracle, typed } from "../examples/one_instruction.ts";

/** One instruction, compiled for a device, and the oracle's answers. */
export function exampleRecording(example: NamedExample, device: Device): Uint8Array {
  const program = programOf(example, "automatic", device);
  const { feeds, fetch } = exchangeOf(example, program);
  const dtypes = new Map(program.values.map(({ name, dtype }) => [name, dtype]));
  const answers = runOracle(example);
  const expectations = fetch.map((value) => {
    const dtype = dtypes.get(value)!;
    const data = typed(dtype, answers[value.replace("out ", "")]);
    return { value, data, tolerance: TOLERANCE[dtype] };
  });
  return encodeRecording(program, [{ entry: "run", feeds, expectations }]);
}

function requestsOf(images: number): readonly EntryRequest[] {
  const loss = { smoothing: 0.1 };
  return [
    { kind: "forward", name: "forward", images, loss },
    { kind: "statistics", name: "statistics", images },
    { kind: "step", name: "step", images, loss, optimizer: { kind: "sgd", weightDecay: 1e-3 } },
  ];
}

const ROUNDS = ["forward", "step", "step", "step", "statistics", "forward"] as const;

/** Of losses and logits, as a share of the largest: f32 sums in another order, or bf16 rounds. */
const NETWORK_TOLERANCE: Record<Precision, number> = {
  "f32": 1e-3,
  "f32-fast": 1e-3,
  "bf16": 0.03,
};

export interface RecordedNetwork {
  readonly name: string;
  readonly images: number;
  /** Of the square pictures. */
  readonly side: number;
  /** Learning rate: so small that steps do not enlarge what roundings differ by. */
  readonly rate: number;
}

/** A forward pass before and after three steps and statistics; expected is what the CPU does in f32. */
export async function networkRecording(
  { name, images, side, rate }: RecordedNetwork,
  precision: Precision,
  device: Device,
): Promise<Uint8Array> {
  const graph = createModel(name, { classes: 10, shape: [3, side, side], seed: 1 });
  const requests = requestsOf(images);
  const compiled = compile(graph, requests, {
    precision,
    slice: Infinity,
    packedBytes: (ints) => packedBytes(ints, "automatic", device),
  });
  using model = LoadedModel.open(graph, requests, { engine: "portable", dtype: "f32" });
  const parameters = [...graph.parameters].map(([key, { data }]) => [key, data as TypedArray]);
  const runs: RecordedRun[] = [{
    feeds: Object.fromEntries([...compiled.constants, ...parameters as [string, TypedArray][]]),
    expectations: [],
  }];
  for (const entry of ROUNDS) {
    const { feeds, logits, loss } = model.entry(entry);
    const data = feedsOf(graph, images, rate, feeds);
    const fetch = entry === "statistics" ? [] : [logits!, loss!];
    const found = await model.run(entry, { feeds: data, fetch });
    const tolerance = NETWORK_TOLERANCE[precision];
    runs.push({ entry: compiled.prepare, feeds: {}, expectations: [] }, {
      entry,
      feeds: data,
      expectations: Object.entries(found).map(([value, data]) => ({ value, data, tolerance })),
    });
  }
  return encodeRecording(compiled.program, runs);
}

function feedsOf(
  graph: Graph,
  images: number,
  rate: number,
  feeds: { images?: string; labels?: string; hyper?: string; momentum?: string },
): Record<string, TypedArray> {
  const random = new RandomStream(1, "recorded pictures");
  const pictures = Float32Array.from(
    { length: images * elementCount(graph.input.shape) },
    () => random.normal(),
  );
  const { labels, hyper, momentum } = feeds;
  return {
    [feeds.images!]: pictures,
    ...(labels ? { [labels]: Int32Array.from({ length: images }, (_, i) => i % 10) } : {}),
    ...(hyper ? { [hyper]: Float32Array.of(rate, 0.9) } : {}),
    ...(momentum ? { [momentum]: Float32Array.of(0.25) } : {}),
  };
}
