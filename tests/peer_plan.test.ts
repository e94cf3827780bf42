// Torch-Pruning's plans: read as removals from our graph, or refused; and made, where it is there.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  makePeerPlan,
  type PeerPlan,
  peerRemovals,
  readPeerPlan,
  writePeerPictures,
} from "../bench/experiments/peer_plan.ts";
import { findPeers } from "../bench/peers.ts";
import { prunableGroups, type Scope } from "../src/graph/channels.ts";
import { costOf } from "../src/graph/cost.ts";
import { cutGraph, type Removal } from "../src/graph/cut.ts";
import type { Graph } from "../src/graph/graph.ts";
import { SecateurError } from "../src/errors.ts";
import { parseSafetensors } from "../src/formats/safetensors.ts";
import { createModel } from "../src/models/models.ts";
import { RandomStream } from "../src/random.ts";
import { dataFolder } from "./support/data.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "secateur-peer-plan-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Half of every group's players, at random. */
function halves(graph: Graph, scope: Scope): Removal[] {
  return prunableGroups(graph, scope).map((group) => {
    const { length } = group.players;
    return {
      group,
      removed: [...new RandomStream(1, group.name).permutation(length)].slice(
        Math.ceil(length / 2),
      ),
    };
  });
}

/** The plan of a tool that cut these. */
function planOf(graph: Graph, removals: readonly Removal[]): PeerPlan {
  const gone = new Set(
    removals.flatMap(({ group, removed }) =>
      [...removed].flatMap((player) =>
        group.players[player].slices
          .filter(({ axis }) => axis === 0)
          .map(({ parameter, index }) => `${parameter}[${index}]`)
      )
    ),
  );
  const layers = graph.nodes.filter(({ op }) => op === "convolution" || op === "linear").map(
    (node) => {
      const name = node.name, parameter = `${name}.weight`;
      const channels = graph.parameters.get(parameter)!.shape[0];
      const all = Array.from({ length: channels }, (_, index) => index);
      return { name, channels, kept: all.filter((index) => !gone.has(`${parameter}[${index}]`)) };
    },
  );
  const count = (of: Graph) => {
    const { macs, parameters } = costOf(of);
    return { macs, parameters, flops: macs };
  };
  const after = count(cutGraph(graph, removals));
  return {
    versions: {},
    model: graph.name,
    criterion: "group-l2",
    ranking: "local",
    scope: "all",
    rounds: 1,
    seed: 1,
    cutFlops: 0.5,
    pruning: { ratio: 0.5 },
    cost: { before: count(graph), after, below: after },
    layers,
  };
}

async function errorFrom(work: () => unknown): Promise<SecateurError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof SecateurError) return error;
    throw error;
  }
  throw new Error("expected an error, but there was none");
}

const sorted = (removals: readonly Removal[]) =>
  removals.map(({ group, removed }) => [group.name, [...removed].sort((a, b) => a - b)]);

const resnet20 = () => createModel("resnet20", { classes: 10, shape: [3, 32, 32] });
const mobilenet = () => createModel("mobilenet_v2", { classes: 10, shape: [3, 64, 64] });

describe("peerRemovals", () => {
  it.each<[Scope, () => Graph]>([["inner", resnet20], ["all", mobilenet]])(
    "finds the players of the channels that went (%s)",
    (scope, make) => {
      const graph = make();
      const removals = halves(graph, scope);
      expect(sorted(peerRemovals(graph, planOf(graph, removals)))).toEqual(sorted(removals));
    },
  );

  it("refuses a plan that parts what goes together", async () => {
    const graph = mobilenet();
    const plan = planOf(graph, halves(graph, "inner"));
    const depthwise = plan.layers.find(({ name }) => name === "features.2.conv.1.0")!;
    depthwise.kept[0] = [...Array(depthwise.channels).keys()].find((channel) =>
      !depthwise.kept.includes(channel)
    )!;
    const error = await errorFrom(() => peerRemovals(graph, plan));
    expect(error.code).toBe("check-failed");
    expect(error.message).toContain("features.2.conv.1.0");
  });

  it("refuses a plan whose multiply-accumulates are others", async () => {
    const graph = resnet20();
    const plan = planOf(graph, halves(graph, "inner"));
    plan.cost.after.macs += 1;
    const error = await errorFrom(() => peerRemovals(graph, plan));
    expect(error.code).toBe("check-failed");
    expect(error.message).toContain(`${plan.cost.after.macs}`);
  });

  it("refuses a plan that cuts the classes", async () => {
    const graph = resnet20();
    const plan = planOf(graph, []);
    plan.layers.find(({ name }) => name === "linear")!.kept.pop();
    const error = await errorFrom(() => peerRemovals(graph, plan));
    expect(error.code).toBe("check-failed");
    expect(error.message).toContain("linear");
  });
});

describe("readPeerPlan", () => {
  it("says what is no plan", async () => {
    const path = join(folder, "other.json");
    await writeFile(path, "{}");
    expect((await errorFrom(() => readPeerPlan(path))).code).toBe("format-corrupt");
  });
});

describe("writePeerPictures", () => {
  it("turns [height][width][channels] into [channels][height][width]", async () => {
    const path = join(folder, "pictures.safetensors");
    const batch = {
      images: Float32Array.from({ length: 2 * 2 * 3 * 3 }, (_, i) => i),
      labels: Int32Array.of(4, 1),
    };
    await writePeerPictures(path, [batch, batch], [3, 2, 3]);
    const { tensors } = parseSafetensors(new Uint8Array(await readFile(path)), path);
    const { shape, data } = tensors.get("inputs")!;
    expect(shape).toEqual([4, 3, 2, 3]);
    expect([...data.subarray(0, 7)]).toEqual([0, 3, 6, 9, 12, 15, 1]);
    expect([...data.subarray(36 + 18, 36 + 20)]).toEqual([18, 21]);
    expect([...tensors.get("labels")!.data]).toEqual([4, 1, 4, 1]);
  });
});

describe("Torch-Pruning", () => {
  const found = findPeers();
  const data = dataFolder();
  const missing = data === undefined
    ? "weights/resnet20-12fca82f.th"
    : !("interpreter" in found)
    ? "PyTorch"
    : "torch-pruning" in found.interpreter.versions
    ? undefined
    : "torch-pruning";
  it.skipIf(missing !== undefined)(
    `chooses channels that our graph of resnet20 can lose${
      missing ? `: skipped, no ${missing}` : ""
    }`,
    async () => {
      if (!("interpreter" in found)) return;
      const path = join(folder, "plan.json");
      const weights = join(data!, "weights/resnet20-12fca82f.th");
      makePeerPlan(found.interpreter, ["--model", "resnet20", "--weights", weights, "--out", path]);
      const plan = await readPeerPlan(path);
      const removals = peerRemovals(resnet20(), plan);
      const { before, after, below } = plan.cost;
      expect(removals.map(({ group }) => group.kind)).toEqual(Array(9).fill("inner"));
      expect(after.macs).toBeLessThanOrEqual(0.545 * before.macs);
      expect(below.macs).toBeGreaterThan(0.545 * before.macs);
    },
    20 * 60_000,
  );
});
