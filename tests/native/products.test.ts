/** What convolutions in bf16 multiply with: by measurement, unless SECATEUR_ISA says. */

import process from "node:process";
import { afterEach, describe, expect, it } from "vitest";
import { loadAddon } from "../../src/native/binding.ts";
import { cpuFeatures, packedBytes } from "../../src/native/session.ts";
import { runNative } from "../support/examples/one_instruction.ts";

const before = process.env.SECATEUR_ISA;

function setIsa(isa: string | undefined): void {
  if (isa === undefined) delete process.env.SECATEUR_ISA;
  else process.env.SECATEUR_ISA = isa;
}

afterEach(() => setIsa(before));

/** A strided convolution of 64 to 64 channels, which no method of fewer products serves. */
const STRIDED = [16, 16, 64, 8, 8, 64, 3, 3, 2, 2, 1, 1, 1, 1, 1];
const BF16 = 1;

function packedUnder(isa: string): number {
  setIsa(isa);
  return packedBytes([...STRIDED, 0, BF16, 4], "onednn");
}

describe("products of bf16", () => {
  const { avx512, avx512Bf16, avx512Vnni } = cpuFeatures();
  const { sourceHash, productRates } = loadAddon();

  it("are measured once, where there are such instructions", () => {
    const rates = productRates();
    expect(rates.f32 > 0).toBe(avx512);
    expect(rates.bf16 > 0).toBe(avx512Bf16);
    expect(rates.int16 > 0).toBe(avx512Vnni);
    expect(productRates()).toEqual(rates);
  });

  it("are used where they were measured to be faster", () => {
    setIsa(undefined);
    const { f32, bf16, int16 } = productRates();
    const { bf16Dot, int16Dot } = cpuFeatures();
    expect({ bf16Dot, int16Dot }).toEqual({ bf16Dot: bf16 > f32, int16Dot: int16 > 1.5 * f32 });
  });

  it("are used or not as SECATEUR_ISA says, whatever was measured", () => {
    setIsa("avx512");
    expect(cpuFeatures().bf16Dot).toBe(false);
    setIsa("avx512-bf16");
    expect(cpuFeatures()).toMatchObject({
      avx512,
      avx512Bf16,
      bf16Dot: avx512Bf16,
      amxBf16: false,
    });
  });

  it.skipIf(!avx512Bf16 || !sourceHash.endsWith("-onednn"))(
    "decide what weights are packed in",
    () => expect(packedUnder("avx512-bf16") / packedUnder("avx512")).toBe(0.5),
  );
});

const IMAGES = 2, SIDE = 8, INPUTS = 256, OUTPUTS = 16;

/** y of a convolution of `kernel` x `kernel` taps and stride 2 whose weights are all 0.5. */
async function convolve(kernel: 1 | 3, x: Float64Array): Promise<Float32Array> {
  const [pad, half] = [(kernel - 1) / 2, SIDE / 2];
  const weights = [OUTPUTS, INPUTS, kernel, kernel];
  const { y } = await runNative({
    op: "convolution",
    images: IMAGES,
    slice: IMAGES,
    ints: {
      ...{ in_height: SIDE, in_width: SIDE, in_channels: INPUTS },
      ...{ out_height: half, out_width: half, out_channels: OUTPUTS },
      ...{ kernel_height: kernel, kernel_width: kernel, stride_height: 2, stride_width: 2 },
      ...{ pad_top: pad, pad_left: pad, dilation_height: 1, dilation_width: 1, groups: 1, relu: 0 },
    },
    inputs: {
      x: { shape: [SIDE, SIDE, INPUTS], dtype: "bf16", images: IMAGES, data: x },
      packed: {
        shape: weights,
        dtype: "f32",
        images: 0,
        data: new Float64Array(weights.reduce((a, b) => a * b)).fill(0.5),
      },
    },
    outputs: { y: { shape: [half, half, OUTPUTS], dtype: "f32", images: IMAGES } },
  }, { threads: 1, engine: "automatic" });
  return y as Float32Array;
}

/** dw of a convolution of stride 1 and OUTPUTS channels whose x and dy are the same everywhere. */
async function gradient(kernel: 1 | 3, x: number, dy: number): Promise<Float32Array> {
  const values = SIDE * SIDE * OUTPUTS * IMAGES;
  const pictures = (value: number) => ({
    shape: [SIDE, SIDE, OUTPUTS],
    dtype: "bf16" as const,
    images: IMAGES,
    data: new Float64Array(values).fill(value),
  });
  const pad = kernel - 1;
  const { dw } = await runNative({
    op: "convolution_backward_weights",
    images: IMAGES,
    slice: IMAGES,
    ints: {
      ...{ in_height: SIDE, in_width: SIDE, in_channels: OUTPUTS },
      ...{ out_height: SIDE, out_width: SIDE, out_channels: OUTPUTS },
      ...{ kernel_height: kernel, kernel_width: kernel, stride_height: 1, stride_width: 1 },
      // Dilated, for Winograd's method serves what is not.
      ...{ pad_top: pad, pad_left: pad, dilation_height: 2, dilation_width: 2, groups: 1 },
      precision: BF16,
    },
    inputs: { x: pictures(x), dy: pictures(dy) },
    outputs: { dw: { shape: [OUTPUTS, OUTPUTS, kernel, kernel], dtype: "f32", images: 0 } },
  }, { threads: 1, engine: "automatic" });
  return dw as Float32Array;
}

const picture = SIDE * SIDE * INPUTS, result = SIDE / 2 * SIDE / 2 * OUTPUTS;

describe.skipIf(!cpuFeatures().avx512Vnni)("products of int16", () => {
  for (const kernel of [1, 3] as const) {
    it(`hold sums of nothing but their largest values: ${kernel}x${kernel}`, async () => {
      setIsa("avx512-vnni");
      const y = await convolve(kernel, new Float64Array(IMAGES * picture).fill(-3));
      const last = y.at(-1)!;
      expect(last / (-1.5 * kernel * kernel * INPUTS)).toBeCloseTo(1, 5);
      expect(new Set(y.slice(-OUTPUTS))).toEqual(new Set([last]));
    });

    it(`hold sums of as many pixels: ${kernel}x${kernel}`, async () => {
      setIsa("avx512-vnni");
      const dw = await gradient(kernel, -3, 2);
      const middle = dw[kernel * kernel >> 1], whole = -6 * SIDE * SIDE * IMAGES;
      expect(middle / whole).toBeCloseTo(1, 5);
      expect((await gradient(kernel, NaN, 2)).some(Number.isNaN)).toBe(true);
    });

    it(`show a NaN or an infinity in its picture alone: ${kernel}x${kernel}`, async () => {
      setIsa("avx512-vnni");
      for (const odd of [NaN, Infinity, -Infinity]) {
        const x = new Float64Array(IMAGES * picture).fill(1);
        x[0] = odd;
        const y = await convolve(kernel, x);
        expect(y[0]).toBeNaN();
        expect(y.slice(result).every(Number.isFinite)).toBe(true);
      }
    });

    it(`are of use whatever the size of a picture's values: ${kernel}x${kernel}`, async () => {
      setIsa("avx512-vnni");
      for (const size of [0, 1e-35, 1e-20, 1e30]) {
        const expected = size < 1e-30 ? 0 : 0.5 * kernel * kernel * INPUTS * size;
        const x = new Float64Array(IMAGES * picture).fill(1).fill(size, picture);
        const y = await convolve(kernel, x);
        expect(Math.abs(y.at(-1)! - expected)).toBeLessThanOrEqual(4e-3 * expected);
      }
    });
  }
});
