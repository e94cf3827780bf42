import type { Graph } from "../../src/graph/graph.ts";
import { computeOf, type ComputeOptions, LoadedModel } from "../../src/native/loaded_model.ts";
import {
  type Benchmark,
  type BenchmarkOptions,
  type Case,
  type Contestant,
  secondsPerRun,
} from "../contestant.ts";
import { openPeer, type Trials } from "../peers.ts";
import { type Dtype, noisePictures, type Workload, workloads } from "./network.ts";

type Settings = Pick<BenchmarkOptions, "threads" | "device" | "seconds">;

/** Pictures from JavaScript to logits in JavaScript; peers keep theirs in their own memory. */
export function openInference(
  graph: Graph,
  images: number,
  dtype: Dtype,
  settings: Settings,
): Contestant {
  const requests = [{ kind: "forward" as const, name: "forward", images }];
  const model = LoadedModel.open(graph, requests, computeOf({ ...settings, dtype }));
  const { feeds, logits } = model.entry("forward");
  const pictures = noisePictures(graph, images);
  const run = async () => {
    await model.run("forward", { feeds: { [feeds.images!]: pictures }, fetch: [logits!] });
  };
  return {
    about: "compiled, pictures copied in and logits out",
    measure: async () => images / await secondsPerRun(run, settings.seconds),
    close: () => model.dispose(),
  };
}

async function logitsOf(graph: Graph, images: number, compute: ComputeOptions) {
  const requests = [{ kind: "forward" as const, name: "forward", images }];
  using model = LoadedModel.open(graph, requests, compute);
  const { feeds, logits } = model.entry("forward");
  const pictures = { [feeds.images!]: noisePictures(graph, images) };
  return (await model.run("forward", { feeds: pictures, fetch: [logits!] }))[logits!];
}

/** The largest difference of the logits from those in f32, as a share of the largest logit. */
export async function errorOf(
  graph: Graph,
  images: number,
  compute: ComputeOptions,
): Promise<number> {
  const exact = await logitsOf(graph, images, { ...compute, dtype: "f32" });
  const found = await logitsOf(graph, images, compute);
  let difference = 0, largest = 0;
  exact.forEach((logit, i) => {
    difference = Math.max(difference, Math.abs(found[i] - logit));
    largest = Math.max(largest, Math.abs(logit));
  });
  return difference / largest;
}

/** Pictures whose logits are compared; each costs a pass in f32 too. */
const COMPARED = 16;

async function openCompared(
  { network: { graph }, images, precision: { dtype } }: Workload,
  options: Settings,
): Promise<Contestant> {
  const contestant = openInference(graph, images, dtype, options);
  if (dtype === "f32") return contestant;
  const compute = computeOf({ ...options, dtype });
  const error = await errorOf(graph, Math.min(images, COMPARED), compute);
  return { ...contestant, details: { largestDifferenceOfLogits: error } };
}

function caseOf(work: Workload, options: BenchmarkOptions, trials: Trials): Case {
  const { network: { title, macs, peer }, images, precision, least } = work;
  const { dtype, fast } = precision;
  const parameters = { ...peer, ...precision, images };
  return {
    name: `inference ${title} ${dtype}, batch ${images}`,
    unit: "images/s",
    better: "higher",
    operations: { count: 2 * macs, dtype: fast && dtype === "bf16" ? "bf16" : "f32" },
    details: { network: title, side: peer.side, images, dtype },
    ours: () => openCompared(work, options),
    peers: [{
      name: "PyTorch",
      ...(least === undefined ? {} : { target: { kind: "ratio", least } }),
      open: (interpreter) => openPeer(interpreter, "inference", options, parameters, trials),
    }],
  };
}

export const inference: Benchmark = {
  name: "inference",
  about: "images a second through ResNet-56 and ResNet-50",
  cases: (options) => {
    const trials: Record<string, Trials> = {};
    const targets = { small: { f32: 1.3, "f32-fast": 2.5, bf16: 1.7 }, large: { bf16: 1.2 } };
    return workloads(options, targets).map((work) =>
      caseOf(work, options, trials[work.network.title] ??= {})
    );
  },
};
