/** What the import of every operator shares: values, parameters and the nodes made so far. */

import { SecateurError } from "../../../errors.ts";
import type { Node, Shape } from "../../../graph/graph.ts";
import { operatorOf } from "../../../graph/operators/table.ts";
import { elementCount, type Tensor } from "../../../tensor.ts";
import { quoted } from "../../bytes.ts";
import { FreshNames, storable } from "../names.ts";
import { isFloat, Refusal, shown } from "../read/array.ts";
import type { ConstantValue, FeatureValue } from "./features.ts";
import type { PendingValue } from "./pending.ts";
import type { OnnxModel, OnnxNode } from "../read/reader.ts";

// Bounds on what a file may make this program count, allocate or loop over.
const LARGEST_EXTENT = 2 ** 16;
const LARGEST_VALUE = 2 ** 26;
const MOST_CHANNELS = 2 ** 22;
const FREE_COPIES = 2 ** 24;
const COPIES = 4;

/**
 * The batch of a model that leaves it open. Shapes are computed with this prime above all extents
 * that are accepted, so that shape arithmetic needs no symbols and what depends on the batch is
 * recognised: only the batch itself is this number.
 */
export const OPEN_BATCH = 65_537;

/** What a node that was refused would have written. */
export interface UnknownValue {
  readonly kind: "unknown";
  /** Whether it would not depend on the model's input. */
  readonly constant: boolean;
}

export type Value = FeatureValue | ConstantValue | PendingValue | UnknownValue;

type Unnamed<N> = N extends Node ? Omit<N, "name" | "output"> : never;

/** Makes the layers of a value that was put off. */
export type Lower = (importer: Importer, value: PendingValue) => FeatureValue;

/** The graph under construction. */
export class Importer {
  readonly model: OnnxModel;
  readonly opset: number;
  readonly batch: number;
  readonly values = new Map<string, Value>();
  readonly nodes: Node[] = [];
  readonly parameters = new Map<string, Tensor>();
  /** Whether values on the way are cast to f16. */
  half = false;
  /** Whether a node asked for what it does in training, and got what it does at inference. */
  trainingMode = false;
  /** Layers of the graph that stand for a LogSoftmax, which only the end of a model may have. */
  readonly logarithms = new Map<string, OnnxNode>();
  /** Whether they are read at all. */
  readonly readsLogarithms: boolean;
  readonly #layerNames = new FreshNames();
  readonly #valueNames = new FreshNames();
  readonly #parameterNames = new FreshNames();
  readonly #registered = new Map<string, string>();
  readonly #uses = new Map<string, number>();
  /** As #uses, without those that look at the shape alone. */
  readonly #readers = new Map<string, number>();
  /** ONNX values that are others seen differently, or computed from one other alone. */
  readonly #sources = new Map<string, string>();
  /** Parameter -> the constant it was made of. */
  readonly #constants = new Map<string, string>();
  /** Position in the file of the node that each layer stands for. */
  readonly #positions = new Map<Node, number>();
  readonly #order: ReadonlyMap<string, number>;
  readonly #lower: Lower;
  readonly #shapes = new Map<string, Shape>();
  readonly #writers = new Map<string, number>();
  /** Position in the file of the node from which on a value is what a changed layer writes. */
  readonly #since = new Map<string, number>();
  #channels = 0;
  #copied = 0;
  #stored = 0;

  constructor(model: OnnxModel, batch: number, lower: Lower, readsLogarithms = true) {
    this.readsLogarithms = readsLogarithms;
    this.model = model;
    this.opset = model.opset;
    this.batch = batch;
    this.#lower = lower;
    this.#order = new Map(
      model.nodes.flatMap(({ outputs }, position) =>
        outputs.map((output) => [output, position] as const)
      ),
    );
    const count = (counts: Map<string, number>, name: string) =>
      counts.set(name, (counts.get(name) ?? 0) + 1);
    for (
      const { op, inputs } of [
        { op: "", inputs: model.outputs.map(({ name }) => name) },
        ...model.nodes,
      ]
    ) {
      for (const name of inputs) {
        count(this.#uses, name);
        if (op !== "Shape") count(this.#readers, name);
      }
    }
  }

  /** How many nodes read a value; being an output of the model counts as one. */
  uses(value: string): number {
    return this.#uses.get(value) ?? 0;
  }

  /** Makes a value known that no node of the graph writes. */
  give(onnxName: string, shape: readonly number[], view?: "channels_last"): FeatureValue {
    const [batch, height, width, channels] = shape;
    const value = this.#checked({
      kind: "feature",
      name: this.#valueNames.take(storable(onnxName)),
      shape: view === undefined ? shape : [batch, channels, height, width],
    });
    const seen = view === undefined ? value : { ...value, shape, view };
    this.values.set(onnxName, seen);
    return seen;
  }

  /** The value of an input; undefined when it is left out. */
  input(node: OnnxNode, index: number): Value | undefined {
    const name = node.inputs[index] ?? "";
    return name === "" ? undefined : this.values.get(name);
  }

  /**
   * Whether nothing but this path reads a value and those it is seen through, so that the layer that
   * computes it may be changed.
   */
  readOnce(value: string): boolean {
    for (let name: string | undefined = value; name !== undefined; name = this.#sources.get(name)) {
      if (this.#readers.get(name) !== 1) return false;
    }
    return true;
  }

  /** An input that the model computes, in any layout; throws a Refusal for constants. */
  viewed(node: OnnxNode, index = 0): FeatureValue {
    const value = this.input(node, index);
    if (value?.kind === "feature") return value;
    if (value?.kind === "pending") return this.force(value);
    throw new Refusal(
      value === undefined ? `lacks its input ${index}` : `has the constant input ${index}`,
    );
  }

  /** An input that the model computes, laid out as in the graph; throws a Refusal for others. */
  feature(node: OnnxNode, index = 0): FeatureValue {
    const value = this.viewed(node, index);
    if (value.view === undefined) return value;
    if (value.view === "expanded") return this.#repeated(node, value);
    throw new Refusal(
      `reads ${this.described(value)} where it needs [batch, channels, height, width] or ` +
        "[batch, features]",
    );
  }

  /** One number a channel as a picture of them. */
  #repeated(node: OnnxNode, { name, shape: [, , height, width] }: FeatureValue): FeatureValue {
    return this.emitPart(node, "/expanded", {
      op: "resize",
      inputs: [name],
      mode: "nearest",
      coordinates: "asymmetric",
      rounding: "floor",
      size: [height, width],
      scales: [height, width],
    });
  }

  /** The layers of a value that was put off; throws a Refusal that names its node. */
  force(value: PendingValue): FeatureValue {
    const [output] = value.node.outputs;
    try {
      const made = this.#lower(this, value);
      this.values.set(output, made);
      return made;
    } catch (thrown) {
      if (!(thrown instanceof Refusal)) throw thrown;
      this.values.set(output, { kind: "unknown", constant: false });
      throw thrown.at(value.node);
    }
  }

  /** Puts off a value that only what reads it can tell the meaning of. */
  postpone(value: PendingValue): void {
    const { node: { inputs, outputs: [output] } } = value;
    this.values.set(output, value);
    const computed = inputs.filter((name) => {
      const kind = this.values.get(name)?.kind;
      return kind === "feature" || kind === "pending";
    });
    if (computed.length === 1) this.#sources.set(output, computed[0]);
  }

  /** A feature of [batch, channels, height, width]; throws a Refusal for others. */
  picture(node: OnnxNode, index = 0): FeatureValue {
    const value = this.feature(node, index);
    if (value.shape.length === 4) return value;
    throw new Refusal(`reads ${this.described(value)} where it needs a picture`);
  }

  /** An input known now, undefined when left out; throws a Refusal when it is computed. */
  constant(node: OnnxNode, index: number): ConstantValue | undefined {
    const value = this.input(node, index);
    if (value === undefined || value.kind === "constant") return value;
    throw new Refusal(`computes its input ${index}, which must be constant`);
  }

  /** As `constant`, but it must be there. */
  requiredConstant(node: OnnxNode, index: number): ConstantValue {
    const value = this.constant(node, index);
    if (value !== undefined) return value;
    throw new Refusal(`lacks its input ${index}`);
  }

  /** Shape of a value for a sentence, with the open batch as N. */
  described({ shape }: Pick<FeatureValue, "shape">): string {
    return shown(shape).replace(`[${OPEN_BATCH}`, "[N");
  }

  /** Whether a shape starts with the batch. */
  isBatched(shape: readonly number[]): boolean {
    return shape[0] === this.batch && shape.slice(1).every((extent) => extent !== OPEN_BATCH);
  }

  /** The first output of a node is a value that exists already. */
  alias(node: OnnxNode, value: FeatureValue): void {
    this.values.set(node.outputs[0], value);
    const source = node.inputs.find((input) => {
      const known = this.values.get(input);
      return known?.kind === "feature" && known.name === value.name;
    });
    if (source !== undefined) this.#sources.set(node.outputs[0], source);
  }

  /** Appends a layer that writes the node's first output. */
  emit(node: OnnxNode, layer: Unnamed<Node>): FeatureValue {
    const value = this.emitPart(node, "", layer);
    this.values.set(node.outputs[0], value);
    this.#sources.delete(node.outputs[0]);
    return value;
  }

  /** As `emit`, for a layer that keeps the shape; the value is laid out as `like` is. */
  emitLike(node: OnnxNode, like: FeatureValue, layer: Unnamed<Node>): FeatureValue {
    const made = this.emit(node, layer);
    const same = like.view === "reshaped" && made.shape.join() === like.shape.join();
    if (like.view === undefined || same) return made;
    const value = { ...like, name: made.name };
    this.values.set(node.outputs[0], value);
    return value;
  }

  /**
   * Appends a layer that does a part of a node's work; names get `suffix`, which is empty for the
   * part that writes the node's output.
   */
  emitPart(node: OnnxNode, suffix: string, layer: Unnamed<Node>): FeatureValue {
    const output = this.#valueNames.take(storable(node.outputs[0] + suffix));
    const named = {
      ...layer,
      name: this.#layerNames.take(storable(node.name + suffix)),
      output,
    } as Node;
    const inputs = named.inputs.map((name) => this.shapeOf(name));
    let shape: Shape;
    try {
      shape = operatorOf(named).shape(named, inputs, this.parameters);
    } catch (thrown) {
      throw new Refusal(thrown instanceof Error ? thrown.message : String(thrown));
    }
    const value = this.#checked({ kind: "feature", name: output, shape: [this.batch, ...shape] });
    this.#writers.set(output, this.nodes.length);
    this.nodes.push(named);
    this.#positions.set(named, this.#order.get(node.outputs[0]) ?? 0);
    this.#shapes.set(output, shape);
    return value;
  }

  /** The layers in the order of the file's nodes, which those put off were not made in. */
  ordered(): Node[] {
    const position = (node: Node) => this.#positions.get(node)!;
    return [...this.nodes].sort((a, b) => position(a) - position(b));
  }

  /** Per-image shape of a value of the graph. */
  shapeOf(name: string): Shape {
    return this.#shapes.get(name)!;
  }

  /**
   * Registers a weight under its own name. `form` tells apart what is made of one initializer in
   * different ways; the same form is the same, shared parameter. Vectors of equal elements are never
   * shared: exporters merge the biases and scales that layers were given at the start.
   */
  parameter({ name, array }: ConstantValue, form = "", make?: () => Tensor): string {
    const key = `${form}\n${name}`;
    const known = this.#registered.get(key);
    const uniform = () =>
      array.shape.length === 1 && array.data.every((value) => value === array.data[0]);
    if (known !== undefined && !uniform()) return known;
    if (!isFloat(array.dtype)) throw new Refusal(`has ${array.dtype} weights ${quoted(name)}`);
    if (array.data.length === 0) throw new Refusal(`has empty weights ${quoted(name)}`);
    this.spendCopies(array.data.length);
    const registered = this.#parameterNames.take(storable(name));
    this.#registered.set(key, registered);
    this.#constants.set(registered, name);
    const { shape, data } = make?.() ?? array;
    this.parameters.set(registered, {
      shape,
      data: data instanceof Float32Array ? data : Float32Array.from(data),
    });
    return registered;
  }

  /**
   * Must be told of numbers that a node makes of a constant: many nodes that each make others of one
   * would fill the memory. Throws a Refusal when that is more than any model needs.
   */
  spendCopies(elements: number): void {
    this.#copied += elements;
    if (this.#copied <= FREE_COPIES + COPIES * this.#stored) return;
    // Constants are still being folded while layers are made of others.
    this.#stored = this.#constantElements();
    if (this.#copied <= FREE_COPIES + COPIES * this.#stored) return;
    throw new Refusal("makes more numbers of the model's constants than any model needs");
  }

  #constantElements(): number {
    let stored = 0;
    for (const value of this.values.values()) {
      if (value.kind === "constant") stored += value.array.data.length;
    }
    return stored;
  }

  /** Registers other contents of a parameter: under its name, unless others read the constant. */
  rewritten(parameter: string, tensor: Tensor): string {
    this.spendCopies(tensor.data.length);
    const alone = this.uses(this.#constants.get(parameter) ?? "") <= 1;
    const name = alone ? parameter : this.#parameterNames.take(storable(parameter));
    this.parameters.set(name, tensor);
    return name;
  }

  /** The layer that writes a value of the graph. */
  writer(value: string): Node | undefined {
    const index = this.#writers.get(value);
    return index === undefined ? undefined : this.nodes[index];
  }

  /**
   * Puts another layer in the place of the one that writes the same value, which then is what `node`
   * writes, and no longer what the nodes before it do.
   */
  replace(layer: Node, node: OnnxNode): void {
    this.#since.set(layer.output, this.#order.get(node.outputs[0]) ?? 0);
    const index = this.#writers.get(layer.output)!;
    this.#positions.set(layer, this.#positions.get(this.nodes[index])!);
    this.nodes[index] = layer;
  }

  /** Whether a value of the graph is what the file calls `onnxName`, and lies as it does. */
  stands({ name, view }: FeatureValue, onnxName: string): boolean {
    const position = this.#order.get(onnxName) ?? -1;
    return view === undefined && position >= (this.#since.get(name) ?? -1);
  }

  #checked(value: FeatureValue): FeatureValue {
    const { shape } = value;
    const extents = shape.slice(1);
    const sensible = elementCount(extents) <= LARGEST_VALUE &&
      extents.every((extent) => Number.isInteger(extent) && extent > 0 && extent <= LARGEST_EXTENT);
    if (!sensible) throw new Refusal(`makes a value of the shape ${this.described(value)}`);
    this.#channels += extents[0];
    if (this.#channels > MOST_CHANNELS) {
      // At once: a node that makes many takes long to refuse, and thousands may follow.
      throw new SecateurError(
        "graph-unsupported",
        `${this.model.source}: expected values of at most ${MOST_CHANNELS} channels in all, but ` +
          `there are more at ${quoted(value.name)}; export a smaller model.`,
      );
    }
    this.#shapes.set(value.name, extents);
    return value;
  }
}
