import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { CalibrationBatch } from "../../src/data/batches/calibration.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import { readOnnx } from "../../src/formats/onnx/read/read.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { cifarResNet } from "../../src/models/resnet.ts";
import { RandomStream } from "../../src/random.ts";
import { checkCut } from "../../src/surgery/check.ts";
import { dataFolder } from "../support/data.ts";
import { randomImages, toNhwc } from "../support/interpreted.ts";
import { randomGraph } from "../support/graphs/random.ts";
import { tappedGraph } from "../support/graphs/tapped.ts";
import { type RandomRemoval, randomRemovals } from "../support/graphs/removals.ts";
import { overflowing, smallNetwork } from "../support/pictures/small.ts";

function batchFor(graph: Graph, images: number, seed: number): CalibrationBatch {
  const pictures = randomImages(graph, images, new RandomStream(seed, "check pictures"));
  return {
    images: Float32Array.from(toNhwc(pictures, graph.input.shape)),
    labels: new Int32Array(images),
  };
}

/** The network with one number of one parameter changed by a share of itself. */
function tamper(graph: Graph, parameter: string, position: number, share: number): Graph {
  const tensor = graph.parameters.get(parameter)!;
  const data = tensor.data.map((x, i) => i === position ? x * (1 + share) : x);
  return { ...graph, parameters: new Map(graph.parameters).set(parameter, { ...tensor, data }) };
}

/** A cut with one player of every group gone. */
function oneOfEach(graph: Graph): RandomRemoval[] {
  return prunableGroups(graph, "all").map((group) => ({ group, removed: [1] }));
}

describe("masked equals cut, in the engine", () => {
  for (const engine of ["portable", "automatic"] as const) {
    it(`holds on random graphs within the tolerance, engine ${engine}`, async () => {
      for (let seed = 0; seed < 12; seed++) {
        const graph = randomGraph(seed);
        const random = new RandomStream(seed, "check test");
        const removals = randomRemovals(prunableGroups(graph, "all"), random);
        const cut = cutGraph(graph, removals);
        const check = await checkCut(graph, cut, removals, batchFor(graph, 5, seed), { engine });
        expect(check).toMatchObject({ tolerance: 1e-5, images: 5 });
        expect(check.scale).toBeGreaterThan(0);
        expect(check.error).toBeLessThanOrEqual(1e-5 * check.scale);
        expect(check.change).toBeGreaterThan(1e-3 * check.scale);
      }
    });
  }

  it("holds over all outputs of graphs that have several", async () => {
    for (let seed = 0; seed < 12; seed++) {
      const graph = tappedGraph(seed);
      const random = new RandomStream(seed, "check outputs");
      const removals = randomRemovals(prunableGroups(graph, "all"), random);
      const cut = cutGraph(graph, removals);
      const check = await checkCut(graph, cut, removals, batchFor(graph, 3, seed));
      expect(check.error, `seed ${seed}`).toBeLessThanOrEqual(check.tolerance * check.scale);
    }
  });

  it("fails when one output alone is not what it was", async () => {
    const builder = new GraphBuilder("two", [3, 8, 8], 3);
    const stem = builder.convolution("stem", builder.input, { out: 6, kernel: 3, padding: 1 });
    const inner = builder.relu("inner", stem);
    const heads = ["a", "b"].map((name) => builder.convolution(name, inner, { out: 4, kernel: 1 }));
    const graph = builder.finish(...heads);
    const removals = oneOfEach(graph);
    expect(removals.map(({ group }) => group.name)).toEqual(["stem"]);
    const cut = cutGraph(graph, removals);
    const batch = batchFor(graph, 4, 3);
    expect((await checkCut(graph, cut, removals, batch)).proof).toBe("pictures");
    for (const parameter of ["a.weight", "b.weight"]) {
      await expect(checkCut(graph, tamper(cut, parameter, 4, 0.01), removals, batch)).rejects
        .toMatchObject({ code: "check-failed" });
    }
  });

  it("allows more rounding to deep networks, and is in f32 whatever the model runs in", async () => {
    const graph = cifarResNet({ depth: 32, width: 4, classes: 4, shape: [3, 8, 8], seed: 1 });
    const removals = oneOfEach(graph);
    const cut = cutGraph(graph, removals);
    const batch = batchFor(graph, 4, 1);
    const check = await checkCut(graph, cut, removals, batch, { dtype: "bf16" });
    expect(check.tolerance).toBe(1e-4);
    expect(check.error).toBeLessThan(1e-4 * check.scale);
    expect(await checkCut(graph, cut, removals, batch, { dtype: "f32" })).toEqual(check);
  });

  it("fails when one kept weight is another", async () => {
    const graph = smallNetwork();
    const removals = oneOfEach(graph);
    const cut = cutGraph(graph, removals);
    const batch = batchFor(graph, 8, 2);
    await checkCut(graph, cut, removals, batch);
    for (const parameter of ["conv1.weight", "layer2.0.conv2.weight", "linear.weight"]) {
      const refused = checkCut(graph, tamper(cut, parameter, 4, 0.01), removals, batch);
      await expect(refused, parameter).rejects.toMatchObject({ code: "check-failed" });
      await expect(refused).rejects.toThrow(/^The cut resnet8 differs from the masked one by /);
    }
  });

  it("fails when other channels were cut than were meant", async () => {
    const graph = smallNetwork();
    const removals = oneOfEach(graph);
    const others = removals.map(({ group }) => ({ group, removed: [2] }));
    await expect(checkCut(graph, cutGraph(graph, others), removals, batchFor(graph, 4, 3))).rejects
      .toMatchObject({ code: "check-failed" });
  });

  it("needs no removal to be a proof", async () => {
    const graph = smallNetwork();
    expect(await checkCut(graph, graph, [], batchFor(graph, 4, 4))).toMatchObject({
      error: 0,
      change: 0,
      proof: "construction",
    });
  });
});

/** The network with zeros wherever `holds` of a position in the parameter. */
function silenced(graph: Graph, parameter: string, holds: (position: number) => boolean): Graph {
  const tensor = graph.parameters.get(parameter)!;
  const data = tensor.data.map((x, i) => holds(i) ? 0 : x);
  return { ...graph, parameters: new Map(graph.parameters).set(parameter, { ...tensor, data }) };
}

const FIRST = "layer1.0.conv1", NEXT = "layer1.0.conv2";

/** Networks whose first inner channel does nothing: unread, without filter, closed by its norm. */
const DEAD: readonly [string, (graph: Graph) => Graph][] = [
  ["nobody reads", (graph) => {
    const channels = graph.parameters.get(`${NEXT}.weight`)!.shape[1];
    return silenced(graph, `${NEXT}.weight`, (i) => Math.floor(i / 9) % channels === 0);
  }],
  ["has no filter and no offset", (graph) => {
    const size = graph.parameters.get(`${FIRST}.weight`)!.shape[1] * 9;
    const norm = ["weight", "bias"].map((name) => FIRST.replace("conv", "bn") + `.${name}`);
    const filterless = silenced(graph, `${FIRST}.weight`, (i) => i < size);
    return norm.reduce((sofar, name) => silenced(sofar, name, (i) => i === 0), filterless);
  }],
  ["is rectified away", (graph) => {
    const name = `${FIRST.replace("conv", "bn")}.bias`;
    const tensor = graph.parameters.get(name)!;
    const data = tensor.data.map((x, i) => i === 0 ? -1e3 : x);
    return { ...graph, parameters: new Map(graph.parameters).set(name, { ...tensor, data }) };
  }],
];

describe("a cut that changes nothing", () => {
  for (const [what, kill] of DEAD) {
    it(`is proven with other weights in a channel that ${what}`, async () => {
      const graph = kill(smallNetwork());
      const [group] = prunableGroups(graph, "inner");
      const removals = [{ group, removed: [0] }];
      const cut = cutGraph(graph, removals);
      const batch = batchFor(graph, 4, 4);
      const check = await checkCut(graph, cut, removals, batch);
      expect(check).toMatchObject({ change: 0, proof: "revived" });
      const { error, scale, change } = check.probe!;
      expect(error).toBeLessThanOrEqual(1e-5 * scale);
      expect(change).toBeGreaterThan(1e-3 * scale);
      const other = cutGraph(graph, [{ group, removed: [1] }]);
      await expect(checkCut(graph, other, removals, batch)).rejects
        .toMatchObject({ code: "check-failed" });
    });
  }

  it("is proven with random weights throughout where everything behind it is dead too", async () => {
    const living = smallNetwork();
    const graph = silenced(living, "layer2.0.bn1.weight", () => true);
    const deaf = silenced(
      silenced(graph, "linear.weight", () => true),
      "layer2.0.bn1.bias",
      () => true,
    );
    const [group] = prunableGroups(deaf, "inner");
    const removals = [{ group, removed: [0, 2] }];
    const check = await checkCut(deaf, cutGraph(deaf, removals), removals, batchFor(deaf, 4, 4));
    expect(check).toMatchObject({ change: 0, proof: "random" });
    expect(check.probe!.change).toBeGreaterThan(1e-3 * check.probe!.scale);
  });

  it("blames weights, not surgery, for logits that are not finite", async () => {
    const broken = overflowing(smallNetwork());
    const removals = oneOfEach(broken);
    await expect(checkCut(broken, cutGraph(broken, removals), removals, batchFor(broken, 4, 4)))
      .rejects.toMatchObject({ code: "numeric-failure" });
  });
});

const dead = join(dataFolder() ?? "", "faults", "dead_layer.onnx");

describe.skipIf(!existsSync(dead))(
  "an ONNX file with a dead layer (faults/dead_layer.onnx)",
  () => {
    it("is cut, and the proof is made on a network that moves", async () => {
      const { graph } = await readOnnx(dead);
      const removals = prunableGroups(graph, "inner")
        .map((group) => ({ group, removed: [0] }));
      expect(removals.length).toBeGreaterThan(0);
      for (const removal of removals) {
        const cut = cutGraph(graph, [removal]);
        const check = await checkCut(graph, cut, [removal], batchFor(graph, 4, 1));
        expect(check.error).toBeLessThanOrEqual(check.tolerance * check.scale);
        if (check.proof !== "pictures") expect(check.proof).toBe("revived");
      }
    });
  },
);
