import { describe, expect, it } from "vitest";
import { learningRate } from "../../src/training/schedule.ts";

describe("the learning rate", () => {
  const schedule = { peak: 0.4, warmupSteps: 4, totalSteps: 12 };

  it("warms up linearly and falls along half a cosine", () => {
    const rates = Array.from({ length: 12 }, (_, step) => learningRate(schedule, step));
    expect(rates.slice(0, 4).map((rate) => rate.toFixed(12)))
      .toEqual([0.1, 0.2, 0.3, 0.4].map((rate) => rate.toFixed(12)));
    expect(rates[4]).toBe(0.4);
    expect(rates[8]).toBeCloseTo(0.2, 12);
    expect(rates[6]).toBeCloseTo(0.2 * (1 + Math.SQRT1_2), 12);
    expect(rates[11]).toBeCloseTo(0.2 * (1 - Math.cos(Math.PI / 8)), 12);
    expect(learningRate(schedule, 12)).toBe(0);
  });
});
