/** Every instruction that the CUDA executor has, in the emulator, against the f64 oracle. */

import { describe, expect, it } from "vitest";
import type { TypedArray } from "../../src/native/session.ts";
import { type OperationName, OPERATIONS } from "../../src/program/operations.ts";
import { RandomStream } from "../../src/random.ts";
import {
  buildFirst,
  EMULATED_TIMEOUT,
  emulator,
  inOrder,
  missing,
  ORDERS,
} from "../support/cuda/emulator.ts";
import { onTensorCores, SERVED, workOf } from "../support/cuda/examples.ts";
import { problems, sameBytes } from "../support/examples/all.ts";
import type { NamedExample } from "../support/examples/arguments.ts";
import { type Argument, runNative } from "../support/examples/one_instruction.ts";
import { acceptedNumbers, acceptedShapes } from "../support/examples/refusals.ts";

/** Products that an emulated example may take, of single numbers and of matrices: more are slow. */
const MOST_PRODUCTS = { single: 1e6, matrix: 2.5e6 };

/** A product of two random factors, or a map with a NaN where the rank is -1. */
function mapOfRank(height: number, width: number, rank: number, scale: number): Float64Array {
  const random = new RandomStream(rank + 2, `${height} x ${width}`);
  const [left, right] = [height, width].map((extent) =>
    Float64Array.from({ length: extent * Math.max(rank, 0) }, () => random.normal())
  );
  const map = new Float64Array(height * width).map((_, i) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) {
      sum += left[Math.floor(i / width) * rank + k] * right[i % width * rank + k];
    }
    return sum * scale;
  });
  if (rank < 0) map[height] = NaN;
  return map;
}

async function run(example: NamedExample): Promise<Record<string, TypedArray>> {
  const options = { threads: 1, engine: "automatic", device: emulator() } as const;
  return await runNative(example, options);
}

describe.skipIf(missing !== undefined)(
  `kernels in the emulator${missing ? `: ${missing}` : ""}`,
  () => {
    buildFirst(emulator);
    const families = new Set(SERVED.map(({ op }) => op));
    for (const op of families) {
      it(`${op} agrees with the oracle, the same bytes in every order`, async () => {
        const found: string[] = [];
        const most = (each: NamedExample) =>
          MOST_PRODUCTS[onTensorCores(each) ? "matrix" : "single"];
        const examples = SERVED.filter((each) => each.op === op && workOf(each) <= most(each));
        expect(examples.length).toBeGreaterThan(0);
        for (const example of examples) {
          const results: Record<string, TypedArray>[] = [];
          for (const order of ORDERS) results.push(await inOrder(order, () => run(example)));
          found.push(...problems(example, results[0]));
          for (const name of Object.keys(results[0])) {
            if (results.every((each) => sameBytes(each[name], results[0][name]))) continue;
            found.push(`${example.name}: ${name} depends on the order of threads`);
          }
        }
        expect(found, found.join("\n")).toEqual([]);
      }, EMULATED_TIMEOUT);
    }

    it("every operation has a kernel and an example", () => {
      const untested = Object.keys(OPERATIONS).filter((op) => !families.has(op as OperationName));
      expect(untested).toEqual(["pack_convolution"]);
    });

    it("arguments of the wrong shape and senseless numbers are refused", async () => {
      const accepted = [
        ...await acceptedShapes(run),
        ...await acceptedNumbers(run, { pads: false }),
      ];
      expect(accepted, accepted.join("\n")).toEqual([]);
    });

    it("ranks are those of the maps, in shared and in device memory", async () => {
      for (const [height, width] of [[8, 8], [5, 9], [33, 17], [97, 98]]) {
        const all = [0, 1, 3, Math.min(height, width), 2, 2, -1];
        const wanted = height < 64 ? all : [0, 3, -1];
        const maps = wanted.map((rank, i) =>
          mapOfRank(height, width, rank, 10 ** [0, 19, -19][i % 3])
        );
        const x: Argument = {
          shape: [height, width, wanted.length],
          dtype: "f32",
          images: 1,
          data: Float64Array.from(
            { length: height * width * wanted.length },
            (_, i) => maps[i % wanted.length][Math.floor(i / wanted.length)],
          ),
        };
        const ranks: Argument = { shape: [wanted.length], dtype: "f32", images: 1 };
        const example: NamedExample = {
          ...{ name: "ranks", op: "rank", images: 1, slice: 1 },
          inputs: { x },
          outputs: { ranks },
        };
        expect([...(await run(example)).ranks], `${height} x ${width}`).toEqual(wanted);
      }
    }, EMULATED_TIMEOUT);
  },
);
