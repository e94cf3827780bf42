import type { Dataset, Normalisation } from "../../../src/data/dataset.ts";

/** A normalised picture as the oracle takes it: [channels][height][width] in f64. */
export function planesOf(
  { pixels, height, width }: Dataset,
  image: number,
  { mean, std }: Normalisation,
): Float64Array {
  const area = height * width;
  return Float64Array.from({ length: 3 * area }, (_, i) => {
    const channel = Math.floor(i / area);
    const byte = pixels[(image * area + i % area) * 3 + channel];
    return (byte / 255 - mean[channel]) / std[channel];
  });
}
