// Criteria against their papers' definitions, computed in float64 by PyTorch, and against
// Torch-Pruning's own scores: tests/fixtures/criteria/make.py.

import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import type { CriterionContext } from "../../src/criteria/ranking.ts";
import { type Criterion, rank } from "../../src/criteria/criteria.ts";
import { allocatePixels, type Dataset, normalisations } from "../../src/data/dataset.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { createModel } from "../../src/models/models.ts";
import { withReferenceWeights } from "../support/model_reference.ts";

const scores = z.record(z.string(), z.record(z.string(), z.array(z.number())));
const fixture = z.object({
  depth: z.number(),
  classes: z.number(),
  images: z.number(),
  side: z.number(),
  /** Base64 of bytes [images, height, width, 3]. */
  pixels: z.string(),
  /** Group, criterion, channel. */
  criteria: scores,
  torchPruning: scores,
});

const FILE = new URL("../fixtures/criteria/expected.json", import.meta.url);
const expected = fixture.parse(JSON.parse(await readFile(FILE, "utf8")));

/** Largest |difference| from float64, as a share of the largest score. */
const TOLERANCES: Partial<Record<Criterion, number>> = {
  l1: 1e-6,
  l2: 1e-6,
  fpgm: 1e-6,
  "bn-scale": 1e-7,
  taylor: 1e-3,
  hrank: 1e-9,
  chip: 1e-5,
};

function pictures(): Dataset {
  const { images, side, classes } = expected;
  const pixels = allocatePixels(images, side, side, "fixture");
  pixels.set(Uint8Array.from(atob(expected.pixels), (byte) => byte.charCodeAt(0)));
  return {
    name: "fixture",
    height: side,
    width: side,
    channels: 3,
    count: images,
    labels: Int32Array.from({ length: images }, (_, image) => image % classes),
    classes: Array.from({ length: classes }, (_, label) => `${label}`),
    pixels,
  };
}

function context(): CriterionContext {
  const { depth, classes, side } = expected;
  const graph = withReferenceWeights(
    createModel(`resnet${depth}`, { classes, shape: [3, side, side] }),
  );
  const groups = prunableGroups(graph, "inner");
  return {
    graph,
    groups,
    most: groups.map(({ players }) => players.length - 1),
    seed: 1,
    normalisation: normalisations.imagenet,
    compute: { threads: 1 },
    pictures: () => Promise.resolve(pictures()),
    games: () => Promise.reject(new Error("no criterion of this file plays games")),
  };
}

const scored = async (name: Criterion) => {
  const asked = context();
  const rankings = await rank(name, asked, () => Promise.reject(new Error("not asked for")));
  return asked.groups.map((group, index) => ({ group: group.name, ...rankings[index] }));
};

function expectClose(found: readonly number[], wanted: readonly number[], tolerance: number) {
  expect(found).toHaveLength(wanted.length);
  const scale = Math.max(...wanted.map(Math.abs));
  const apart = found.map((score, channel) => Math.abs(score - wanted[channel]) / scale);
  expect(Math.max(...apart)).toBeLessThan(tolerance);
}

describe("criteria", () => {
  for (const [name, tolerance] of Object.entries(TOLERANCES) as [Criterion, number][]) {
    it(`${name} is what its paper defines`, async () => {
      const rankings = await scored(name);
      expect(rankings.map(({ group }) => group)).toEqual(Object.keys(expected.criteria));
      for (const { group, scores, order } of rankings) {
        const wanted = expected.criteria[group][name];
        expectClose(scores, wanted, tolerance);
        // The order is that of the scores, the lowest first.
        expect(order.map((player) => scores[player])).toEqual([...scores].sort((a, b) => a - b));
      }
    });
  }

  it.each(["l1", "l2", "bn-scale"] as const)("%s is what Torch-Pruning computes", async (name) => {
    for (const { group, scores } of await scored(name)) {
      expectClose(scores, expected.torchPruning[group][name], 1e-6);
    }
  });
});
