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
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import jStat from "jstat";
import { calibrationBatches, calibrationSet } from "../../src/data/calibration.ts";
import { loaded, normalisations } from "../../src/data/dataset.ts";
import { openDataset } from "../../src/data/source.ts";
import { holdOutLastPerClass } from "../../src/data/split.ts";
import { writeFileAtomic } from "../../src/formats/atomic.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { createModel } from "../../src/models/models.ts";
import { loadAddon } from "../../src/native/binding.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { cpuFeatures } from "../../src/native/session.ts";
import { StageStore } from "../../src/pruning/store.ts";
import { estimateShapley } from "../../src/shapley/estimate.ts";
import { gameRequest, NetworkGame } from "../../src/shapley/game.ts";

const { values: args } = parseArgs({
  options: {
    weights: { type: "string" },
    model: { type: "string", default: "resnet56" },
    data: { type: "string" },
    out: { type: "string" },
    "hold-out": { type: "string", default: "500" },
    pairs: { type: "string", default: "4" },
    calibration: { type: "string", default: "256" },
    seed: { type: "string", default: "1" },
    groups: { type: "string", default: "" },
    store: { type: "string" },
  },
});
if (!args.weights || !args.data || !args.out) {
  throw new Error("expects --weights, --data and --out");
}

const full = await loaded(await openDataset(args.data, "train"));
const { training } = holdOutLastPerClass(full, Number(args["hold-out"]));
const graph = bindWeights(
  createModel(args.model, { classes: full.classes.length, shape: [3, full.height, full.width] }),
  await readWeights(args.weights),
  args.weights,
);
const groups = prunableGroups(graph, "all").filter(({ name }) => name.startsWith(args.groups));
const seed = Number(args.seed);
const pairs = Number(args.pairs);
const pictures = calibrationSet(training, Number(args.calibration), seed, "shapley");
const batches = calibrationBatches(
  pictures,
  Math.min(128, pictures.count),
  normalisations.imagenet,
);
const store = await StageStore.open(
  args.store ?? await mkdtemp(join(tmpdir(), "precision-")),
  JSON.stringify([args.weights, args.data, pairs, seed, pictures.count]),
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
  model: args.model,
  weights: args.weights.split("/").at(-1),
  data: full.name,
  pairs,
  calibration: pictures.count,
  seed,
  channels: f32.flat().length,
  allChannels: jStat.spearmancoeff(f32.flat(), bf16.flat()),
  groups: groups.map(({ name }, i) => ({
    name,
    channels: f32[i].length,
    spearman: jStat.spearmancoeff(f32[i], bf16[i]),
  })),
  seconds: { f32: secondsOf("f32"), bf16: secondsOf("bf16") },
  threads: availableParallelism(),
  machine: { cpu: cpus()[0].model, ...cpuFeatures() },
  addon: loadAddon().sourceHash,
  command: process.argv.slice(2),
};
await writeFileAtomic(args.out, JSON.stringify(result, null, 2) + "\n");
console.log(result.allChannels);
