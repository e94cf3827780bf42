import { describe, expect, it } from "vitest";
import { RandomStream } from "../../src/random.ts";
import { beta, mix, mixingOf } from "../../src/training/mix.ts";

const PICTURE = { height: 6, width: 5 };
const SIZE = 6 * 5 * 3;

/** Pictures of one number each, so that what was mixed shows. */
function batch(count: number) {
  const images = new Float32Array(count * SIZE);
  for (let i = 0; i < count; i++) images.fill(2 ** i, i * SIZE, (i + 1) * SIZE);
  return { images, labels: Int32Array.from({ length: count }, (_, i) => i + 10) };
}

const stream = (seed: number) => new RandomStream(seed, "mix test");

describe("shares", () => {
  for (const alpha of [0.2, 1, 3]) {
    it(`of Beta(${alpha}, ${alpha}) have its mean and variance`, () => {
      const random = stream(1);
      const draws = Array.from({ length: 20_000 }, () => beta(random, alpha));
      const mean = draws.reduce((sum, x) => sum + x, 0) / draws.length;
      const variance = draws.reduce((sum, x) => sum + (x - mean) ** 2, 0) / draws.length;
      // Five standard errors of the mean; the variance to 5%.
      expect(Math.abs(mean - 0.5)).toBeLessThan(5 * Math.sqrt(variance / draws.length));
      expect(variance / (1 / (4 * (2 * alpha + 1)))).toBeCloseTo(1, 1);
      for (const draw of draws) expect(draw >= 0 && draw <= 1).toBe(true);
    });
  }

  it("of the tiniest alpha are still numbers", () => {
    const random = stream(2);
    for (let i = 0; i < 200; i++) expect([0, 1]).toContain(Math.round(beta(random, 1e-3)));
  });
});

describe("mixup", () => {
  it("blends each picture with its partner by the shares it gives the labels", () => {
    for (const count of [4, 5]) {
      const { images, labels } = batch(count);
      const { otherLabels, labelShares } = mix(
        images,
        labels,
        PICTURE,
        { mixup: 1 },
        stream(count),
      );
      const share = labelShares[0];
      expect(share).toBeGreaterThan(0.01);
      expect(share).toBeLessThan(0.99);
      expect([...labelShares]).toEqual(Array(count).fill(share));
      expect([...otherLabels]).toEqual([...labels].reverse());
      for (let i = 0; i < count; i++) {
        const expected = share * 2 ** i + (1 - share) * 2 ** (count - 1 - i);
        for (const value of images.subarray(i * SIZE, (i + 1) * SIZE)) {
          expect(value).toBeCloseTo(expected, 5);
        }
      }
    }
  });
});

describe("CutMix", () => {
  it("exchanges one rectangle, whose area the shares tell exactly", () => {
    const areas = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      const { images, labels } = batch(4);
      const { otherLabels, labelShares } = mix(
        images,
        labels,
        PICTURE,
        { cutmix: 1 },
        stream(seed),
      );
      expect([...otherLabels]).toEqual([13, 12, 11, 10]);
      const foreign = (i: number) => {
        const cells: number[] = [];
        for (let cell = 0; cell < 30; cell++) {
          const value = images[i * SIZE + cell * 3];
          expect([2 ** i, 2 ** (3 - i)]).toContain(value);
          // All colours of a pixel go together.
          expect([...images.subarray(i * SIZE + cell * 3, i * SIZE + cell * 3 + 3)])
            .toEqual([value, value, value]);
          if (value !== 2 ** i) cells.push(cell);
        }
        return cells;
      };
      const cells = foreign(0);
      for (const i of [1, 2, 3]) expect(foreign(i)).toEqual(cells);
      expect(labelShares[0]).toBeCloseTo(1 - cells.length / 30, 6);
      const rows = cells.map((cell) => Math.floor(cell / 5)),
        columns = cells.map((cell) => cell % 5);
      const extent = (of: number[]) => of.length === 0 ? 0 : Math.max(...of) - Math.min(...of) + 1;
      expect(extent(rows) * extent(columns)).toBe(cells.length);
      areas.add(cells.length);
    }
    expect(areas.size).toBeGreaterThan(5);
  });
});

describe("mixing", () => {
  it("takes turns where both are asked for, and depends on its stream alone", () => {
    let blended = 0;
    for (let seed = 0; seed < 60; seed++) {
      const both = { mixup: 1, cutmix: 1 };
      const [first, second] = [batch(4), batch(4)];
      mix(first.images, first.labels, PICTURE, both, stream(seed));
      mix(second.images, second.labels, PICTURE, both, stream(seed));
      expect(first.images).toEqual(second.images);
      if (first.images.some((value) => !Number.isInteger(value))) blended++;
    }
    expect(blended).toBeGreaterThan(15);
    expect(blended).toBeLessThan(45);
  });

  it("is none where nothing is asked for", () => {
    expect(mixingOf({})).toBeUndefined();
    expect(mixingOf({ cutmix: 1 })).toEqual({ cutmix: 1 });
  });
});
