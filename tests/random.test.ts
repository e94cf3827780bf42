// Random streams give the same numbers one by one and many at a time.

import { describe, expect, it } from "vitest";
import { RandomStream } from "../src/random.ts";

describe("normal numbers", () => {
  const drawn = (length: number, first: (random: RandomStream) => void) => {
    const one = new RandomStream(5, "normal", 3, 4), many = new RandomStream(5, "normal", 3, 4);
    first(one);
    first(many);
    const numbers = new Float32Array(length);
    many.fillNormal(numbers, 0.25);
    const expected = Float32Array.from({ length }, () => one.normal() * 0.25);
    return { numbers, expected, after: [many.uint32(), one.uint32()] };
  };

  it("are the same drawn one by one and many at a time, and so are those that follow", () => {
    for (const length of [0, 1, 1000]) {
      for (const before of [0, 1, 2, 3, 4]) {
        const { numbers, expected, after } = drawn(length, (random) => {
          for (let i = 0; i < before; i++) random.uint32();
        });
        expect(numbers).toEqual(expected);
        expect(after[0]).toBe(after[1]);
      }
    }
  });

  it("have mean 0 and the deviation asked for", () => {
    const { numbers } = drawn(100_000, () => {});
    const mean = numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
    const variance = numbers.reduce((sum, x) => sum + x * x, 0) / numbers.length;
    expect(Math.abs(mean)).toBeLessThan(0.004);
    expect(Math.abs(variance / 0.0625 - 1)).toBeLessThan(0.02);
  });
});
