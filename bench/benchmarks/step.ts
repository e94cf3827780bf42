import type { Graph } from "../../src/graph/graph.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import type { StepRequest } from "../../src/program/requests.ts";
import {
  type Benchmark,
  type BenchmarkOptions,
  type Case,
  type Contestant,
  secondsPerRun,
} from "../contestant.ts";
import { openPeer } from "../peers.ts";
import {
  labelsInTurn,
  type Network,
  networkOf,
  noisePictures,
  type Precision,
  precisions,
} from "./network.ts";

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
  dtype: Precision["dtype"],
  { threads, seconds }: Pick<BenchmarkOptions, "threads" | "seconds">,
): Contestant {
  const model = LoadedModel.open(graph, [stepRequest(images)], { dtype, threads });
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
    measure: async () => images / await secondsPerRun(run, seconds),
    close: () => model.dispose(),
  };
}

const TARGETS = { f32: 1.5, bf16: 3 } as const;

function caseOf(network: Network, images: number, precision: Precision, options: BenchmarkOptions) {
  const { dtype, amx } = precision;
  const { depth, title, macs } = network;
  const parameters = { depth, images, dtype, amx };
  const target = { kind: "ratio", least: TARGETS[dtype] } as const;
  const made: Case = {
    name: `training step ${title} ${dtype}, batch ${images}`,
    unit: "images/s",
    better: "higher",
    // Forward, gradient of the inputs, gradient of the weights.
    operations: { count: 6 * macs, dtype: amx ? dtype : "f32" },
    details: { network: title, images, dtype },
    ours: () => Promise.resolve(openStep(network.graph, images, dtype, options)),
    peers: [{
      name: "PyTorch",
      ...(dtype === "f32" || amx ? { target } : {}),
      open: (interpreter) => openPeer(interpreter, "step", options, parameters),
    }],
  };
  return made;
}

export const step: Benchmark = {
  name: "step",
  about: "images a second through training steps of ResNet-56",
  cases: (options) => {
    const network = networkOf(options);
    const batches = options.quick ? [4] : [128, 256];
    return precisions().flatMap((precision) =>
      batches.map((images) => caseOf(network, images, precision, options))
    );
  },
};
