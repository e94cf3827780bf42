// What outputs lose for what readers lose, where it can be told without measuring it.

import { describe, expect, it } from "vitest";
import { normalisations } from "../../src/data/dataset.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import type { Progress } from "../../src/progress.ts";
import { Games } from "../../src/reproduction/games.ts";
import { measureSensitivity } from "../../src/reproduction/sensitivity.ts";
import { evaluateGraph } from "../oracle/graph.ts";
import { planesOf } from "../support/pictures/planes.ts";
import { smallPictures } from "../support/pictures/small.ts";

const normalisation = normalisations.cifar;
const pictures = smallPictures(1024);

async function sensitivitiesOf(graph: Graph, onProgress?: (progress: Progress) => void) {
  const groups = prunableGroups(graph, "all");
  const games = await Games.measure(graph, groups, pictures, { normalisation });
  const orders = groups.map(({ players }) => players.map((_, player) => player));
  const curves = await games.curves(orders);
  const most = groups.map(({ players }) => players.length - 1);
  const question = { orders, curves, most };
  const options = { normalisation, ...(onProgress ? { onProgress } : {}) };
  return {
    groups,
    sensitivities: await measureSensitivity(graph, groups, games, question, pictures, options),
  };
}

/** Two branches, each read by a linear layer of its own; the second counts `share` in the output. */
function branches(share: number): Graph {
  const builder = new GraphBuilder("branches", [3, 8, 8], 4);
  const branch = (name: string) => {
    const options = { out: 8, kernel: 2, stride: 2, bias: true };
    const made = builder.relu(`${name}.relu`, builder.convolution(name, builder.input, options));
    return builder.linear(`${name}.fc`, builder.flatten(`${name}.flatten`, made), 5);
  };
  const graph = builder.finish(builder.add("add", branch("one"), branch("two")));
  const scaled = ["two.fc.weight", "two.fc.bias"].map((name) => {
    const { shape, data } = graph.parameters.get(name)!;
    return [name, { shape, data: data.map((value) => value * share) }] as const;
  });
  return { ...graph, parameters: new Map([...graph.parameters, ...scaled]) };
}

/** Sum of the variances of a value's channels. */
function varianceOf(graph: Graph, value: string): number {
  const rows = Array.from(
    { length: 256 },
    (_, image) => evaluateGraph(graph, planesOf(pictures, image, normalisation)).get(value)!,
  );
  return rows[0].reduce((sum, _, c) => {
    const values = rows.map((row) => row[c]);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return sum + values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
  }, 0);
}

describe("the sensitivity of the outputs to a group", () => {
  it("is the share that its reader has in them, where that adds up to them", async () => {
    const graph = branches(0.25);
    const reports: Progress[] = [];
    const { groups, sensitivities } = await sensitivitiesOf(graph, (one) => reports.push(one));
    expect(groups.map(({ name }) => name)).toEqual(["one", "two"]);
    const whole = varianceOf(graph, graph.outputs[0]);
    for (const [index, name] of ["one", "two"].entries()) {
      // Errors of readers are in shares of the larger of their own variance and their sum's.
      const share = Math.max(varianceOf(graph, `${name}.fc`), whole) / whole;
      expect(sensitivities[index] / share, name).toBeGreaterThan(0.9);
      expect(sensitivities[index] / share, name).toBeLessThan(1.1);
    }
    expect(reports.map(({ done }) => done)).toEqual([1, 2]);
  });

  it("is nothing where nothing is lost", async () => {
    const { sensitivities } = await sensitivitiesOf(branches(0));
    expect(sensitivities[0]).toBeGreaterThan(0);
    expect(sensitivities[1]).toBe(0);
  });
});
