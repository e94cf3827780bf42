/** What convolutions in bf16 multiply with: by measurement, unless SECATEUR_ISA says. */

import process from "node:process";
import { afterEach, describe, expect, it } from "vitest";
import { loadAddon } from "../../src/native/binding.ts";
import { cpuFeatures, packedBytes } from "../../src/native/session.ts";

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
  const { avx512, avx512Bf16 } = cpuFeatures();
  const { sourceHash, productRates } = loadAddon();

  it("are measured once, where there are such instructions", () => {
    const rates = productRates();
    expect(rates.f32 > 0).toBe(avx512);
    expect(rates.bf16 > 0).toBe(avx512Bf16);
    expect(productRates()).toEqual(rates);
  });

  it("are used where they were measured to be faster", () => {
    setIsa(undefined);
    const rates = productRates();
    expect(cpuFeatures().bf16Dot).toBe(rates.bf16 > rates.f32);
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
