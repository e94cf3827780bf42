/**
 * Do bf16 sweeps rank channels as f32 ones do? The same permutations on the same training pictures
 * in both, for every channel group: Spearman's rank correlation of the Shapley values, over all
 * channels of the network and within each group.
 *
 *   deno run -A bench/experiments/precision.ts --weights FILE --model resnet56 \
 *     --data imagefolder:TAR --out bench/results/precision.json [--pairs 4] [--calibration 256]
 *     [--groups layer3] [--store FOLDER]
 */

import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import jStat from "jstat";
import { prunableGroups } from "../../src/graph/channels.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { StageStore } from "../../src/pruning/store.ts";
import { estimateShapley } from "../../src/shapley/estimate.ts";
import { gameRequest, NetworkGame } from "../../src/shapley/game.ts";
import { openSetting, SETTING_OPTIONS, sweepBatches, writeExperiment } from "./setting.ts";

const { values: args } = parseArgs({
  options: {
    ...SETTING_OPTIONS,
    pairs: { type: "string", default: "4" },
    calibration: { type: "string", default: "256" },
    seed: { type: "string", default: "1" },
    groups: { type: "string", default: "" },
    store: { type: "string" },
  },
});
const setting = await openSetting(args);
const { graph } = setting;
const groups = prunableGroups(graph, "all").filter(({ name }) => name.startsWith(args.groups));
const seed = Number(args.seed);
const pairs = Number(args.pairs);
const batches = sweepBatches(setting, Number(args.calibration), seed);
const images = batches.reduce((sum, { labels }) => sum + labels.length, 0);
const store = await StageStore.open(
  args.store ?? await mkdtemp(join(tmpdir(), "precision-")),
  JSON.stringify([args.weights, args.data, pairs, seed, images]),
  true,
);

interface Sweep {
  readonly values: readonly number[];
  readonly seconds: number;
}

const sweeps = new Map<"f32" | "bf16", Sweep[]>([["bf16", []], ["f32", []]]);
for (const group of groups) {
  const request = gameRequest(graph, group, batches[0].labels.length);
  for (const [dtype, done] of sweeps) {
    done.push(
      await store.once(`${dtype} ${group.name}`, async () => {
        using model = LoadedModel.open(graph, [request], { dtype });
        const started = performance.now();
        const game = new NetworkGame(model, group, batches);
        const { players } = await estimateShapley(game, { seed, pairs });
        return {
          values: players.map(({ value }) => value),
          seconds: (performance.now() - started) / 1000,
        };
      }),
    );
  }
  const [bf16, f32] = [...sweeps.values()].map((done) => done.at(-1)!);
  console.log(group.name, jStat.spearmancoeff([...f32.values], [...bf16.values]).toFixed(4));
}

const valuesOf = (dtype: "f32" | "bf16") => sweeps.get(dtype)!.map(({ values }) => [...values]);
const secondsOf = (dtype: "f32" | "bf16") =>
  sweeps.get(dtype)!.reduce((sum, { seconds }) => sum + seconds, 0);
const [f32, bf16] = [valuesOf("f32"), valuesOf("bf16")];
const result = {
  what: "Spearman's rank correlation of Shapley values swept in f32 and in bf16",
  ...setting.about,
  pairs,
  calibration: images,
  seed,
  channels: f32.flat().length,
  allChannels: jStat.spearmancoeff(f32.flat(), bf16.flat()),
  groups: groups.map(({ name }, i) => ({
    name,
    channels: f32[i].length,
    spearman: jStat.spearmancoeff(f32[i], bf16[i]),
  })),
  seconds: { f32: secondsOf("f32"), bf16: secondsOf("bf16") },
};
await writeExperiment(setting.out, result);
console.log(result.allChannels);
