/** What the import of every operator shares: values, parameters and the nodes made so far. */

import type { Node, Shape } from "../../graph/graph.ts";
import { operatorOf } from "../../graph/operators/table.ts";
import { elementCount, type Tensor } from "../../tensor.ts";
import { quoted } from "../bytes.ts";
import { type HostArray, isFloat, Refusal, shown } from "./array.ts";
import type { OnnxModel, OnnxNode } from "./reader.ts";

// Bounds on what a file may make this program count, allocate or loop over.
const LARGEST_EXTENT = 2 ** 16;
const LARGEST_VALUE = 2 ** 26;
const MOST_CHANNELS = 2 ** 22;

/**
 * The batch of a model that leaves it open. Shapes are computed with this prime above all extents
 * that are accepted, so that shape arithmetic needs no symbols and what depends on the batch is
 * recognised: only the batch itself is this number.
 */
export const OPEN_BATCH = 65_537;

/** A value computed from the model's input; `shape` includes the batch. */
export interface FeatureValue {
  readonly kind: "feature";
  /** Its name in the graph. */
  readonly name: string;
  readonly shape: readonly number[];
}

/** A value known while the model is read. */
export interface ConstantValue {
  readonly kind: "constant";
  readonly name: string;
  readonly array: HostArray;
}

/** What a node that was refused would have written. */
export interface UnknownValue {
  readonly kind: "unknown";
  /** Whether it would not depend on the model's input. */
  readonly constant: boolean;
}

export type Value = FeatureValue | ConstantValue | UnknownValue;

/** A softmax at the very end of a model, which its graph leaves out. */
export interface RemovedSoftmax {
  readonly node: string;
  readonly op: string;
  /** What the model calls its answer. */
  readonly output: string;
}

type Unnamed<N> = N extends Node ? Omit<N, "name" | "output"> : never;

/** Names that models are stored under elsewhere: printable, at most 256 characters. */
export class Names {
  readonly #taken = new Set<string>();
  /** Where to go on counting for a name that many want. */
  readonly #next = new Map<string, number>();

  /** The name itself where it can be kept, else one like it that nobody has. */
  unique(wanted: string): string {
    const cleaned = wanted.slice(0, 240).replace(/[^\x20-\x7e]/g, "_").replace(/^ /, "_");
    const plain = cleaned === "" ? "_" : cleaned;
    let name = plain;
    let k = this.#next.get(plain) ?? 2;
    for (; this.#taken.has(name); k++) name = `${plain}.${k}`;
    this.#next.set(plain, k);
    this.#taken.add(name);
    return name;
  }
}

/** The graph under construction. */
export class Importer {
  readonly model: OnnxModel;
  readonly opset: number;
  readonly batch: number;
  readonly values = new Map<string, Value>();
  readonly nodes: Node[] = [];
  readonly parameters = new Map<string, Tensor>();
  /** A final softmax that was left out. */
  removedSoftmax: RemovedSoftmax | undefined;
  readonly #layerNames = new Names();
  readonly #valueNames = new Names();
  readonly #parameterNames = new Names();
  readonly #registered = new Map<string, string>();
  readonly #uses = new Map<string, number>();
  readonly #shapes = new Map<string, Shape>();
  readonly #writers = new Map<string, number>();
  #channels = 0;

  constructor(model: OnnxModel, batch: number) {
    this.model = model;
    this.opset = model.opset;
    this.batch = batch;
    for (const name of [model.output.name, ...model.nodes.flatMap(({ inputs }) => inputs)]) {
      this.#uses.set(name, this.uses(name) + 1);
    }
  }

  /** How many nodes read a value; being the model's output counts as one. */
  uses(value: string): number {
    return this.#uses.get(value) ?? 0;
  }

  /** Makes a value known that no node of the graph writes. */
  give(onnxName: string, shape: readonly number[]): FeatureValue {
    const value = this.#checked({
      kind: "feature",
      name: this.#valueNames.unique(onnxName),
      shape,
    });
    this.values.set(onnxName, value);
    return value;
  }

  /** The value of an input; undefined when it is left out. */
  input(node: OnnxNode, index: number): Value | undefined {
    const name = node.inputs[index] ?? "";
    return name === "" ? undefined : this.values.get(name);
  }

  /** An input that the model computes from its own; throws a Refusal for constants. */
  feature(node: OnnxNode, index = 0): FeatureValue {
    const value = this.input(node, index);
    if (value?.kind === "feature") return value;
    throw new Refusal(
      value === undefined ? `lacks its input ${index}` : `has the constant input ${index}`,
    );
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
  described({ shape }: FeatureValue): string {
    return shown(shape).replace(`[${OPEN_BATCH}`, "[N");
  }

  /** Whether a shape starts with the batch. */
  isBatched(shape: readonly number[]): boolean {
    return shape[0] === this.batch && shape.slice(1).every((extent) => extent !== OPEN_BATCH);
  }

  /** The first output of a node is a value that exists already. */
  alias(node: OnnxNode, value: FeatureValue): void {
    this.values.set(node.outputs[0], value);
  }

  /** Appends a layer that writes the node's first output. */
  emit(node: OnnxNode, layer: Unnamed<Node>): FeatureValue {
    const value = this.emitPart(node, "", layer);
    this.values.set(node.outputs[0], value);
    return value;
  }

  /**
   * Appends a layer that does a part of a node's work; names get `suffix`, which is empty for the
   * part that writes the node's output.
   */
  emitPart(node: OnnxNode, suffix: string, layer: Unnamed<Node>): FeatureValue {
    const output = this.#valueNames.unique(node.outputs[0] + suffix);
    const named = { ...layer, name: this.#layerNames.unique(node.name + suffix), output } as Node;
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
    this.#shapes.set(output, shape);
    return value;
  }

  /** Per-image shape of a value of the graph. */
  shapeOf(name: string): Shape {
    return this.#shapes.get(name)!;
  }

  /**
   * Registers a weight under its own name. `form` tells apart what is made of one initializer in
   * different ways; the same form is the same, shared parameter.
   */
  parameter({ name, array }: ConstantValue, form = "", make?: () => Tensor): string {
    const key = `${form}\n${name}`;
    const known = this.#registered.get(key);
    if (known !== undefined) return known;
    if (!isFloat(array.dtype)) throw new Refusal(`has ${array.dtype} weights ${quoted(name)}`);
    const registered = this.#parameterNames.unique(name);
    this.#registered.set(key, registered);
    const { shape, data } = make?.() ?? array;
    this.parameters.set(registered, {
      shape,
      data: data instanceof Float32Array ? data : Float32Array.from(data),
    });
    return registered;
  }

  /** The layer that writes a value of the graph. */
  writer(value: string): Node | undefined {
    const index = this.#writers.get(value);
    return index === undefined ? undefined : this.nodes[index];
  }

  /** Puts another layer in the place of the one that writes the same value. */
  replace(layer: Node): void {
    this.nodes[this.#writers.get(layer.output)!] = layer;
  }

  #checked(value: FeatureValue): FeatureValue {
    const { shape } = value;
    const extents = shape.slice(1);
    this.#channels += extents[0];
    const sensible = elementCount(extents) <= LARGEST_VALUE && this.#channels <= MOST_CHANNELS &&
      extents.every((extent) => Number.isInteger(extent) && extent > 0 && extent <= LARGEST_EXTENT);
    if (!sensible) throw new Refusal(`makes a value of the shape ${this.described(value)}`);
    this.#shapes.set(value.name, extents);
    return value;
  }
}
