/** Entropies of responses whose histograms are known. */

import { describe, expect, it } from "vitest";
import { responseEntropy } from "../../src/concentration/entropy.ts";
import { SecateurError } from "../../src/errors.ts";
import { RandomStream } from "../../src/random.ts";

/** One channel's responses as [images, 1]. */
const column = (...responses: number[]) => Float32Array.from(responses);

/** -sum p log p / log bins. */
const expected = (shares: readonly number[], bins: number) =>
  -shares.reduce((sum, p) => sum + p * Math.log(p), 0) / Math.log(bins);

describe("responseEntropy", () => {
  it("is 1 when every bin holds as many images", () => {
    const even = Float32Array.from({ length: 320 }, (_, i) => i % 32);
    expect(responseEntropy(even, 320, 1)[0]).toBeCloseTo(1, 12);
  });

  it("is that of the histogram", () => {
    // Bins [0, 1) [1, 2) [2, 3) [3, 4]: 3, 1, 0 and 4 images, the maximum among the last.
    const responses = column(0, 0.5, 0.9, 1, 3, 3.5, 3.9, 4);
    expect(responseEntropy(responses, 8, 1, 4)[0])
      .toBeCloseTo(expected([3 / 8, 1 / 8, 4 / 8], 4), 12);
  });

  it("counts the maximum in the last bin, not in one of its own", () => {
    expect(responseEntropy(column(-1, 1), 2, 1, 2)[0]).toBeCloseTo(1, 12);
    expect(responseEntropy(column(0, 9.5, 10), 3, 1, 10)[0])
      .toBeCloseTo(expected([1 / 3, 2 / 3], 10), 12);
  });

  it("is 0 for a constant channel, whatever its neighbours do", () => {
    // Channels: constant zero, constant non-zero, two values, one outlier.
    const responses = column(0, 7, 1, 5, 0, 7, 2, 5, 0, 7, 1, 5, 0, 7, 2, 6);
    const entropy = responseEntropy(responses, 4, 4);
    expect([...entropy.subarray(0, 2)]).toEqual([0, 0]);
    expect(entropy[2]).toBeCloseTo(Math.log(2) / Math.log(32), 12);
    expect(entropy[3]).toBeCloseTo(expected([3 / 4, 1 / 4], 32), 12);
  });

  it("does not depend on the scale, the offset or the order of responses", () => {
    const random = new RandomStream(3, "entropy test");
    const base = Float32Array.from({ length: 500 }, () => random.integer(1 << 12));
    const [entropy] = responseEntropy(base, 500, 1);
    expect(entropy).toBeGreaterThan(0.9);
    expect(responseEntropy(base.map((x) => 4 * x - 512), 500, 1)[0]).toBeCloseTo(entropy!, 12);
    expect(responseEntropy(base.toReversed(), 500, 1)[0]).toBe(entropy);
  });

  it("takes ranges that f32 would overflow or lose", () => {
    expect(responseEntropy(column(-3e38, 0, 3e38, 3e38), 4, 1, 2)[0])
      .toBeCloseTo(expected([1 / 4, 3 / 4], 2), 12);
    expect(responseEntropy(column(0, 1.5e-45), 2, 1, 2)[0]).toBeCloseTo(1, 12);
  });

  it("is 0 for a single image", () => {
    expect([...responseEntropy(column(3, -4), 1, 2)]).toEqual([0, 0]);
  });

  const codeOf = (body: () => unknown): string => {
    try {
      body();
    } catch (thrown) {
      if (thrown instanceof SecateurError) return `${thrown.code}: ${thrown.message}`;
      throw thrown;
    }
    return "nothing thrown";
  };

  it.each([[NaN, "NaN"], [Infinity, "Infinity"], [-Infinity, "-Infinity"]])(
    "refuses %d, naming channel and image",
    (poison, name) => {
      const responses = column(1, 2, 3, 4, 5, poison);
      expect(codeOf(() => responseEntropy(responses, 3, 2)))
        .toMatch(new RegExp(`^numeric-failure: .*channel 1 responds with ${name} to image 2`));
    },
  );

  it("refuses shapes and bins that make no sense", () => {
    const responses = column(1, 2, 3, 4);
    expect(codeOf(() => responseEntropy(responses, 3, 2))).toMatch(/^data-mismatch: .*6.*4/);
    expect(codeOf(() => responseEntropy(new Float32Array(0), 0, 2))).toMatch(/^data-empty/);
    for (const bins of [1, 0, 2.5, NaN, Infinity, 2 ** 31]) {
      expect(codeOf(() => responseEntropy(responses, 2, 2, bins))).toMatch(/^option-invalid/);
    }
  });
});
