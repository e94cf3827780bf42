import { join } from "node:path";
import { peerScript } from "../peer_process.ts";
import type { Benchmark, BenchmarkOptions, Case } from "../contestant.ts";
import { childCommand, firstLineOf } from "./child.ts";
import { pictureFolder } from "./data.ts";
import { networkOf } from "./network.ts";

async function caseOf(options: BenchmarkOptions): Promise<Case> {
  const { quick, threads, folder } = options;
  const count = quick ? 20 : 10_000;
  const images = quick ? 4 : 128;
  const path = await pictureFolder(folder, count);
  const { title, peer } = networkOf(options);
  const given = [path, peer.network, String(images), String(threads)];
  // The pictures' cache is this benchmark's own; the run before the first round fills it.
  const environment = { XDG_CACHE_HOME: join(folder, "cache") };
  const contestant = (about: string, command: readonly string[]) =>
    Promise.resolve({
      about,
      measure: async () => (await firstLineOf(command, environment)).seconds,
      close: () => {},
    });
  return {
    name: `process start to first step of ${title}, batch ${images}`,
    unit: "s",
    better: "lower",
    target: { kind: "figure", most: 1 },
    details: { images, pictures: count, cached: "decoded pictures" },
    ours: () => contestant("train()", childCommand("first_step.ts", ...given)),
    peers: [{
      name: "PyTorch, pictures as one tensor file",
      open: ({ path: python }) =>
        contestant("eager, channels-last", [python, peerScript("first_step.py"), ...given]),
    }],
  };
}

export const start: Benchmark = {
  name: "start",
  about: "seconds from process start to the end of the first training step, pictures cached",
  cases: async (options) => [await caseOf(options)],
};
