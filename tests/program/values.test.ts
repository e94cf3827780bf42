import { describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import { RandomStream } from "../../src/random.ts";
import { evaluateGraph } from "../oracle/graph.ts";
import { Interpreted, randomImages, toNhwc } from "../support/interpreted.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { diverseGraph } from "../support/graphs/diverse.ts";
import { randomGraph } from "../support/graphs/random.ts";
import { tappedGraph } from "../support/graphs/tapped.ts";

function largestDifference(a: Float64Array, b: Float64Array): number {
  expect(a.length).toBe(b.length);
  const scale = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0) / (scale || 1);
}

describe("compiled programs, against the graph oracle in f64", () => {
  it("compute the graph's logits, fused and folded or not", () => {
    for (let seed = 0; seed < 40; seed++) {
      const graph = seed < 20 ? randomGraph(seed) : diverseGraph(seed);
      const random = new RandomStream(seed, "values");
      const images = randomImages(graph, 2, random);
      // Fetching every value leaves nothing to fuse.
      const everything = graph.nodes.map(({ output }) => output)
        .filter((value) => value !== "flatten");
      const run = new Interpreted(graph, [
        { kind: "forward", name: "fused", images: 2 },
        { kind: "forward", name: "plain", images: 2, fetch: everything },
      ]);
      const expected = images.map((image) => evaluateGraph(graph, image));
      for (const entry of ["fused", "plain"]) {
        run.feed(entry, images);
        run.run(entry);
        const logits = toNhwc(expected.map((values) => values.get(graph.outputs[0])!), [4]);
        expect(largestDifference(run.value(run.entry(entry).logits), logits)).toBeLessThan(1e-10);
      }
      expect(run.value(run.entry("plain").values.get(graph.nodes[0].output))).toBeDefined();
    }
  });

  it("compute every output of graphs that have several", () => {
    for (let seed = 0; seed < 24; seed++) {
      const graph = tappedGraph(seed);
      const images = randomImages(graph, 2, new RandomStream(seed, "outputs"));
      const shapes = shapesOf(graph);
      const run = new Interpreted(graph, [{ kind: "forward", name: "outputs", images: 2 }]);
      const expected = images.map((image) => evaluateGraph(graph, image));
      run.feed("outputs", images);
      run.run("outputs");
      const { outputs } = run.entry("outputs");
      expect([...outputs.keys()]).toEqual(graph.outputs);
      for (const [output, name] of outputs) {
        const values = toNhwc(expected.map((one) => one.get(output)!), shapes.get(output)!);
        expect(largestDifference(run.value(name), values), `${seed} ${output}`).toBeLessThan(1e-10);
      }
    }
  });

  it("give masked losses, coalition by coalition, from a prefix run once", () => {
    let games = 0;
    for (let seed = 0; seed < 24; seed++) {
      const graph = seed < 12 ? randomGraph(seed) : diverseGraph(seed);
      const random = new RandomStream(seed, "coalitions");
      const images = randomImages(graph, 2, random);
      const labels = [1, 3];
      const groups = prunableGroups(graph, "all");
      const group = groups[random.integer(groups.length)];
      const coalitions = 3;
      const run = new Interpreted(graph, [{
        kind: "coalitions",
        name: "game",
        images: 2,
        coalitions: [coalitions],
        gates: group.sites.map((value) => ({ value })),
        loss: { smoothing: 0 },
      }], { slice: 2 });
      const suffix = `game/suffix/${coalitions}`;
      const { feeds, logits } = run.entry(suffix);
      run.feed("game/prefix", images);
      run.feed(suffix, [], Array.from({ length: coalitions }, () => labels).flat());
      const masks = Array.from({ length: coalitions }, () => new Map<string, Set<number>>());
      for (const { sites } of group.players) {
        for (const mask of masks) {
          if (random.uniform() < 0.5) continue;
          for (const { value, channel } of sites) {
            mask.set(value, (mask.get(value) ?? new Set()).add(channel));
          }
        }
      }
      for (const [value, feed] of feeds.gates) {
        const { shape } = run.compiled.program.values.find(({ name }) => name === feed)!;
        const rows = masks.flatMap((mask) =>
          Array.from({ length: shape[1] }, (_, c) => mask.get(value)?.has(c) ? 0 : 1)
        );
        run.write(feed, rows);
      }
      run.run("game/prefix");
      run.run(suffix);
      const expected = masks.flatMap((mask) =>
        images.map((image) => evaluateGraph(graph, image, mask).get(graph.outputs[0])!)
      );
      expect(largestDifference(run.value(logits), toNhwc(expected, [4]))).toBeLessThan(1e-10);
      const loss = run.value(run.entry(suffix).loss);
      expected.forEach((row, i) => {
        const normaliser = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
        expect(loss[i]).toBeCloseTo(normaliser - row[labels[i % 2]], 9);
      });
      if (masks.some((mask) => mask.size > 0)) games++;
    }
    expect(games).toBeGreaterThan(18);
  });

  it("mask a whole forward pass with one row", () => {
    const graph = randomGraph(4);
    const [group] = prunableGroups(graph, "all");
    const [site] = group.sites;
    const run = new Interpreted(graph, [
      { kind: "forward", name: "masked", images: 2, gates: [{ value: site }] },
    ]);
    const images = randomImages(graph, 2, new RandomStream(4, "masked"));
    const feed = run.entry("masked").feeds.gates.get(site)!;
    const channels = run.compiled.program.values.find(({ name }) => name === feed)!.shape[1];
    run.feed("masked", images);
    run.write(feed, Array.from({ length: channels }, (_, c) => c === 1 ? 0 : 1));
    run.run("masked");
    const expected = images.map((image) =>
      evaluateGraph(graph, image, new Map([[site, new Set([1])]])).get(graph.outputs[0])!
    );
    expect(largestDifference(run.value(run.entry("masked").logits), toNhwc(expected, [4])))
      .toBeLessThan(1e-10);
  });

  it("tap means and ranks of each channel's map", () => {
    const graph = randomGraph(2);
    const value = "stem.relu";
    const run = new Interpreted(graph, [
      { kind: "forward", name: "taps", images: 2, means: [value], ranks: [value] },
    ]);
    const images = randomImages(graph, 2, new RandomStream(2, "taps"));
    run.feed("taps", images);
    run.run("taps");
    const { means, ranks } = run.entry("taps");
    const maps = images.map((image) => evaluateGraph(graph, image).get(value)!);
    const expected = maps.flatMap((map) =>
      Array.from(
        { length: map.length / 64 },
        (_, c) => map.subarray(c * 64, (c + 1) * 64).reduce((sum, x) => sum + x / 64, 0),
      )
    );
    expect(largestDifference(run.value(means.get(value)), Float64Array.from(expected)))
      .toBeLessThan(1e-12);
    const found = run.value(ranks.get(value));
    expect(found.length).toBe(expected.length);
    expect(Math.max(...found)).toBeGreaterThan(1);
    expect(Math.max(...found)).toBeLessThanOrEqual(8);
  });

  it("re-estimate running statistics from batches, as a cumulative average", () => {
    const graph = randomGraph(6, 1);
    const run = new Interpreted(graph, [
      { kind: "statistics", name: "statistics", images: 2 },
      { kind: "forward", name: "forward", images: 2, fetch: ["stem.conv"] },
    ]);
    const random = new RandomStream(6, "statistics");
    const channels = graph.parameters.get("stem.bn.running_mean")!.shape[0];
    const average = new Float64Array(channels);
    for (let batch = 1; batch <= 3; batch++) {
      const images = randomImages(graph, 2, random);
      run.feed("statistics", images);
      run.write(run.entry("statistics").feeds.momentum, [1 / batch]);
      run.run("statistics");
      run.feed("forward", images);
      run.run("forward");
      const values = run.value(run.entry("forward").values.get("stem.conv"));
      const count = values.length / channels;
      values.forEach((x, i) => average[i % channels] += x / count / 3);
    }
    expect(largestDifference(run.value("stem.bn.running_mean"), average)).toBeLessThan(1e-12);
    const kept = graph.parameters.get("stem.conv.weight")!.data;
    expect(run.value("stem.conv.weight")).toEqual(Float64Array.from(kept));
  });

  it("gather normal equations that a layer's own weights solve", () => {
    for (const [seed, layer] of [[1, "stem.conv"], [1, "classifier"]] as const) {
      const graph = randomGraph(seed);
      const output = graph.nodes.find(({ name }) => name === layer)!.output;
      const run = new Interpreted(graph, [
        { kind: "equations", name: "equations", images: 2, layer },
        { kind: "forward", name: "forward", images: 2, fetch: [output] },
      ]);
      const { feeds, gram, cross } = run.entry("equations");
      const random = new RandomStream(seed, "equations");
      for (let batch = 0; batch < 2; batch++) {
        const images = randomImages(graph, 2, random);
        run.feed("forward", images);
        run.run("forward");
        run.feed("equations", images);
        run.write(feeds.target, run.value(run.entry("forward").values.get(output)));
        run.run("equations");
      }
      const weight = graph.parameters.get(`${layer}.weight`)!;
      const bias = graph.parameters.get(`${layer}.bias`)?.data;
      const out = weight.shape[0], unknowns = weight.data.length / out + 1;
      const [, rows, columns] = run.compiled.program.values.find(({ name }) => name === gram)!
        .shape;
      expect([rows, columns]).toEqual([unknowns, unknowns]);
      const solution = (row: number, o: number) =>
        row < unknowns - 1 ? weight.data[o * (unknowns - 1) + row] : bias?.[o] ?? 0;
      const product = Float64Array.from({ length: unknowns * out }, (_, i) => {
        const row = Math.floor(i / out), o = i % out;
        let sum = 0;
        for (let k = 0; k < unknowns; k++) {
          sum += run.value(gram)[row * unknowns + k] * solution(k, o);
        }
        return sum;
      });
      expect(largestDifference(product, run.value(cross))).toBeLessThan(1e-9);
    }
  });
});
