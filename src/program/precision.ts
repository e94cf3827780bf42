/** In which numbers a program computes. */

/**
 * f32: images of 32 bits, every product of a convolution computed as it stands; f32-fast: the same
 * images, but convolutions by the fastest method whose error stays below 2e-5 of the largest value
 * (Winograd's, where the machine has AVX-512); bf16: images of 16 bits.
 */
export type Precision = "f32" | "f32-fast" | "bf16";

/** Storage type of images and of their gradients. */
export type ImageType = "f32" | "bf16";

/** Every precision; the position is the instructions' integer. */
export const PRECISIONS: readonly Precision[] = ["f32", "bf16", "f32-fast"];

export function imageTypeOf(precision: Precision): ImageType {
  return precision === "bf16" ? "bf16" : "f32";
}

/** The integer that says it to a convolution's instructions. */
export function precisionInt(precision: Precision): number {
  return PRECISIONS.indexOf(precision);
}
