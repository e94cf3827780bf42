/** Models that do no better than guessing, and what is found out about them. */

import { describe, expect, it } from "vitest";
import { allocatePixels, type Dataset, type Normalisation } from "../../src/data/dataset.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { chanceSentence, judge, Plausibility } from "../../src/pruning/plausibility.ts";
import { RandomStream } from "../../src/random.ts";

const SIDE = 8;

/** Pictures whose class is their brightest colour, red, green or blue. */
function colourPictures(count: number): Dataset {
  const random = new RandomStream(1, "colours");
  const pixels = allocatePixels(count, SIDE, SIDE, "colours");
  const labels = Int32Array.from({ length: count }, (_, i) => i % 3);
  for (let i = 0; i < pixels.length; i++) {
    const bright = i % 3 === labels[Math.floor(i / (SIDE * SIDE * 3))];
    pixels[i] = (bright ? 90 : 60) + random.integer(40);
  }
  const shape = { height: SIDE, width: SIDE, channels: 3 } as const;
  return { name: "colours", ...shape, count, pixels, labels, classes: ["red", "green", "blue"] };
}

/** Answers with `order`'s class for the brightest colour. */
function colourNetwork(order: readonly number[] = [0, 1, 2]): Graph {
  const builder = new GraphBuilder("colours", [3, SIDE, SIDE], 0);
  const pooled = builder.flatten("flatten", builder.globalAveragePool("pool", builder.input));
  const graph = builder.finish(builder.linear("linear", pooled, 3));
  const weight = new Float32Array(9);
  order.forEach((colour, label) => weight[label * 3 + colour] = 1);
  const parameters = new Map(graph.parameters);
  parameters.set("linear.weight", { shape: [3, 3], data: weight });
  return { ...graph, parameters };
}

const none: Normalisation = { mean: [0, 0, 0], std: [1, 1, 1] };
const pictures = colourPictures(120);

async function diagnosed(graph: Graph, given: Normalisation) {
  using check = await Plausibility.open(graph, pictures, 0, { dtype: "f32" });
  const found = await check.try(given);
  return { found, diagnosis: await check.diagnose(given) };
}

describe("near chance", () => {
  const labels = (count: number, classes: number) =>
    Int32Array.from({ length: count }, (_, i) => i % classes);

  it("is what guessing reaches with a probability above 1%", () => {
    // P(X >= 36 | 256, 0.1) = 0.022, P(X >= 38 | 256, 0.1) = 0.0088 (scipy.stats.binom.sf).
    expect(judge(36, labels(256, 10), 10).nearChance).toBe(true);
    expect(judge(52, labels(256, 10), 10).nearChance).toBe(false);
    expect(judge(90, labels(256, 4), 4).nearChance).toBe(false);
    expect(judge(70, labels(256, 4), 4).nearChance).toBe(true);
  });

  it("is less than twice one class's share of many classes", () => {
    expect(judge(45, labels(256, 10), 10).nearChance).toBe(true);
  });

  it("counts always answering the commonest class as guessing", () => {
    const uneven = Int32Array.from({ length: 100 }, (_, i) => i < 80 ? 0 : i % 4);
    expect(judge(85, uneven, 4)).toMatchObject({ chance: 0.85, nearChance: true });
    expect(judge(95, uneven, 4).nearChance).toBe(false);
  });

  it("is not said of too few pictures, or of one class", () => {
    expect(judge(0, labels(4, 2), 2).nearChance).toBe(false);
    expect(judge(9, new Int32Array(9), 1).nearChance).toBe(false);
  });
});

describe("what helps", () => {
  it("is not asked where the model knows its pictures", async () => {
    const { found } = await diagnosed(colourNetwork(), none);
    expect(found).toMatchObject({ correct: 120, total: 120, nearChance: false });
  });

  it("is the other order of colours", async () => {
    // Red and blue are told apart by the other's name: only green is right.
    const { found, diagnosis } = await diagnosed(colourNetwork([2, 1, 0]), none);
    expect(found).toMatchObject({ correct: 40, nearChance: true });
    expect(diagnosis.better[0]).toMatchObject({ options: "--channels bgr", correct: 120 });
    expect(chanceSentence("colours", found, diagnosis)).toMatch(
      /^colours gets 40 of 120 .*\(33\.3%\), where guessing gets 33\.3%; prepared by --channels bgr it gets 100\.0%.*--force[^.]*\.$/,
    );
  });

  it("is another mean", async () => {
    const far: Normalisation = { mean: [1, 0, 0], std: [1, 1, 1] };
    const { found, diagnosis } = await diagnosed(colourNetwork(), {
      ...far,
      std: [1, 0.01, 100],
    });
    expect(found.nearChance).toBe(true);
    expect(diagnosis.better[0].correct).toBe(120);
    expect(diagnosis.better.map(({ options }) => options)).toContain("--mean 0,0,0 --std 1,1,1");
  });

  it("is other numbers of the classes", async () => {
    const { found, diagnosis } = await diagnosed(colourNetwork([1, 2, 0]), none);
    expect(found.correct).toBe(0);
    expect(diagnosis.renumbered).toBe(1);
    expect(chanceSentence("colours", found, diagnosis)).toMatch(/100\.0% once.*--labels/);
  });

  it("is the weights where answers are not finite", async () => {
    const builder = new GraphBuilder("colours", [3, SIDE, SIDE], 0);
    const pooled = builder.flatten("flatten", builder.globalAveragePool("pool", builder.input));
    const graph = builder.finish(builder.linear("second", builder.linear("first", pooled, 3), 3));
    const filled = (of: (i: number) => number) => ({
      shape: [3, 3],
      data: Float32Array.from({ length: 9 }, (_, i) => of(i)),
    });
    // Infinities, then their differences.
    const parameters = new Map(graph.parameters)
      .set("first.weight", filled(() => 3e38))
      .set("second.weight", filled((i) => i % 2 === 0 ? 1 : -1));
    const large: Normalisation = { mean: [0, 0, 0], std: [0.001, 0.001, 0.001] };
    const { found, diagnosis } = await diagnosed({ ...graph, parameters }, large);
    expect(found.unanswered).toBeGreaterThan(0);
    expect(chanceSentence("colours", found, diagnosis))
      .toMatch(
        /^colours has no finite answer to \d+ of 120 training pictures: check its weights, /,
      );
  });

  it("is nothing for a model that knows nothing", async () => {
    const graph = colourNetwork();
    const parameters = new Map(graph.parameters);
    parameters.set("linear.weight", { shape: [3, 3], data: new Float32Array(9) });
    const { found, diagnosis } = await diagnosed({ ...graph, parameters }, none);
    expect(diagnosis.better).toEqual([]);
    expect(diagnosis.renumbered).toBeUndefined();
    expect(chanceSentence("colours", found, diagnosis)).toMatch(/none of 11 other.*--force/);
  });
});
