/** The state of lowering one entry: the instructions so far and where the graph's values went. */

import { SecateurError } from "../../errors.ts";
import type { Graph, Node, Shape } from "../../graph/graph.ts";
import { shapesOf } from "../../graph/shapes.ts";
import type { Draft, DraftInstruction } from "../draft.ts";
import type { OperationName } from "../operations.ts";
import type { ImageType } from "../precision.ts";
import type { DType } from "../program.ts";

/** What one entry computes and how. */
export interface LowerOptions {
  /** Prefix of the names of activations: `${entry}/${graph value}`. */
  readonly entry: string;
  readonly images: number;
  /** Of images. */
  readonly dtype: ImageType;
  /** Running statistics (inference), or the batch's own, as in training. */
  readonly batchNorm: "running" | "batch";
  /** The value that batch norm's momentum is read from; the layers' own momentum by default. */
  readonly momentum?: string;
}

/** A graph's value among the instructions. */
export interface LoweredValue {
  readonly name: string;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** Whether the graph sees it as [channels * height * width]. */
  readonly flattened: boolean;
}

/** One entry being lowered: declares values, appends instructions. */
export class Lowering {
  readonly draft: Draft;
  readonly graph: Graph;
  readonly options: LowerOptions;
  readonly shapes: ReadonlyMap<string, Shape>;
  readonly instructions: DraftInstruction[] = [];
  readonly values: Map<string, LoweredValue> = new Map();
  /** Values joined on the way to a concatenation, by the names of their parts. */
  readonly joined: Map<string, LoweredValue> = new Map();

  constructor(draft: Draft, graph: Graph, options: LowerOptions) {
    this.draft = draft;
    this.graph = graph;
    this.options = options;
    this.shapes = shapesOf(graph);
  }

  /** Declares the program's value for a graph's value. */
  image(graphValue: string, place: "feeds" | "activations", dtype: DType): LoweredValue {
    const shape = this.shapes.get(graphValue)!;
    const [channels, height, width] = shape.length === 3 ? shape : [shape[0], 1, 1];
    const name = this.draft.value({
      name: `${this.options.entry}/${graphValue}`,
      dtype,
      shape: nhwc(height, width, channels),
      images: this.options.images,
      place,
    });
    return { name, height, width, channels, flattened: false };
  }

  /** Declares a parameter under its own name, in the shape instructions want it. */
  parameter(name: string, shape?: readonly number[]): string {
    const tensor = this.graph.parameters.get(name)!;
    return this.draft.value({
      name,
      dtype: "f32",
      shape: shape ?? tensor.shape,
      images: 0,
      place: "weights",
    });
  }

  input(node: Node, index = 0): LoweredValue {
    return this.values.get(node.inputs[index])!;
  }

  /** The node's input as a picture; refuses flattened pictures, whose features differ in place. */
  picture(node: Node, index = 0): LoweredValue {
    const value = this.input(node, index);
    if (!value.flattened) return value;
    throw new SecateurError(
      "graph-unsupported",
      `${node.name} (${node.op}) of ${this.graph.name} reads a flattened ${value.height}x` +
        `${value.width} picture; only linear layers, ReLU and sums may follow such a flatten.`,
    );
  }

  /** Appends the instruction that writes a node's output. */
  emit(
    node: Node,
    op: OperationName,
    inputs: Record<string, string | undefined>,
    attributes: Record<string, number> = {},
    options: {
      dtype?: DType;
      outputs?: Record<string, string>;
      like?: LoweredValue;
      /** What the instruction calls the output; "y" by default. */
      output?: string;
    } = {},
  ): void {
    const { images, dtype, entry } = this.options;
    let written: LoweredValue;
    if (options.like?.flattened) {
      const { height, width, channels } = options.like;
      const shape = nhwc(height, width, channels);
      const name = `${entry}/${node.output}`;
      this.draft.value({ name, dtype, shape, images, place: "activations" });
      written = { ...options.like, name };
    } else {
      written = this.image(node.output, "activations", options.dtype ?? dtype);
    }
    this.values.set(node.output, written);
    this.instructions.push({
      op,
      inputs: present(inputs),
      outputs: { [options.output ?? "y"]: written.name, ...options.outputs },
      attributes,
      layer: node.name,
    });
  }
}

/** Shape of an image value. */
export function nhwc(height: number, width: number, channels: number): number[] {
  return height === 1 && width === 1 ? [channels] : [height, width, channels];
}

/** The entries that are not undefined. */
export function present(values: Record<string, string | undefined>): Record<string, string> {
  const entries = Object.entries(values).filter((entry): entry is [string, string] =>
    entry[1] !== undefined
  );
  return Object.fromEntries(entries);
}
