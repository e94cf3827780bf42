import { peerScript } from "../peer_process.ts";
import type { Benchmark, BenchmarkOptions, Case } from "../contestant.ts";
import { bytesOf, childCommand } from "./child.ts";
import { networkOf, type Precision, precisions } from "./network.ts";

const MIB = 2 ** 20;

/** Peak resident size of three training steps, less what was resident with data and weights. */
function caseOf({ dtype, fast }: Precision, options: BenchmarkOptions): Case {
  const images = options.quick ? 4 : 128;
  const { title, peer } = networkOf(options);
  const given = [peer.network, String(images), String(options.threads)];
  const contestant = (about: string, command: readonly string[]) =>
    Promise.resolve({ about, measure: async () => await bytesOf(command) / MIB, close: () => {} });
  const peerDtype = fast && dtype === "bf16" ? "bf16" : "f32";
  return {
    name: `memory of a training step of ${title} ${dtype}, batch ${images}`,
    unit: "MiB",
    better: "lower",
    // Allocations repeat from process to process.
    mostRounds: 3,
    details: { images, dtype, peerDtype },
    ours: () =>
      contestant("session, program and batch", childCommand("step_memory.ts", ...given, dtype)),
    peers: [{
      name: "PyTorch",
      target: { kind: "share", most: 0.6 },
      open: ({ path }) =>
        contestant("eager, channels-last", [
          path,
          peerScript("step_memory.py"),
          ...given,
          peerDtype,
        ]),
    }],
  };
}

export const memory: Benchmark = {
  name: "memory",
  about: "peak memory of a training step",
  cases: (options) => precisions().map((precision) => caseOf(precision, options)),
};
