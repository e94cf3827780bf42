/**
 * Entropy of channel responses: how much a channel's averaged activation tells images apart.
 * Source: Luo & Wu, "An entropy-based pruning method for CNN compression", arXiv 1706.05791.
 */

import { SecateurError } from "../errors.ts";

/**
 * Shannon entropy of every channel's response over the images, divided by log(bins), so in [0, 1].
 *
 * `responses` is [images, channels], row-major: feature maps averaged over height and width. Each
 * channel is histogrammed in `bins` equal bins from its own minimum to its own maximum, the maximum
 * in the last bin; a constant channel counts 0.
 *
 * Throws "data-empty" without images, "data-mismatch" when `responses` has another length,
 * "option-invalid" for fewer than two bins, "numeric-failure" at a NaN or an infinity.
 */
export function responseEntropy(
  responses: Float32Array,
  images: number,
  channels: number,
  bins = 32,
): Float64Array<ArrayBuffer> {
  requireShape(responses, images, channels, bins);
  const entropy = new Float64Array(channels);
  const counts = new Uint32Array(bins);
  for (let channel = 0; channel < channels; channel++) {
    const { low, high } = rangeOf(responses, images, channels, channel);
    if (low === high) continue;
    counts.fill(0);
    for (let i = channel; i < responses.length; i += channels) {
      const bin = Math.floor((responses[i]! - low) / (high - low) * bins);
      counts[Math.min(bin, bins - 1)]!++;
    }
    entropy[channel] = shannon(counts, images) / Math.log(bins);
  }
  return entropy;
}

/** Minimum and maximum of one channel. */
function rangeOf(
  responses: Float32Array,
  images: number,
  channels: number,
  channel: number,
): { low: number; high: number } {
  let low = Infinity, high = -Infinity;
  for (let image = 0; image < images; image++) {
    const response = responses[image * channels + channel]!;
    if (!Number.isFinite(response)) {
      throw new SecateurError(
        "numeric-failure",
        `The responses of channels were expected to be finite, but channel ${channel} responds ` +
          `with ${response} to image ${image}; check the weights and the normalisation of images.`,
      );
    }
    low = Math.min(low, response);
    high = Math.max(high, response);
  }
  return { low, high };
}

/** -sum p log p over the bins, in nats. */
function shannon(counts: Uint32Array, total: number): number {
  let sum = 0;
  for (const count of counts) if (count > 0) sum -= count / total * Math.log(count / total);
  return sum;
}

function requireShape(
  responses: Float32Array,
  images: number,
  channels: number,
  bins: number,
): void {
  if (!Number.isInteger(bins) || bins < 2 || bins > 2 ** 20) {
    throw new SecateurError(
      "option-invalid",
      `The number of histogram bins must be a whole number from 2 to ${2 ** 20}, not ${bins}.`,
    );
  }
  if (!(images >= 1)) {
    throw new SecateurError(
      "data-empty",
      `The entropy of responses needs at least one image, but there are ${images}.`,
    );
  }
  if (responses.length !== images * channels) {
    throw new SecateurError(
      "data-mismatch",
      `Responses of ${images} images and ${channels} channels were expected, ` +
        `${images * channels} numbers, but ${responses.length} came; average over height and ` +
        "width first.",
    );
  }
}
