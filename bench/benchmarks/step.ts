import type { Graph } from "../../src/graph/graph.ts";
import { computeOf, LoadedModel } from "../../src/native/loaded_model.ts";
import type { StepRequest } from "../../src/program/requests.ts";
import {
  type Benchmark,
  type BenchmarkOptions,
  type Case,
  type Contestant,
  secondsPerRun,
} from "../contestant.ts";
import { openPeer, type Trials } from "../peers.ts";
import { type Dtype, labelsInTurn, noisePictures, type Workload, workloads } from "./network.ts";

/** The step that all benchmarks of training take: SGD with Nesterov momentum and weight decay. */
export function stepRequest(images: number): StepRequest {
  return {
    kind: "step",
    name: "step",
    images,
    loss: { smoothing: 0 },
    optimizer: { kind: "sgd", weightDecay: 1e-4, decayNormAndBias: true },
  };
}

/** Learning rate and momentum; small, for noise teaches nothing and must not diverge. */
export const HYPER: Float32Array = Float32Array.of(1e-4, 0.9);

/** Pictures from JavaScript, losses back to it. */
export function openStep(
  graph: Graph,
  images: number,
  dtype: Dtype,
  options: Pick<BenchmarkOptions, "threads" | "device" | "seconds">,
): Contestant {
  const model = LoadedModel.open(graph, [stepRequest(images)], computeOf({ ...options, dtype }));
  const { feeds, loss } = model.entry("step");
  const batch = {
    [feeds.images!]: noisePictures(graph, images),
    [feeds.labels!]: labelsInTurn(images),
    [feeds.hyper!]: HYPER,
  };
  const run = async () => {
    await model.run("step", { feeds: batch, fetch: [loss!] });
  };
  return {
    about: "compiled, pictures copied in and losses out",
    measure: async () => images / await secondsPerRun(run, options.seconds),
    close: () => model.dispose(),
  };
}

/** Rounds where one step takes seconds. */
const FEW_ROUNDS = 3;

function caseOf(work: Workload, options: BenchmarkOptions, trials: Trials): Case {
  const { network: { graph, title, macs, peer }, images, precision, least, large } = work;
  const { dtype, fast } = precision;
  const parameters = { ...peer, ...precision, images };
  return {
    name: `training step ${title} ${dtype}, batch ${images}`,
    unit: "images/s",
    better: "higher",
    // Forward, gradient of the inputs, gradient of the weights.
    operations: { count: 6 * macs, dtype: fast && dtype === "bf16" ? "bf16" : "f32" },
    details: { network: title, side: peer.side, images, dtype },
    ...(large ? { mostRounds: FEW_ROUNDS } : {}),
    ours: () => Promise.resolve(openStep(graph, images, dtype, options)),
    peers: [{
      name: "PyTorch",
      ...(least === undefined ? {} : { target: { kind: "ratio", least } }),
      open: (interpreter) => openPeer(interpreter, "step", options, parameters, trials),
    }],
  };
}

export const step: Benchmark = {
  name: "step",
  about: "images a second through training steps of ResNet-56 and ResNet-50",
  cases: (options) => {
    const trials: Record<string, Trials> = {};
    const targets = { small: { f32: 1.5, "f32-fast": 2.5, bf16: 3 }, large: { bf16: 1.3 } };
    return workloads(options, targets).map((work) =>
      caseOf(work, options, trials[work.network.title] ??= {})
    );
  },
};
