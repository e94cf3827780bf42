import { describe, expect, it } from "vitest";
import { countingError, isBetter } from "../../src/training/best.ts";

const champion = { epoch: 1, top1: 0.9, loss: 0.3 };

describe("which weights are kept", () => {
  it("is decided by accuracy where it differs by more than one counting error", () => {
    // sqrt(0.9 * 0.1 / 500) = 0.0134.
    expect(countingError(0.9, 500)).toBeCloseTo(0.013416, 6);
    expect(isBetter({ top1: 0.92, loss: 0.9 }, champion, 0.92, 500)).toBe(true);
    expect(isBetter({ top1: 0.88, loss: 0.1 }, champion, 0.9, 500)).toBe(false);
  });

  it("is decided by the loss where accuracies are equal within it", () => {
    expect(isBetter({ top1: 0.905, loss: 0.31 }, champion, 0.905, 500)).toBe(false);
    expect(isBetter({ top1: 0.895, loss: 0.29 }, champion, 0.9, 500)).toBe(true);
    // The same counts on a hundred times as many pictures differ by more than luck.
    expect(isBetter({ top1: 0.905, loss: 0.31 }, champion, 0.905, 50_000)).toBe(true);
    expect(isBetter({ top1: 0.895, loss: 0.29 }, champion, 0.9, 50_000)).toBe(false);
  });

  it("is the earlier of equals, and of equal losses the more accurate", () => {
    expect(isBetter({ top1: 0.9, loss: 0.3 }, champion, 0.9, 500)).toBe(false);
    expect(isBetter({ top1: 0.902, loss: 0.3 }, champion, 0.902, 500)).toBe(true);
  });

  it("never drifts down: every epoch is held to the highest accuracy so far", () => {
    let best = champion, highest = champion.top1;
    for (let step = 1; step <= 20; step++) {
      const score = { top1: 0.9 - 0.005 * step, loss: 0.3 - 0.001 * step };
      highest = Math.max(highest, score.top1);
      if (isBetter(score, best, highest, 500)) best = { ...score, epoch: step + 1 };
    }
    expect(best.epoch).toBeGreaterThan(1);
    expect(best.top1).toBeGreaterThanOrEqual(0.9 - countingError(0.9, 500));
  });
});
