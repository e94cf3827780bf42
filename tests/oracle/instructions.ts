/**
 * What every instruction of native/operations.def means, in plain f64 loops: the oracle that
 * native kernels and autodiff are held to. Packed weights are the weights themselves.
 */

import { type OperationName, OPERATIONS } from "../../src/program/operations.ts";
import type { Program, Value } from "../../src/program/program.ts";
import { elementsOf } from "../../src/program/program.ts";
import {
  convolution,
  convolutionBackwardData,
  convolutionBackwardWeights,
  type Ints,
  normalEquations,
  type Operand,
} from "./convolution_instructions.ts";
import {
  averagePool,
  averagePoolBackward,
  gather,
  gatherBackward,
  maxPool,
  maxPoolBackward,
} from "./pool_instructions.ts";
import { ACTIVATION_KINDS } from "../../src/graph/graph.ts";
import { ACTIVATIONS, SLOPES } from "./activations.ts";
import * as groups from "./group_instructions.ts";
import * as pixel from "./pixel_instructions.ts";
import { rankOf, singularValues } from "./svd.ts";

export type { Operand } from "./convolution_instructions.ts";

type Floats = Readonly<Record<string, number>>;
/** Arguments by name without the "?"; absent ones are undefined. */
type Arguments = Readonly<Record<string, Operand>>;
type Oracle = (inputs: Arguments, outputs: Arguments, ints: Ints, floats: Floats) => void;

const channelsOf = (operand: Operand) => operand.shape[operand.shape.length - 1];
const relu = (value: number) => Math.max(0, value);

/** data[i] of every channel of `x`: visit(index, channel). */
function eachElement(x: Operand, visit: (i: number, channel: number) => void): void {
  const channels = channelsOf(x);
  for (let i = 0; i < x.data.length; i++) visit(i, i % channels);
}

const foldBatchNorm: Oracle = (input, output, _ints, { epsilon }) => {
  const each = input.weight.data.length / input.weight.shape[0];
  const factors = input.scale.data.map((s, o) => s / Math.sqrt(input.variance.data[o] + epsilon));
  output.weight.data.set(input.weight.data.map((w, i) => w * factors[Math.floor(i / each)]));
  factors.forEach((factor, o) => {
    const shifted = (input.bias?.data[o] ?? 0) - input.mean.data[o];
    output.bias.data[o] = input.offset.data[o] + shifted * factor;
  });
};

const batchNormStatistics: Oracle = (input, output, _ints, { epsilon }) => {
  const { x } = input, channels = channelsOf(x), count = x.data.length / channels;
  const mean = new Float64Array(channels), squares = new Float64Array(channels);
  eachElement(x, (i, c) => mean[c] += x.data[i] / count);
  eachElement(x, (i, c) => squares[c] += (x.data[i] - mean[c]) ** 2);
  const momentum = input.momentum.data[0];
  const mix = (old: number, now: number) => (1 - momentum) * old + momentum * now;
  for (let c = 0; c < channels; c++) {
    const unbiased = squares[c] / Math.max(1, count - 1);
    output.mean.data[c] = mean[c];
    output.inverse_deviation.data[c] = 1 / Math.sqrt(squares[c] / count + epsilon);
    output.running_mean.data[c] = mix(input.running_mean.data[c], mean[c]);
    output.running_variance.data[c] = mix(input.running_variance.data[c], unbiased);
  }
};

function normalise(
  input: Arguments,
  y: Operand,
  inverseDeviation: (channel: number) => number,
  rectify: boolean,
): void {
  const { x, mean, scale, offset, residual } = input;
  eachElement(x, (i, c) => {
    const normalised = (x.data[i] - mean.data[c]) * inverseDeviation(c);
    const value = normalised * scale.data[c] + offset.data[c] + (residual?.data[i] ?? 0);
    y.data[i] = rectify ? relu(value) : value;
  });
}

const batchNormApply: Oracle = (input, output, ints) =>
  normalise(input, output.y, (c) => input.inverse_deviation.data[c], ints.relu === 1);

const batchNormInference: Oracle = (input, output, ints, { epsilon }) => {
  const inverse = (c: number) => 1 / Math.sqrt(input.variance.data[c] + epsilon);
  normalise(input, output.y, inverse, ints.relu === 1);
};

/** dy where the layer's own output, if given, is positive. */
const through = ({ dy, y }: Arguments, i: number) => y && !(y.data[i] > 0) ? 0 : dy.data[i];

const batchNormBackwardReduce: Oracle = (input, output) => {
  const { x, mean, inverse_deviation } = input;
  output.dscale.data.fill(0);
  output.doffset.data.fill(0);
  eachElement(x, (i, c) => {
    const dz = through(input, i);
    output.doffset.data[c] += dz;
    output.dscale.data[c] += dz * (x.data[i] - mean.data[c]) * inverse_deviation.data[c];
  });
};

const batchNormBackwardApply: Oracle = (input, output) => {
  const { x, mean, inverse_deviation, scale, dscale, doffset } = input;
  const count = x.data.length / channelsOf(x);
  eachElement(x, (i, c) => {
    const dz = through(input, i);
    const normalised = (x.data[i] - mean.data[c]) * inverse_deviation.data[c];
    const centred = dz - doffset.data[c] / count - normalised * dscale.data[c] / count;
    output.dx.data[i] = scale.data[c] * inverse_deviation.data[c] * centred;
    if (output.dresidual) output.dresidual.data[i] = dz;
  });
};

function logSoftmax(logits: Float64Array, temperature: number): Float64Array {
  const scaled = logits.map((logit) => logit / temperature);
  const largest = Math.max(...scaled);
  const normaliser = largest +
    Math.log(scaled.reduce((sum, value) => sum + Math.exp(value - largest), 0));
  return scaled.map((value) => value - normaliser);
}

const softmaxCrossEntropy: Oracle = (input, output, _ints, floats) => {
  const { smoothing, distill, temperature, gradient_scale } = floats;
  const { logits, labels, teacher, other_labels, label_shares } = input;
  const classes = channelsOf(logits);
  for (let image = 0; image < logits.images; image++) {
    const row = (of: Operand) => of.data.subarray(image * classes, (image + 1) * classes);
    const hard = teacher ? 1 - distill : 1;
    const logShare = logSoftmax(row(logits), 1);
    const own = label_shares ? label_shares.data[image] : 1;
    const target = logShare.map((_, c) =>
      (1 - smoothing) * (c === labels.data[image] ? own : 0) +
      (1 - smoothing) * (c === other_labels?.data[image] ? 1 - own : 0) + smoothing / classes
    );
    let loss = -hard * logShare.reduce((sum, value, c) => sum + target[c] * value, 0);
    const gradient = logShare.map((value, c) => hard * (Math.exp(value) - target[c]));
    if (teacher) {
      const student = logSoftmax(row(logits), temperature);
      logSoftmax(row(teacher), temperature).forEach((wanted, c) => {
        const share = Math.exp(wanted);
        loss += distill * temperature ** 2 * share * (wanted - student[c]);
        gradient[c] += distill * temperature * (Math.exp(student[c]) - share);
      });
    }
    output.loss.data[image] = loss;
    if (output.dlogits) row(output.dlogits).set(gradient.map((value) => value * gradient_scale));
  }
};

const squaredError: Oracle = ({ output, wanted, previous }, result, _ints, floats) => {
  const { scale, gradient_scale } = floats;
  const elements = output.data.length / output.images;
  for (let image = 0; image < output.images; image++) {
    let sum = 0;
    for (let i = image * elements; i < (image + 1) * elements; i++) {
      const difference = output.data[i] - wanted.data[i];
      sum += difference ** 2;
      if (result.dx) result.dx.data[i] = 2 * scale * difference * gradient_scale;
    }
    result.loss.data[image] = (previous?.data[image] ?? 0) + scale * sum;
  }
};

const gate: Oracle = ({ x, gates }, { y }) => {
  const each = elementsOf(y), channels = channelsOf(x);
  const imagesPerRow = y.images / (gates.data.length / channels);
  // x may be y.
  const source = x.data.slice();
  y.data.forEach((_, i) => {
    const image = Math.floor(i / each), row = Math.floor(image / imagesPerRow);
    const from = (image % x.images) * each + i % each;
    y.data[i] = source[from] * gates.data[row * channels + i % channels];
  });
};

const rank: Oracle = ({ x }, { ranks }) => {
  const [height, width, channels] = x.shape;
  ranks.data.forEach((_, i) => {
    const image = Math.floor(i / channels), channel = i % channels;
    const map = Float64Array.from(
      { length: height * width },
      (_, pixel) => x.data[(image * height * width + pixel) * channels + channel],
    );
    ranks.data[i] = map.every(Number.isFinite)
      ? rankOf(singularValues(map, height, width), height, width).rank
      : -1;
  });
};

const sgd: Oracle = (input, output, _ints, { weight_decay }) => {
  const [rate, momentum] = input.hyper.data, scale = input.scale?.data[0] ?? 1;
  input.weight.data.forEach((weight, i) => {
    const pull = scale * input.gradient.data[i] + weight_decay * weight;
    const speed = momentum * input.velocity.data[i] + pull;
    output.velocity.data[i] = speed;
    output.weight.data[i] = weight - rate * (pull + momentum * speed);
  });
};

const adamw: Oracle = (input, output, _ints, { weight_decay }) => {
  const [rate, beta1, beta2, epsilon, step] = input.hyper.data;
  input.weight.data.forEach((weight, i) => {
    const gradient = (input.scale?.data[0] ?? 1) * input.gradient.data[i];
    const first = beta1 * input.first.data[i] + (1 - beta1) * gradient;
    const second = beta2 * input.second.data[i] + (1 - beta2) * gradient ** 2;
    output.first.data[i] = first;
    output.second.data[i] = second;
    const deviation = Math.sqrt(second / (1 - beta2 ** step)) + epsilon;
    const kept = weight * (1 - rate * weight_decay);
    output.weight.data[i] = kept - rate * first / (1 - beta1 ** step) / deviation;
  });
};

const activation: Oracle = ({ x }, { y }, { kind }, { alpha, beta }) => {
  const f = ACTIVATIONS[ACTIVATION_KINDS[kind]];
  y.data.set(x.data.map((value) => f(value, alpha, beta)));
};

const activationBackward: Oracle = ({ dy, x }, { dx }, { kind }, { alpha, beta }) => {
  const slope = SLOPES[ACTIVATION_KINDS[kind]];
  dx.data.set(dy.data.map((value, i) => value * slope(x.data[i], alpha, beta)));
};

/** Where the factor of element i of `x` is in `b`: as many, or one a channel and image. */
function factorOf(x: Operand, b: Operand): (i: number) => number {
  if (b.data.length === x.data.length) return (i) => i;
  const each = elementsOf(x), channels = channelsOf(x);
  return (i) => Math.floor(i / each) * channels + i % channels;
}

const multiply: Oracle = ({ a, b }, { y }) => {
  const factor = factorOf(a, b);
  y.data.set(a.data.map((value, i) => value * b.data[factor(i)]));
};

const multiplyBackward: Oracle = ({ dy, x }, { dx }) => {
  const factor = factorOf(x, dx);
  dx.data.fill(0);
  dy.data.forEach((value, i) => dx.data[factor(i)] += value * x.data[i]);
};

const concat: Oracle = (input, { y }) => {
  const operands = Object.values(input).filter((operand) => operand !== undefined);
  const pixels = y.data.length / channelsOf(y);
  let at = 0;
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (const operand of operands) {
      const channels = channelsOf(operand);
      for (let c = 0; c < channels; c++) y.data[at++] = operand.data[pixel * channels + c];
    }
  }
};

const ORACLES: Readonly<Record<OperationName, Oracle>> = {
  fold_batch_norm: foldBatchNorm,
  pack_convolution: (input, output) => output.packed.data.set(input.weight.data),
  convolution: (i, o, ints) => convolution(ints, i.x, i.packed, i.bias, i.residual, o.y),
  convolution_backward_data: (i, o, ints) => convolutionBackwardData(ints, i.dy, i.packed, o.dx),
  convolution_backward_weights: (i, o, ints) =>
    convolutionBackwardWeights(ints, i.x, i.dy, o.dw, o.db),
  batch_norm_statistics: batchNormStatistics,
  batch_norm_apply: batchNormApply,
  batch_norm_backward_reduce: batchNormBackwardReduce,
  batch_norm_backward_apply: batchNormBackwardApply,
  batch_norm_inference: batchNormInference,
  relu: ({ x }, { y }) => y.data.set(x.data.map(relu)),
  relu_backward: (input, { dx }) => dx.data.set(dx.data.map((_, i) => through(input, i))),
  add: ({ a, b }, { y }, ints) =>
    y.data.set(a.data.map((value, i) => {
      const sum = value + b.data[i];
      return ints.relu === 1 ? relu(sum) : sum;
    })),
  max_pool: (i, o, ints) => maxPool(ints, i.x, o.y, o.winners),
  max_pool_backward: (i, o, ints) => maxPoolBackward(ints, i.dy, i.winners, o.dx),
  average_pool: (i, o, ints) => averagePool(ints, i.x, o.y),
  average_pool_backward: (i, o, ints) => averagePoolBackward(ints, i.dy, o.dx),
  gather: (i, o, ints) => gather(ints, i.x, i.map, o.y),
  gather_backward: (i, o, ints) => gatherBackward(ints, i.dy, i.map, o.dx),
  cast: ({ x }, { y }) => y.data.set(x.data),
  softmax_cross_entropy: softmaxCrossEntropy,
  squared_error: squaredError,
  gate,
  rank,
  normal_equations: (i, o, ints) => normalEquations(ints, i.x, i.target, o.gram, o.cross),
  sgd,
  adamw,
  activation,
  activation_backward: activationBackward,
  multiply,
  multiply_backward: multiplyBackward,
  concat,
  prelu: (i, o) => pixel.prelu(i.x, i.slope, o.y),
  prelu_backward: (i, o) => pixel.preluBackward(i.dy, i.x, i.slope, o.dx),
  prelu_backward_slope: (i, o) => pixel.preluBackwardSlope(i.dy, i.x, o.dslope),
  resize: (i, o, ints) => pixel.resize(ints, i.x, i as pixel.Tables, o.y),
  resize_backward: (i, o, ints) => pixel.resizeBackward(ints, i.dy, i as pixel.Tables, o.dx),
  layer_norm: (i, o, _ints, floats) => pixel.layerNorm(i.x, i.scale, i.offset, o.y, floats),
  layer_norm_backward: (i, o, _ints, floats) =>
    pixel.layerNormBackward(i.dy, i.x, i.scale, o.dx, floats),
  layer_norm_backward_parameters: (i, o, _ints, floats) =>
    pixel.layerNormBackwardParameters(i.dy, i.x, o.dscale, o.doffset, floats),
  group_norm: (i, o, ints, floats) => groups.groupNorm(i.x, i.scale, i.offset, o.y, ints, floats),
  group_norm_backward: (i, o, ints, floats) =>
    groups.groupNormBackward(i.dy, i.x, i.scale, o.dx, ints, floats),
  group_norm_backward_parameters: (i, o, ints, floats) =>
    groups.groupNormBackwardParameters(i.dy, i.x, o.dscale, o.doffset, ints, floats),
  local_response_norm: (i, o, ints, floats) => pixel.localResponseNorm(i.x, o.y, ints, floats),
  local_response_norm_backward: (i, o, ints, floats) =>
    pixel.localResponseNormBackward(i.dy, i.x, o.dx, ints, floats),
  softmax: ({ x }, { y }) => pixel.softmax(x, y),
  softmax_backward: ({ dy, y }, { dx }) => pixel.softmaxBackward(dy, y, dx),
  add_gradients: ({ gradient, more }, { sum }) =>
    sum.data.set(gradient.data.map((value, i) => value + more.data[i])),
  sum_squares: ({ gradient, squares }, { total }) => {
    total.data[0] = gradient.data.reduce((sum, value) => sum + value ** 2, squares?.data[0] ?? 0);
  },
  clip_scale: ({ squares }, { scale }, _ints, { norm }) => {
    scale.data[0] = Math.min(1, norm / (Math.sqrt(squares.data[0]) + 1e-6));
  },
  average: ({ weight, average, pace }, output) =>
    average.data.forEach((value, i) => {
      output.average.data[i] = value + pace.data[0] * (weight.data[i] - value);
    }),
};

function byName<T>(names: readonly string[], items: readonly T[]): Record<string, T> {
  return Object.fromEntries(names.map((name, i) => [name.replace("?", ""), items[i]]));
}

/**
 * Runs one instruction over all its images, writing into the outputs' data. Arguments follow the
 * order of OPERATIONS; absent ones are undefined.
 */
export function runInstruction(
  op: OperationName,
  ints: readonly number[],
  floats: readonly number[],
  inputs: readonly (Operand | undefined)[],
  outputs: readonly (Operand | undefined)[],
): void {
  const operation = OPERATIONS[op];
  ORACLES[op](
    byName(operation.inputs, inputs) as Arguments,
    byName(operation.outputs, outputs) as Arguments,
    byName(operation.ints, ints),
    byName(operation.floats, floats),
  );
}

/** Weights that pack_convolution copies into each packed value: as many numbers, unpacked. */
function elementsHeld(program: Program): (index: number) => number {
  const packed = new Map<number, number>();
  for (const { op, inputs, outputs } of program.instructions) {
    if (op === "pack_convolution") packed.set(outputs[0], inputs[0]);
  }
  return (index) => elementsOf(program.values[packed.get(index) ?? index]);
}

/**
 * Runs an entry in f64. `values` holds data by value name, all images one after another; what is
 * absent starts as zeros, and everything the entry touches is there afterwards. Values do not
 * share memory, whatever their offsets say: a value keeps what was last written to its own name.
 */
export function interpret(
  program: Program,
  entryName: string,
  values: Map<string, Float64Array>,
): void {
  const entry = program.entries.find(({ name }) => name === entryName);
  if (!entry) throw new Error(`no entry named ${entryName}`);
  const held = elementsHeld(program);
  const operand = (index: number): Operand | undefined => {
    if (index < 0) return undefined;
    const value: Value = program.values[index];
    const length = held(index) * Math.max(1, value.images);
    let data = values.get(value.name);
    if (data === undefined) values.set(value.name, data = new Float64Array(length));
    if (data.length !== length) throw new Error(`${value.name}: ${data.length} of ${length}`);
    return { shape: value.shape, images: value.images, data };
  };
  for (const instruction of program.instructions.slice(entry.first, entry.first + entry.count)) {
    const { op, ints, floats } = instruction;
    const inputs = instruction.inputs.map(operand), outputs = instruction.outputs.map(operand);
    runInstruction(op, ints, floats, inputs, outputs);
  }
}
