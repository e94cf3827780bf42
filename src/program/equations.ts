/** Entries that sum what least squares needs of layers, over all pictures that pass. */

import { SecateurError } from "../errors.ts";
import type { Draft, DraftInstruction } from "./draft.ts";
import { type Built, type Context, finish, lowerFor, NOTHING, optimize } from "./entries.ts";
import { convolutionAttributes } from "./lower/convolution_attributes.ts";
import type { Lowered } from "./lower/lower.ts";
import { nhwc } from "./lower/lowering.ts";
import { removeDead } from "./passes/dead.ts";
import type { EquationsRequest, MomentsRequest } from "./requests.ts";

function notThere(entry: string, what: string): SecateurError {
  return new SecateurError(
    "program-invalid",
    `${entry} asks for the sums of ${what}, which is no value and no convolution or linear layer ` +
      `of the graph.`,
  );
}

/** What a layer with weights reads and writes, and how. Throws "program-invalid" where there is none. */
function layerOf({ instructions }: Lowered, entry: string, layer: string) {
  const found = instructions.find((one) => one.layer === layer && one.op === "convolution");
  if (found === undefined) throw notThere(entry, layer);
  const { relu: _relu, ...geometry } = found.attributes;
  return { geometry, x: found.inputs.x, y: found.outputs.y };
}

/** The instruction that sums what least squares needs of the unknowns of a convolution. */
function normalEquations(
  draft: Draft,
  layer: string,
  geometry: Readonly<Record<string, number>>,
  inputs: { readonly x: string; readonly target: string },
  names: { readonly gram: string; readonly cross: string },
): DraftInstruction {
  const { groups, in_channels, out_channels, kernel_height, kernel_width } = geometry;
  const unknowns = in_channels / groups * kernel_height * kernel_width + 1;
  const sums = (name: string, columns: number) =>
    draft.value({
      name: `${name}/${layer}`,
      dtype: "f64",
      shape: [groups, unknowns, columns],
      images: 0,
      place: "state",
    });
  return {
    op: "normal_equations",
    inputs,
    outputs: {
      gram: sums(names.gram, unknowns),
      cross: sums(names.cross, out_channels / groups),
    },
    attributes: { ...geometry, accumulate: 1 },
    layer,
  };
}

/** Adds a value of the network, each channel times its stretch, to the targets that are fed in. */
function besideTarget(
  draft: Draft,
  { name, layer }: EquationsRequest,
  { value, stretch }: NonNullable<EquationsRequest["beside"]>,
  lowered: Lowered,
  target: string,
): DraftInstruction {
  const x = lowered.values.get(value);
  if (x === undefined) throw notThere(name, value);
  const table = (kind: string, data: Float32Array) =>
    draft.constant(`${name}/${kind}`, [stretch.length], data);
  const nothing = new Float32Array(stretch.length);
  const y = draft.value({
    ...draft.get(target),
    name: `${name}/target`,
    place: "activations",
  });
  return {
    op: "batch_norm_inference",
    inputs: {
      x: x.name,
      scale: table("stretch", stretch),
      offset: table("offset", nothing),
      mean: table("mean", nothing),
      variance: table("variance", nothing.map(() => 1)),
      residual: target,
    },
    outputs: { y },
    attributes: { relu: 0, epsilon: 0 },
    layer,
  };
}

/** Normal equations of one layer, accumulated. */
export function buildEquations(context: Context, request: EquationsRequest): Built {
  const { draft } = context;
  const { name, images, layer } = request;
  const lowered = lowerFor(context, name, images, "running");
  const { geometry, x } = layerOf(lowered, name, layer);
  const shape = nhwc(geometry.out_height, geometry.out_width, geometry.out_channels);
  const target = draft.value({
    name: `target/${images}x${shape.join("x")}`,
    dtype: "f32",
    shape,
    images,
    place: "feeds",
  });
  const adjusted = request.beside &&
    besideTarget(draft, request, request.beside, lowered, target);
  const operands = { x, target: adjusted?.outputs.y ?? target };
  const names = { gram: "gram", cross: "cross" };
  const equations = normalEquations(draft, layer, geometry, operands, names);
  const { gram, cross } = equations.outputs;
  const all = [...lowered.instructions, ...(adjusted ? [adjusted] : []), equations];
  const alive = removeDead(draft, all, [gram, cross]);
  // The value beside stays as the network has it: folding it away would change its layer's weights.
  const pinned = new Set(adjusted ? [adjusted.inputs.x] : []);
  const instructions = optimize(draft, alive, pinned);
  return {
    ...finish(context, name, images, instructions, []),
    compiled: {
      name,
      images,
      feeds: { images: lowered.images, target, gates: new Map() },
      gram,
      cross,
      ...NOTHING,
    },
  };
}

/** The sums of second moments; those against the targets are a by-product that nobody reads. */
const MOMENTS = { gram: "moments", cross: "moments against" };

/** Second moments of one layer's unknowns, against its own outputs. */
function layerMoments(draft: Draft, name: string, lowered: Lowered, layer: string) {
  const { geometry, x, y } = layerOf(lowered, name, layer);
  return normalEquations(draft, layer, geometry, { x, target: y }, MOMENTS);
}

/** Second moments of a value's channels, each cell a sample: those of a 1 x 1 layer that copies. */
function valueMoments(draft: Draft, name: string, lowered: Lowered, value: string) {
  const picture = lowered.values.get(value);
  if (picture === undefined) throw notThere(name, value);
  const geometry = convolutionAttributes(picture, picture, { kernel: [1, 1] });
  return normalEquations(
    draft,
    value,
    geometry,
    { x: picture.name, target: picture.name },
    MOMENTS,
  );
}

/** Second moments of what layers read and of values' channels, all in one pass, accumulated. */
export function buildMoments(context: Context, request: MomentsRequest): Built {
  const { draft } = context;
  const { name, images, layers, values } = request;
  const lowered = lowerFor(context, name, images, "running");
  const sums = [
    ...layers.map((layer) => layerMoments(draft, name, lowered, layer)),
    ...values.map((value) => valueMoments(draft, name, lowered, value)),
  ];
  const results = sums.flatMap(({ outputs }) => Object.values(outputs));
  const alive = removeDead(draft, [...lowered.instructions, ...sums], results);
  const instructions = optimize(draft, alive, new Set());
  return {
    ...finish(context, name, images, instructions, []),
    compiled: {
      name,
      images,
      feeds: { images: lowered.images, gates: new Map() },
      moments: new Map(sums.map(({ layer, outputs }) => [layer, outputs.gram])),
      ...NOTHING,
    },
  };
}
