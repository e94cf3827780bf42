/** Constant folding of batch norm, by which some networks standardise their weights. */

import { elementCount } from "../../../tensor.ts";
import { type HostArray, isFloat, Refusal, shown } from "../read/array.ts";
import type { Fold } from "./folding.ts";

/** Mean and biased variance of every channel, over all other axes, in f64. */
function moments({ shape, data }: HostArray): { mean: Float64Array; variance: Float64Array } {
  const [images, channels] = shape;
  const area = elementCount(shape.slice(2)), count = images * area;
  const mean = new Float64Array(channels), variance = new Float64Array(channels);
  const channelOf = (at: number) => Math.floor(at / area) % channels;
  data.forEach((value, at) => mean[channelOf(at)] += value / count);
  data.forEach((value, at) => {
    const c = channelOf(at);
    variance[c] += (value - mean[c]) ** 2 / count;
  });
  return { mean, variance };
}

/** By the statistics given, or in training mode by those of the array itself. */
const batchNorm: Fold = ({ node, inputs, opset, allocate, spend }) => {
  const [x, scale, offset, givenMean, givenVariance] = inputs;
  const { attributes, outputs } = node;
  const channels = x.shape[1] ?? 0;
  const odd = [scale, offset, givenMean, givenVariance]
    .find(({ shape }) => shape.length !== 1 || shape[0] !== channels);
  if (odd !== undefined) {
    throw new Refusal(`normalises ${shown(x.shape)} by numbers of the shape ${shown(odd.shape)}`);
  }
  if (!inputs.slice(0, 5).every(({ dtype }) => isFloat(dtype)) || x.data.length === 0) {
    throw new Refusal(`normalises ${x.dtype} ${shown(x.shape)}`);
  }
  // Before operator set 14 more outputs than one asked for training.
  const trains = opset < 14 ? outputs.length > 1 : attributes.int("training_mode", 0) !== 0;
  if (trains) spend(2 * x.data.length);
  const { mean, variance } = trains
    ? moments(x)
    : { mean: givenMean.data, variance: givenVariance.data };
  const epsilon = attributes.float("epsilon", 1e-5);
  const area = elementCount(x.shape.slice(2));
  const y = allocate(x.dtype, x.shape);
  x.data.forEach((value, at) => {
    const c = Math.floor(at / area) % channels;
    const standard = (value - mean[c]) / Math.sqrt(variance[c] + epsilon);
    y.data[at] = standard * scale.data[c] + offset.data[c];
  });
  if (!trains) return [y];
  const momentum = attributes.float("momentum", 0.9);
  const running = (given: HostArray, own: ArrayLike<number>): HostArray => {
    const out = allocate(given.dtype, given.shape);
    given.data.forEach((value, c) => out.data[c] = momentum * value + (1 - momentum) * own[c]);
    return out;
  };
  return [y, running(givenMean, mean), running(givenVariance, variance)];
};

/** Folds by operator. */
export const NORMALISING_FOLDS: Readonly<Record<string, Fold>> = { BatchNormalization: batchNorm };
