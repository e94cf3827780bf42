// What outputs lose for what readers lose, where it can be told without measuring it.

import { describe, expect, it } from "vitest";
import { calibrationBatches } from "../../src/data/batches/calibration.ts";
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

/** Sum of the variances of a value's channels, and its variance about the mean of all. */
function variancesOf(graph: Graph, value: string): { own: number; whole: number } {
  const [{ labels: { length: count } }] = calibrationBatches(pictures, 256, normalisation);
  const rows = Array.from(
    { length: count },
    (_, image) => evaluateGraph(graph, planesOf(pictures, image, normalisation)).get(value)!,
  );
  const varianceOf = (values: readonly number[]) => {
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    return values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  };
  const channels = rows[0].length;
  const own = Array.from({ length: channels }, (_, c) => varianceOf(rows.map((row) => row[c])));
  return {
    own: own.reduce((sum, x) => sum + x, 0),
    whole: varianceOf(rows.flatMap((row) => [...row])) * channels,
  };
}

describe("the sensitivity of the outputs to a group", () => {
  it("is the share that its reader has in them, where that adds up to them", async () => {
    const graph = branches(0.25);
    const reports: Progress[] = [];
    const { groups, sensitivities } = await sensitivitiesOf(graph, (one) => reports.push(one));
    expect(groups.map(({ name }) => name)).toEqual(["one", "two"]);
    const { whole } = variancesOf(graph, graph.outputs[0]);
    for (const [index, name] of ["one", "two"].entries()) {
      // Errors are in shares of the larger of the reader's own variance and its sum's.
      const own = Math.max(
        variancesOf(graph, `${name}.fc`).own,
        variancesOf(graph, graph.outputs[0]).own,
      );
      expect(sensitivities[index] / (own / whole), name).toBeGreaterThan(0.9);
      expect(sensitivities[index] / (own / whole), name).toBeLessThan(1.1);
    }
    expect(reports.map(({ done }) => done)).toEqual([1, 2]);
  });

  it("is nothing where nothing is lost", async () => {
    const { sensitivities } = await sensitivitiesOf(branches(0));
    expect(sensitivities[0]).toBeGreaterThan(0);
    expect(sensitivities[1]).toBe(0);
  });
});
