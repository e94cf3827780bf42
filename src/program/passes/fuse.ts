/**
 * Fusion. Running-statistics batch norm folds into the convolution before it; a residual sum and a
 * ReLU become the epilogue of whatever computed their operand. A value disappears only when it has
 * one reader and is not pinned.
 */

import { countReads, type Draft, type DraftInstruction } from "../draft.ts";
import type { OperationName } from "../operations.ts";

const TAKES_RESIDUAL: readonly OperationName[] = [
  "convolution",
  "batch_norm_apply",
  "batch_norm_inference",
];
const TAKES_RELU: readonly OperationName[] = [...TAKES_RESIDUAL, "add"];

class Fusion {
  readonly draft: Draft;
  readonly pinned: ReadonlySet<string>;
  readonly reads: ReadonlyMap<string, number>;
  readonly out: (DraftInstruction | undefined)[] = [];
  readonly writers: Map<string, number> = new Map();

  constructor(
    draft: Draft,
    instructions: readonly DraftInstruction[],
    pinned: ReadonlySet<string>,
  ) {
    this.draft = draft;
    this.pinned = pinned;
    this.reads = countReads(instructions);
  }

  /** The position of the instruction that wrote a value nobody else needs, or -1. */
  private(value: string): number {
    if (this.pinned.has(value) || this.reads.get(value) !== 1) return -1;
    return this.writers.get(value) ?? -1;
  }

  push(instruction: DraftInstruction): void {
    for (const output of Object.values(instruction.outputs)) {
      this.writers.set(output, this.out.length);
    }
    this.out.push(instruction);
  }

  /** Moves the instruction at `position` to the end, changed. */
  replace(position: number, change: Partial<DraftInstruction>, y: string): void {
    const old = this.out[position]!;
    this.out[position] = undefined;
    this.push({ ...old, ...change, outputs: { ...old.outputs, y } });
  }

  /** convolution, batch_norm_inference -> fold_batch_norm, convolution. */
  fold(norm: DraftInstruction): boolean {
    const position = norm.op === "batch_norm_inference" ? this.private(norm.inputs.x) : -1;
    const convolution = this.out[position];
    if (convolution?.op !== "convolution" || !isPlain(convolution)) return false;
    const { scale, offset, mean, variance } = norm.inputs;
    const { packed: weight, bias } = convolution.inputs;
    const { shape } = this.draft.get(weight);
    const folded = (name: string, extents: readonly number[]) =>
      this.draft.value({ name, dtype: "f32", shape: extents, images: 0, place: "state" });
    const outputs = {
      weight: folded(`folded/${convolution.layer}.weight`, shape),
      bias: folded(`folded/${convolution.layer}.bias`, [shape[0]]),
    };
    this.push({
      op: "fold_batch_norm",
      inputs: { weight, ...(bias === undefined ? {} : { bias }), scale, offset, mean, variance },
      outputs,
      attributes: { epsilon: norm.attributes.epsilon },
      layer: norm.layer,
    });
    const inputs = { x: convolution.inputs.x, packed: outputs.weight, bias: outputs.bias };
    this.replace(position, { inputs }, norm.outputs.y);
    return true;
  }

  /** The operand computed last takes the sum as its epilogue; the other is its residual. */
  addResidual(sum: DraftInstruction): boolean {
    if (sum.op !== "add" || sum.attributes.relu !== 0) return false;
    const candidates = [["a", "b"], ["b", "a"]].map(([operand, residual]) => ({
      position: this.private(sum.inputs[operand]),
      residual: sum.inputs[residual],
    })).filter(({ position }) => {
      const writer = this.out[position];
      return writer !== undefined && TAKES_RESIDUAL.includes(writer.op) && isPlain(writer);
    }).sort((a, b) => b.position - a.position);
    if (candidates.length === 0) return false;
    const [{ position, residual }] = candidates;
    const inputs = { ...this.out[position]!.inputs, residual };
    this.replace(position, { inputs }, sum.outputs.y);
    return true;
  }

  activate(relu: DraftInstruction): boolean {
    const position = relu.op === "relu" ? this.private(relu.inputs.x) : -1;
    const writer = this.out[position];
    if (writer === undefined || !TAKES_RELU.includes(writer.op)) return false;
    if (writer.attributes.relu !== 0) return false;
    this.replace(position, { attributes: { ...writer.attributes, relu: 1 } }, relu.outputs.y);
    return true;
  }
}

/** Has no epilogue yet. */
function isPlain(instruction: DraftInstruction): boolean {
  return instruction.attributes.relu === 0 && instruction.inputs.residual === undefined;
}

/** Fuses one entry's instructions; `pinned` values are still written. */
export function fuse(
  draft: Draft,
  instructions: readonly DraftInstruction[],
  pinned: ReadonlySet<string>,
): DraftInstruction[] {
  const fusion = new Fusion(draft, instructions, pinned);
  for (const instruction of instructions) {
    const done = fusion.fold(instruction) || fusion.addResidual(instruction) ||
      fusion.activate(instruction);
    if (!done) fusion.push(instruction);
  }
  return fusion.out.filter((instruction) => instruction !== undefined);
}
