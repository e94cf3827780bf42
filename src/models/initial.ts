/** What the weights of a model start as. */

import { RandomStream } from "../random.ts";
import { elementCount, type Tensor } from "../tensor.ts";

/**
 * A tensor whose numbers are made when they are first read: those of a model that gets a
 * checkpoint's weights, or that is only looked at, never are.
 */
function lazyTensor(shape: readonly number[], make: () => Float32Array): Tensor {
  let made: Float32Array | undefined;
  return {
    shape,
    get data() {
      return made ??= make();
    },
  };
}

/**
 * He et al. (arXiv 1502.01852): normal, variance 2 / fan in, from a random stream that belongs to
 * the parameter's name. `shape` is [out, in, ...].
 */
export function normalTensor(seed: number, name: string, shape: readonly number[]): Tensor {
  return lazyTensor(shape, () => {
    const random = new RandomStream(seed, `initial ${name}`);
    const deviation = Math.sqrt(2 / elementCount(shape.slice(1)));
    const data = new Float32Array(elementCount(shape));
    random.fillNormal(data, deviation);
    return data;
  });
}

/** A vector of one number. */
export function constantTensor(length: number, value: number): Tensor {
  return { shape: [length], data: new Float32Array(length).fill(value) };
}
