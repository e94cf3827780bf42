import type { Graph } from "../../src/graph/graph.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import {
  type Benchmark,
  type BenchmarkOptions,
  type Case,
  type Contestant,
  secondsPerRun,
} from "../contestant.ts";
import { openPeer } from "../peers.ts";
import { type Network, networkOf, noisePictures, type Precision, precisions } from "./network.ts";

/** Pictures from JavaScript to logits in JavaScript; peers keep theirs in their own memory. */
export function openInference(
  graph: Graph,
  images: number,
  dtype: Precision["dtype"],
  { threads, seconds }: Pick<BenchmarkOptions, "threads" | "seconds">,
): Contestant {
  const requests = [{ kind: "forward" as const, name: "forward", images }];
  const model = LoadedModel.open(graph, requests, { dtype, threads });
  const { feeds, logits } = model.entry("forward");
  const pictures = noisePictures(graph, images);
  const run = async () => {
    await model.run("forward", { feeds: { [feeds.images!]: pictures }, fetch: [logits!] });
  };
  return {
    about: "compiled, pictures copied in and logits out",
    measure: async () => images / await secondsPerRun(run, seconds),
    close: () => model.dispose(),
  };
}

const TARGETS = { f32: 1.3, bf16: 1.7 } as const;

function caseOf(network: Network, images: number, precision: Precision, options: BenchmarkOptions) {
  const { dtype, amx } = precision;
  const { depth, title, macs } = network;
  const parameters = { depth, images, dtype, amx };
  const target = { kind: "ratio", least: TARGETS[dtype] } as const;
  const made: Case = {
    name: `inference ${title} ${dtype}, batch ${images}`,
    unit: "images/s",
    better: "higher",
    operations: { count: 2 * macs, dtype: amx ? dtype : "f32" },
    details: { network: title, images, dtype },
    ours: () => Promise.resolve(openInference(network.graph, images, dtype, options)),
    peers: [{
      name: "PyTorch",
      ...(dtype === "f32" || amx ? { target } : {}),
      open: (interpreter) => openPeer(interpreter, "inference", options, parameters),
    }],
  };
  return made;
}

export const inference: Benchmark = {
  name: "inference",
  about: "images a second through ResNet-56",
  cases: (options) => {
    const network = networkOf(options);
    const batches = options.quick ? [4] : [128, 256];
    return precisions().flatMap((precision) =>
      batches.map((images) => caseOf(network, images, precision, options))
    );
  },
};
