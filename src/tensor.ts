/** Dense host tensors: what files hold, graphs carry and sessions copy in and out. */

/** A dense row-major f32 tensor. `shape` may be empty (a scalar). */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Named tensors in file order; names as in the checkpoint, without a `module.` prefix. */
export type StateDict = Map<string, Tensor>;

/** Number of elements of a shape (1 for a scalar). */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const extent of shape) count *= extent;
  return count;
}

/** A tensor of zeros. */
export function zeros(shape: readonly number[]): Tensor {
  return { shape: [...shape], data: new Float32Array(elementCount(shape)) };
}
