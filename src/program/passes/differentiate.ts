/**
 * Reverse-mode differentiation of one entry's fused instructions (Griewank & Walther, "Evaluating
 * Derivatives", 2008): walks them backwards, appending the instructions that turn the gradient of
 * each output into gradients of inputs and parameters. A value read several times sums its
 * gradients with `add`. ReLU is masked by its own output, so pre-activations need not be kept.
 */

import { SecateurError } from "../../errors.ts";
import type { Draft, DraftInstruction } from "../draft.ts";
import { imageTypeOf, type Precision, precisionInt } from "../precision.ts";
import { elementsOf } from "../program.ts";

/** What to differentiate. */
export interface DifferentiateOptions {
  readonly entry: string;
  readonly images: number;
  readonly precision: Precision;
  /** Parameters that get a gradient. */
  readonly trainable: ReadonlySet<string>;
  /** Values whose gradients are known, and those. */
  readonly seeds: readonly { readonly value: string; readonly gradient: string }[];
}

/** Backward instructions, and the gradient of each trainable parameter that was reached. */
export interface Differentiated {
  readonly instructions: readonly DraftInstruction[];
  readonly gradients: ReadonlyMap<string, string>;
}

/** Parameters among the arguments, which receive gradients. */
const PARAMETERS = ["packed", "bias", "scale", "offset", "slope"];
/** Arguments that receive gradients; everything else is a constant of the step. */
const DIFFERENTIABLE = [
  ...["x", "a", "b", "c", "d", "e", "f", "g", "h", "residual"],
  // What a transposed convolution reads.
  "dy",
  ...PARAMETERS,
];

/** The value of images that an instruction writes; the winners of a pool have no gradient. */
function writtenBy({ outputs }: DraftInstruction): string | undefined {
  return outputs.y ?? outputs.dx;
}

class Differentiation {
  readonly draft: Draft;
  readonly options: DifferentiateOptions;
  readonly instructions: DraftInstruction[] = [];
  /** Gradient of each image value so far. */
  readonly gradients: Map<string, string> = new Map();
  /** Of each trainable parameter, one from every layer that reads it. */
  readonly parameterGradients: Map<string, readonly string[]> = new Map();
  /** How many layers read a parameter. */
  readonly #readers: Map<string, number> = new Map();
  /** Values that depend on a trainable parameter. */
  readonly dependent: Set<string>;

  constructor(
    draft: Draft,
    forward: readonly DraftInstruction[],
    options: DifferentiateOptions,
  ) {
    this.draft = draft;
    this.options = options;
    this.dependent = new Set(options.trainable);
    for (const instruction of forward) {
      const { inputs } = instruction;
      const y = writtenBy(instruction);
      const reached = DIFFERENTIABLE.some((key) =>
        inputs[key] !== undefined && this.dependent.has(inputs[key])
      );
      if (reached && y !== undefined) this.dependent.add(y);
      for (const parameter of PARAMETERS.flatMap((key) => inputs[key] ?? [])) {
        this.#readers.set(parameter, (this.#readers.get(parameter) ?? 0) + 1);
      }
    }
  }

  /** Whether a value's gradient is wanted. */
  wants(value: string | undefined): value is string {
    return value !== undefined && this.dependent.has(value);
  }

  /** Declares an image gradient shaped like `value`, with an unused name. */
  gradientLike(value: string): string {
    const { entry, images, precision } = this.options;
    const own = value.startsWith(`${entry}/`) || value.startsWith(`${entry}:`);
    const base = own ? value.slice(entry.length + 1) : value;
    let name = `${entry}:grad/${base}`;
    for (let n = 2; this.draft.values.has(name); n++) name = `${entry}:grad/${base}#${n}`;
    const { shape } = this.draft.get(value), dtype = imageTypeOf(precision);
    return this.draft.value({ name, dtype, shape, images, place: "activations" });
  }

  /**
   * Declares a gradient of a parameter; the gradients of frozen ones are by-products, and one that
   * layers share has one from each.
   */
  parameterGradient(parameter: string): string {
    const { shape } = this.draft.get(parameter);
    let name = `grad/${parameter}`;
    if (this.wants(parameter)) {
      const known = this.parameterGradients.get(parameter) ?? [];
      if ((this.#readers.get(parameter) ?? 0) > 1) name += `#${known.length + 1}`;
      this.parameterGradients.set(parameter, [...known, name]);
    }
    return this.draft.value({ name, dtype: "f32", shape, images: 0, place: "state" });
  }

  /** Adds up the gradients of shared parameters; one gradient each. */
  sumParameterGradients(): Map<string, string> {
    const sums = [...this.parameterGradients].map(([parameter, [first, ...others]]) => {
      const { shape } = this.draft.get(parameter);
      const total = others.reduce((gradient, more, index) => {
        const last = index === others.length - 1;
        const name = last ? `grad/${parameter}` : `grad/${parameter}#1+${index + 1}`;
        const sum = this.draft.value({ name, dtype: "f32", shape, images: 0, place: "state" });
        const inputs = { gradient, more };
        const outputs = { sum };
        this.instructions.push({
          op: "add_gradients",
          inputs,
          outputs,
          attributes: {},
          layer: parameter,
        });
        return sum;
      }, first);
      return [parameter, total] as const;
    });
    return new Map(sums);
  }

  emit(
    forward: DraftInstruction,
    op: DraftInstruction["op"],
    inputs: Record<string, string>,
    outputs: Record<string, string>,
    attributes: Readonly<Record<string, number>> = {},
  ): void {
    this.instructions.push({ op, inputs, outputs, attributes, layer: forward.layer });
  }

  /** Adds a contribution to the gradient of an image value. */
  contribute(forward: DraftInstruction, value: string, gradient: string): void {
    const known = this.gradients.get(value);
    if (known === undefined) {
      this.gradients.set(value, gradient);
      return;
    }
    const y = this.gradientLike(value);
    this.emit(forward, "add", { a: known, b: gradient }, { y }, { relu: 0 });
    this.gradients.set(value, y);
  }

  /** Computes gradients of a convolution's parameters. */
  emitWeights(
    forward: DraftInstruction,
    inputs: Record<string, string>,
    outputs: Record<string, string>,
    geometry: Readonly<Record<string, number>>,
  ): void {
    const attributes = { ...geometry, precision: precisionInt(this.options.precision) };
    this.emit(forward, "convolution_backward_weights", inputs, outputs, attributes);
  }

  /** The gradient before the ReLU at the end of an instruction, if it has one. */
  throughRelu(forward: DraftInstruction, dy: string): string {
    if (forward.attributes.relu === 0) return dy;
    const { y } = forward.outputs;
    const dx = this.gradientLike(y);
    this.emit(forward, "relu_backward", { dy, y }, { dx });
    return dx;
  }
}

type Rule = (pass: Differentiation, forward: DraftInstruction, dy: string) => void;

function convolutionRule(pass: Differentiation, forward: DraftInstruction, dy: string): void {
  const { x, packed: weight, bias, residual } = forward.inputs;
  const { relu: _relu, ...geometry } = forward.attributes;
  const dz = pass.throughRelu(forward, dy);
  if (pass.wants(x)) {
    const dx = pass.gradientLike(x);
    pass.emit(forward, "convolution_backward_data", { dy: dz, packed: weight }, { dx }, geometry);
    pass.contribute(forward, x, dx);
  }
  if (pass.wants(weight) || pass.wants(bias)) {
    const outputs: Record<string, string> = { dw: pass.parameterGradient(weight) };
    if (pass.wants(bias)) outputs.db = pass.parameterGradient(bias);
    pass.emitWeights(forward, { x, dy: dz }, outputs, geometry);
  }
  if (pass.wants(residual)) pass.contribute(forward, residual, dz);
}

function batchNormRule(pass: Differentiation, forward: DraftInstruction, dy: string): void {
  const { x, mean, inverse_deviation, scale, offset, residual } = forward.inputs;
  const masked = forward.attributes.relu !== 0;
  const y: Record<string, string> = masked ? { y: forward.outputs.y } : {};
  const inputs = { dy, x, mean, inverse_deviation };
  // Without a mask the residual's gradient is dy itself.
  const split = masked && pass.wants(residual) ? pass.gradientLike(residual) : undefined;
  const reduced: Record<string, string> = {};
  if (pass.wants(x) || pass.wants(scale) || pass.wants(offset)) {
    reduced.dscale = pass.parameterGradient(scale);
    reduced.doffset = pass.parameterGradient(offset);
    pass.emit(forward, "batch_norm_backward_reduce", { ...inputs, ...y }, reduced);
  }
  if (pass.wants(x)) {
    const dx = pass.gradientLike(x);
    const outputs: Record<string, string> = split === undefined ? { dx } : { dx, dresidual: split };
    const all = { ...inputs, scale, ...reduced, ...y };
    pass.emit(forward, "batch_norm_backward_apply", all, outputs);
    pass.contribute(forward, x, dx);
  } else if (split !== undefined) {
    pass.emit(forward, "relu_backward", { dy, ...y }, { dx: split });
  }
  if (pass.wants(residual)) pass.contribute(forward, residual, split ?? dy);
}

/** Rules of operations with one differentiable input x and a backward operation of their own. */
function unaryRule(
  op: DraftInstruction["op"],
  constants: (forward: DraftInstruction) => Record<string, string>,
  keepsDy = true,
): Rule {
  return (pass, forward, dy) => {
    const dx = pass.gradientLike(forward.inputs.x);
    const inputs = keepsDy ? { dy, ...constants(forward) } : { x: dy, ...constants(forward) };
    pass.emit(forward, op, inputs, keepsDy ? { dx } : { y: dx }, forward.attributes);
    pass.contribute(forward, forward.inputs.x, dx);
  };
}

function multiplyRule(pass: Differentiation, forward: DraftInstruction, dy: string): void {
  const { a, b } = forward.inputs;
  if (pass.wants(a)) {
    const y = pass.gradientLike(a);
    pass.emit(forward, "multiply", { a: dy, b }, { y });
    pass.contribute(forward, a, y);
  }
  if (!pass.wants(b)) return;
  const dx = pass.gradientLike(b);
  if (elementsOf(pass.draft.get(a)) === elementsOf(pass.draft.get(b))) {
    pass.emit(forward, "multiply", { a: dy, b: a }, { y: dx });
  } else pass.emit(forward, "multiply_backward", { dy, x: a }, { dx });
  pass.contribute(forward, b, dx);
}

/** Every operand's gradient is a slice of dy's channels. */
function concatRule(pass: Differentiation, forward: DraftInstruction, dy: string): void {
  const { draft } = pass;
  const [in_channels, in_width = 1, in_height = 1] = draft.get(dy).shape.toReversed();
  let offset = 0;
  for (const operand of Object.values(forward.inputs)) {
    const out_channels = draft.get(operand).shape.at(-1)!;
    const first = offset;
    offset += out_channels;
    if (!pass.wants(operand)) continue;
    const channels = Int32Array.from({ length: out_channels }, (_, c) => first + c);
    const map = draft.constant(`map/${forward.layer}/${first}`, [out_channels], channels);
    const y = pass.gradientLike(operand);
    pass.emit(forward, "gather", { x: dy, map }, { y }, {
      in_height,
      in_width,
      in_channels,
      out_height: in_height,
      out_width: in_width,
      out_channels,
      start_row: 0,
      start_column: 0,
      stride_height: 1,
      stride_width: 1,
    });
    pass.contribute(forward, operand, y);
  }
}

/** The transpose of a transposed convolution is the convolution. */
function transposedRule(pass: Differentiation, forward: DraftInstruction, dy: string): void {
  const { dy: x, packed: weight } = forward.inputs;
  const geometry = forward.attributes;
  if (pass.wants(x)) {
    const y = pass.gradientLike(x);
    pass.emit(forward, "convolution", { x: dy, packed: weight }, { y }, { ...geometry, relu: 0 });
    pass.contribute(forward, x, y);
  }
  if (pass.wants(weight)) {
    const dw = pass.parameterGradient(weight);
    pass.emitWeights(forward, { x: dy, dy: x }, { dw }, geometry);
  }
}

function preluRule(pass: Differentiation, forward: DraftInstruction, dy: string): void {
  const { x, slope } = forward.inputs;
  if (pass.wants(slope)) {
    const dslope = pass.parameterGradient(slope);
    pass.emit(forward, "prelu_backward_slope", { dy, x }, { dslope });
  }
  if (!pass.wants(x)) return;
  const dx = pass.gradientLike(x);
  pass.emit(forward, "prelu_backward", { dy, x, slope }, { dx });
  pass.contribute(forward, x, dx);
}

/** Of layer and group norm. */
function normRule(pass: Differentiation, forward: DraftInstruction, dy: string): void {
  const { x, scale, offset } = forward.inputs;
  const { attributes } = forward;
  const [ofInput, ofParameters] = forward.op === "group_norm"
    ? ["group_norm_backward", "group_norm_backward_parameters"] as const
    : ["layer_norm_backward", "layer_norm_backward_parameters"] as const;
  if (pass.wants(scale) || pass.wants(offset)) {
    const outputs = {
      dscale: pass.parameterGradient(scale),
      doffset: pass.parameterGradient(offset),
    };
    pass.emit(forward, ofParameters, { dy, x }, outputs, attributes);
  }
  if (!pass.wants(x)) return;
  const dx = pass.gradientLike(x);
  pass.emit(forward, ofInput, { dy, x, scale }, { dx }, attributes);
  pass.contribute(forward, x, dx);
}

const RULES: Partial<Record<DraftInstruction["op"], Rule>> = {
  convolution: convolutionRule,
  batch_norm_apply: batchNormRule,
  relu: unaryRule("relu_backward", ({ outputs }) => ({ y: outputs.y })),
  add(pass, forward, dy) {
    const dz = pass.throughRelu(forward, dy);
    for (const operand of [forward.inputs.a, forward.inputs.b]) {
      if (pass.wants(operand)) pass.contribute(forward, operand, dz);
    }
  },
  activation: unaryRule("activation_backward", ({ inputs }) => ({ x: inputs.x })),
  multiply: multiplyRule,
  concat: concatRule,
  convolution_backward_data: transposedRule,
  prelu: preluRule,
  layer_norm: normRule,
  group_norm: normRule,
  local_response_norm: unaryRule("local_response_norm_backward", ({ inputs }) => ({ x: inputs.x })),
  softmax: unaryRule("softmax_backward", ({ outputs }) => ({ y: outputs.y })),
  resize: unaryRule("resize_backward", ({ inputs }) => {
    const { x: _x, ...tables } = inputs;
    return tables;
  }),
  max_pool: unaryRule("max_pool_backward", ({ outputs }) => ({ winners: outputs.winners })),
  average_pool: unaryRule("average_pool_backward", () => ({})),
  gather: unaryRule("gather_backward", ({ inputs }) => ({ map: inputs.map })),
  gate: unaryRule("gate", ({ inputs }) => ({ gates: inputs.gates }), false),
  // Gradients have one type throughout, whatever the forward values have.
  cast: (pass, forward, dy) => pass.contribute(forward, forward.inputs.x, dy),
};

/** Differentiates `forward`; see the head of this file. */
export function differentiate(
  draft: Draft,
  forward: readonly DraftInstruction[],
  options: DifferentiateOptions,
): Differentiated {
  const pass = new Differentiation(draft, forward, options);
  for (const { value, gradient } of options.seeds) pass.gradients.set(value, gradient);
  for (const instruction of forward.toReversed()) {
    const y = writtenBy(instruction);
    const dy = y === undefined ? undefined : pass.gradients.get(y);
    if (dy === undefined || !pass.wants(y)) continue;
    const rule = RULES[instruction.op];
    if (rule === undefined) {
      throw new SecateurError(
        "graph-unsupported",
        `${instruction.layer} (${instruction.op}) has no backward pass; train without it.`,
      );
    }
    rule(pass, instruction, dy);
  }
  const gradients = pass.sumParameterGradients();
  return { instructions: pass.instructions, gradients };
}
