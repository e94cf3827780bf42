/** Activations, sums and products: graph to instructions. */

import { SecateurError } from "../../errors.ts";
import { ACTIVATION_KINDS } from "../../graph/graph.ts";
import { activationParameters } from "../../graph/operators/activation.ts";
import { mapOfAll, type NodeOf, numbersOfChannels } from "../../graph/operators/operator.ts";
import { type LoweredValue, type Lowering, nhwc } from "./lowering.ts";

type Elementwise = NodeOf<"relu"> | NodeOf<"activation"> | NodeOf<"add"> | NodeOf<"multiply">;

function refuse(lowering: Lowering, node: Elementwise, a: LoweredValue, b: LoweredValue): never {
  throw new SecateurError(
    "graph-unsupported",
    `${node.name} (${node.op}) of ${lowering.graph.name} combines a flattened picture of ` +
      `${a.height}x${a.width}x${a.channels} with features of ` +
      `${b.height}x${b.width}x${b.channels}.`,
  );
}

/** A picture of one channel, repeated for as many as the other operand has. */
function spread(
  lowering: Lowering,
  node: NodeOf<"add"> | NodeOf<"multiply">,
  map: LoweredValue,
  { channels }: LoweredValue,
): LoweredValue {
  const { draft, options: { entry, images, dtype } } = lowering;
  const { height, width } = map;
  const y = draft.value({
    name: `${entry}:spread/${node.output}`,
    dtype,
    shape: nhwc(height, width, channels),
    images,
    place: "activations",
  });
  lowering.instructions.push({
    op: "gather",
    inputs: {
      x: map.name,
      map: draft.constant(`map/${node.name}`, [channels], new Int32Array(channels)),
    },
    outputs: { y },
    attributes: {
      in_height: height,
      in_width: width,
      in_channels: 1,
      out_height: height,
      out_width: width,
      out_channels: channels,
      start_row: 0,
      start_column: 0,
      stride_height: 1,
      stride_width: 1,
    },
    layer: node.name,
  });
  return { ...map, name: y, channels };
}

/** One number a channel, repeated for all pixels of the other operand. */
function repeated(
  lowering: Lowering,
  node: NodeOf<"add">,
  numbers: LoweredValue,
  { height, width }: LoweredValue,
): LoweredValue {
  const { draft, options: { entry, images, dtype } } = lowering;
  const { channels } = numbers;
  const y = draft.value({
    name: `${entry}:repeated/${node.output}`,
    dtype,
    shape: nhwc(height, width, channels),
    images,
    place: "activations",
  });
  const rows = draft.constant(`zeros/${height}`, [height, 1], new Int32Array(height));
  const columns = draft.constant(`zeros/${width}`, [width, 1], new Int32Array(width));
  const ones = (extent: number) =>
    draft.constant(`ones/${extent}`, [extent, 1], new Float32Array(extent).fill(1));
  lowering.instructions.push({
    op: "resize",
    inputs: {
      x: numbers.name,
      rows,
      row_shares: ones(height),
      columns,
      column_shares: ones(width),
    },
    outputs: { y },
    attributes: {
      in_height: 1,
      in_width: 1,
      channels,
      out_height: height,
      out_width: width,
      taps: 1,
    },
    layer: node.name,
  });
  return { ...numbers, name: y, height, width };
}

/** Both operands, of which one may be a map for all channels of the other. */
function operands(lowering: Lowering, node: NodeOf<"add"> | NodeOf<"multiply">) {
  const a = lowering.input(node), b = lowering.input(node, 1);
  const shapes = node.inputs.map((name) => lowering.shapes.get(name)!);
  const map = mapOfAll(shapes);
  if (map !== undefined) {
    return map === 0 ? [spread(lowering, node, a, b), b] : [a, spread(lowering, node, b, a)];
  }
  // The instruction for products has one number a channel on the right by itself.
  const numbers = node.op === "add" && !a.flattened && !b.flattened
    ? numbersOfChannels(shapes)
    : undefined;
  if (node.op !== "add" || numbers === undefined) return [a, b];
  return numbers === 0 ? [repeated(lowering, node, a, b), b] : [a, repeated(lowering, node, b, a)];
}

function lowerBinary(lowering: Lowering, node: NodeOf<"add"> | NodeOf<"multiply">): void {
  const [a, b] = operands(lowering, node);
  const same = a.flattened === b.flattened && a.height === b.height && a.width === b.width;
  if (node.op === "add") {
    if (!same) refuse(lowering, node, a, b);
    return lowering.emit(node, "add", { a: a.name, b: b.name }, { relu: 0 }, { like: a });
  }
  const single = (value: LoweredValue) => value.height === 1 && value.width === 1;
  const scaled = !a.flattened && !b.flattened && (single(a) || single(b));
  if (!same && !scaled) refuse(lowering, node, a, b);
  // The instruction has one number a channel on the right.
  const [left, right] = !same && single(a) ? [b, a] : [a, b];
  lowering.emit(node, "multiply", { a: left.name, b: right.name }, {}, { like: left });
}

/** Flattened pictures may pass through, as every element is treated alike. */
export function lowerElementwise(lowering: Lowering, node: Elementwise): void {
  if (node.op === "add" || node.op === "multiply") return lowerBinary(lowering, node);
  const x = lowering.input(node);
  if (node.op === "relu") return lowering.emit(node, "relu", { x: x.name }, {}, { like: x });
  const kind = ACTIVATION_KINDS.indexOf(node.kind);
  const attributes = { kind, ...activationParameters(node) };
  lowering.emit(node, "activation", { x: x.name }, attributes, { like: x });
}
