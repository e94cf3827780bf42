import { describe, expect, it } from "vitest";
import { timingOf } from "../../src/latency/timing.ts";

describe("a timing", () => {
  it("is median and quartiles", () => {
    expect(timingOf([5, 1, 2, 4, 3])).toEqual({ median: 3, low: 2, high: 4 });
    expect(timingOf([1, 2])).toEqual({ median: 1.5, low: 1.25, high: 1.75 });
  });
});
