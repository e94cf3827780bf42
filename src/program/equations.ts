/** Entries that sum what least squares needs of layers, over all pictures that pass. */

import { SecateurError } from "../errors.ts";
import type { Draft, DraftInstruction } from "./draft.ts";
import { type Built, type Context, finish, lowerFor, NOTHING, optimize } from "./entries.ts";
import { convolutionAttributes } from "./lower/convolution_attributes.ts";
import type { Lowered } from "./lower/lower.ts";
import { nhwc } from "./lower/lowering.ts";
import { removeDead } from "./passes/dead.ts";
import type { EquationsRequest, MomentsRequest } from "./requests.ts";

/** The instruction that applies a layer's weights. */
const convolutionOf = ({ instructions }: Lowered, layer: string): DraftInstruction | undefined =>
  instructions.find((one) => one.layer === layer && one.op === "convolution");

function notThere(entry: string, what: string): SecateurError {
  return new SecateurError(
    "program-invalid",
    `${entry} asks for the sums of ${what}, which is no value and no convolution or linear layer ` +
      `of the graph.`,
  );
}

/** Adds a value of the network, each channel times its stretch, to the targets that are fed in. */
function besideTarget(
  draft: Draft,
  { name, layer, beside }: EquationsRequest,
  lowered: Lowered,
  target: string,
): DraftInstruction {
  const { value, stretch } = beside!;
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
  const solved = convolutionOf(lowered, layer);
  if (solved === undefined) throw notThere(name, layer);
  const { relu: _relu, ...geometry } = solved.attributes;
  const { groups, in_channels, out_channels, out_height, out_width } = geometry;
  const unknowns = (in_channels / groups) * geometry.kernel_height * geometry.kernel_width + 1;
  const sums = (kind: string, shape: number[]) =>
    draft.value({ name: `${kind}/${layer}`, dtype: "f64", shape, images: 0, place: "state" });
  const gram = sums("gram", [groups, unknowns, unknowns]);
  const cross = sums("cross", [groups, unknowns, out_channels / groups]);
  const shape = nhwc(out_height, out_width, out_channels);
  const target = draft.value({
    name: `target/${images}x${shape.join("x")}`,
    dtype: "f32",
    shape,
    images,
    place: "feeds",
  });
  const adjusted = request.beside && besideTarget(draft, request, lowered, target);
  const equations: DraftInstruction = {
    op: "normal_equations",
    inputs: { x: solved.inputs.x, target: adjusted?.outputs.y ?? target },
    outputs: { gram, cross },
    attributes: { ...geometry, accumulate: 1 },
    layer,
  };
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

/** Second moments of one layer's unknowns, against its own outputs. */
function layerMoments(draft: Draft, name: string, lowered: Lowered, layer: string) {
  const solved = convolutionOf(lowered, layer);
  if (solved === undefined) throw notThere(name, layer);
  const { relu: _relu, ...geometry } = solved.attributes;
  return moments(draft, layer, geometry, solved.inputs.x, solved.outputs.y);
}

/** Second moments of a value's channels, each cell a sample: those of a 1 x 1 layer that copies. */
function valueMoments(draft: Draft, name: string, lowered: Lowered, value: string) {
  const picture = lowered.values.get(value);
  if (picture === undefined) throw notThere(name, value);
  const geometry = convolutionAttributes(picture, picture, { kernel: [1, 1] });
  return moments(draft, value, geometry, picture.name, picture.name);
}

function moments(
  draft: Draft,
  of: string,
  geometry: Record<string, number>,
  x: string,
  target: string,
): DraftInstruction {
  const { groups, in_channels, out_channels, kernel_height, kernel_width } = geometry;
  const unknowns = in_channels / groups * kernel_height * kernel_width + 1;
  const sums = (kind: string, shape: number[]) =>
    draft.value({ name: `${kind}/${of}`, dtype: "f64", shape, images: 0, place: "state" });
  return {
    op: "normal_equations",
    inputs: { x, target },
    outputs: {
      gram: sums("moments", [groups, unknowns, unknowns]),
      cross: sums("moments against", [groups, unknowns, out_channels / groups]),
    },
    attributes: { ...geometry, accumulate: 1 },
    layer: of,
  };
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
