import { describe, expect, it } from "vitest";
import { trainingPasses } from "../../src/pruning/forecast.ts";

describe("forecasts", () => {
  it("take training for its own work: the cut model's, the teacher's and the evaluations'", () => {
    const extent = { epochs: 10, images: 1000, heldOut: 100, share: 0.5, teacher: false };
    const passes = trainingPasses(extent);
    expect(trainingPasses({ ...extent, share: 1 })).toBe(2 * passes);
    expect(trainingPasses({ ...extent, epochs: 20 })).toBe(2 * passes);
    expect(trainingPasses({ ...extent, teacher: true })).toBe(passes + 10 * 1000);
    expect(trainingPasses({ ...extent, heldOut: 200 })).toBe(passes + 10 * 100 * 0.5);
  });
});
