import { describe, expect, it } from "vitest";
import { type Curve, curveAt, latticeWidths, widthsToMeasure } from "../../src/latency/curve.ts";
import { widthsWorthTaking } from "../../src/latency/envelope.ts";

/** The curve that measuring a formula gives. */
function curveOf(
  inFull: number,
  outFull: number,
  time: (inWidth: number, outWidth: number) => number,
): Curve {
  const inWidths = widthsToMeasure(inFull, 1), outWidths = widthsToMeasure(outFull, 1);
  const latticeIn = latticeWidths(inWidths), latticeOut = latticeWidths(outWidths);
  return {
    inWidths,
    outWidths,
    byIn: inWidths.map((width) => time(width, outFull)),
    byOut: outWidths.map((width) => time(inFull, width)),
    inner: {
      inWidths: latticeIn,
      outWidths: latticeOut,
      milliseconds: latticeIn.map((i) => latticeOut.map((o) => time(i, o))),
    },
  };
}

describe("a curve", () => {
  it("gives what was measured back, everywhere it was", () => {
    const time = (i: number, o: number) => 0.1 + Math.sin(i) ** 2 + 0.01 * i * o + Math.cos(o) ** 2;
    const curve = curveOf(64, 96, time);
    const at = curveAt(curve);
    for (const width of curve.inWidths) expect(at(width, 96)).toBeCloseTo(time(width, 96), 9);
    for (const width of curve.outWidths) expect(at(64, width)).toBeCloseTo(time(64, width), 9);
    for (const i of curve.inner.inWidths) {
      for (const o of curve.inner.outWidths) expect(at(i, o)).toBeCloseTo(time(i, o), 9);
    }
  });

  it("is near products with fixed costs between what was measured, from an eighth on", () => {
    const time = (i: number, o: number) => 3 + 0.2 * i + 0.1 * o + 0.01 * i * o;
    const at = curveAt(curveOf(128, 200, time));
    for (let i = 16; i <= 128; i += 5) {
      for (let o = 25; o <= 200; o += 7) {
        expect(Math.abs(at(i, o) / time(i, o) - 1), `${i} x ${o}`).toBeLessThan(0.05);
      }
    }
  });

  it("is flat along an axis that cannot change", () => {
    const at = curveAt({
      inWidths: [3],
      outWidths: [8, 16],
      byIn: [2],
      byOut: [1, 2],
      inner: { inWidths: [], outWidths: [], milliseconds: [] },
    });
    expect([at(3, 16), at(3, 12), at(3, 8), at(3, 1), at(1, 16), at(5, 99)])
      .toEqual([2, 1.5, 1, 1, 2, 2]);
  });
});

describe("widths to measure", () => {
  it("are all legal ones where they are few", () => {
    expect(widthsToMeasure(5, 1)).toEqual([1, 2, 3, 4, 5]);
    expect(widthsToMeasure(64, 8)).toEqual([8, 16, 24, 32, 40, 48, 56, 64]);
    expect(widthsToMeasure(20, 8)).toEqual([8, 16, 20]);
    expect(widthsToMeasure(4, 8)).toEqual([4]);
  });

  it("are round ones and those below them where they are many", () => {
    const widths = widthsToMeasure(512, 1);
    expect(widths.length).toBeLessThanOrEqual(34);
    for (const width of [1, 31, 32, 255, 256, 511, 512]) expect(widths).toContain(width);
    for (const width of widthsToMeasure(1000, 8)) expect(width % 8 === 0).toBe(true);
  });
});

describe("widths worth taking", () => {
  it("leave out those that cost as much as a larger one", () => {
    // Whole vectors of four: 4, 8 and 12 cost what those below them do.
    const costs = Array.from({ length: 12 }, (_, place) => Math.ceil((place + 1) / 4));
    expect(widthsWorthTaking(costs)).toEqual([3, 7, 11]);
    // 8 channels are faster than 5 to 7, and hardly slower than 4.
    expect(widthsWorthTaking([1, 2, 3, 4.49, 9, 9, 9, 4.5, 6])).toEqual([0, 1, 2, 7, 8]);
    expect(widthsWorthTaking([5])).toEqual([0]);
    expect(widthsWorthTaking([3, 2, 1])).toEqual([2]);
  });
});
