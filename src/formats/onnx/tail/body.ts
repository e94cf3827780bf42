/**
 * Where the body of a file ends: the part, closed towards its pictures, that is read as a graph. What
 * lies behind, and what of the body's constants it needs, is kept as it is.
 */

import { create } from "@bufbuild/protobuf";
import { SecateurError } from "../../../errors.ts";
import { quoted } from "../../bytes.ts";
import { bytesPerElement } from "../../dtype.ts";
import {
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "../proto/onnx_pb.ts";
import { codeOf, type HostArray, Refusal } from "../read/array.ts";
import { ATTRIBUTE } from "../read/attributes.ts";
import type { OnnxModel, OnnxNode } from "../read/reader.ts";
import { isExternal } from "../read/tensor.ts";
import type { FeatureValue } from "../import/features.ts";
import { type Importer, OPEN_BATCH } from "../import/importer.ts";

/** What the outputs of a file need beyond its body. */
export interface Behind {
  /** Values of the body that are read behind it, or are outputs, by the file's names. */
  readonly ends: ReadonlyMap<string, FeatureValue>;
  /** In the order of the file. */
  readonly nodes: readonly OnnxNode[];
  readonly constants: readonly TensorProto[];
  /** Inputs of the file that are read. */
  readonly inputs: readonly ValueInfoProto[];
}

/** Integers of a shape or of indices, at most. */
const MOST_FOLDED = 4096;

const KEPT_ATTRIBUTES: ReadonlySet<number> = new Set([...Object.values(ATTRIBUTE), 8]);

class Walk {
  readonly ends = new Map<string, FeatureValue>();
  readonly nodes = new Set<OnnxNode>();
  readonly constants = new Map<string, TensorProto>();
  readonly inputs = new Set<string>();
  readonly #importer: Importer;
  readonly #writers: ReadonlyMap<string, OnnxNode>;
  readonly #open: string[] = [];

  constructor(importer: Importer) {
    this.#importer = importer;
    this.#writers = new Map(
      importer.model.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)),
    );
  }

  /** Finds what these values need. */
  from(names: readonly string[]): void {
    const seen = new Set([""]);
    this.#open.push(...[...names].reverse());
    for (let name = this.#open.pop(); name !== undefined; name = this.#open.pop()) {
      if (seen.has(name)) continue;
      seen.add(name);
      this.#visit(name);
    }
  }

  #visit(name: string): void {
    const { model } = this.#importer;
    const initializer = model.initializers.get(name);
    if (initializer !== undefined) {
      this.constants.set(name, inside(initializer, model));
      return;
    }
    const node = this.#writers.get(name);
    if (node === undefined) {
      this.inputs.add(name);
      return;
    }
    const feature = this.#feature(name);
    if (feature !== undefined) {
      this.ends.set(name, feature);
      return;
    }
    const value = this.#importer.values.get(name);
    const folded = value?.kind === "constant" ? foldedTensor(name, value.array) : undefined;
    if (folded !== undefined) {
      this.constants.set(name, folded);
      return;
    }
    requireKept(node, model.source);
    this.nodes.add(node);
    this.#open.push(...node.inputs);
  }

  /** The body's value that a value of the file is, where it lies as it does there. */
  #feature(name: string): FeatureValue | undefined {
    const value = this.#importer.values.get(name);
    const made = value?.kind === "pending" ? this.#forced(value) : value;
    if (made?.kind !== "feature" || this.#importer.writer(made.name) === undefined) {
      return undefined;
    }
    return this.#importer.stands(made, name) ? made : undefined;
  }

  #forced(value: Parameters<Importer["force"]>[0]): FeatureValue | undefined {
    try {
      return this.#importer.force(value);
    } catch (thrown) {
      if (!(thrown instanceof Refusal)) throw thrown;
      return undefined;
    }
  }
}

/** Throws for nodes that hold what is not read: graphs of their own, strings. */
function requireKept(node: OnnxNode, source: string): void {
  const other = node.proto.attribute.find(({ type, t }) =>
    !KEPT_ATTRIBUTES.has(type) || (t !== undefined && isExternal(t))
  );
  if (other === undefined) return;
  throw new SecateurError(
    "graph-unsupported",
    `${source}: expected nodes of plain attributes behind the part that can be pruned, but ` +
      `${quoted(node.name)} (${quoted(node.op)}) holds a graph or a file of its own in ${
        quoted(other.name)
      }; export the model without it.`,
  );
}

/** A tensor whose data lies in the message itself. */
function inside(tensor: TensorProto, { external, source }: OnnxModel): TensorProto {
  const bytes = external.get(tensor);
  if (!isExternal(tensor)) return tensor;
  if (bytes === undefined) {
    throw new SecateurError(
      "graph-unsupported",
      `${source}: expected weights of a known type, but cannot carry ${quoted(tensor.name)}; ` +
        "export the model again.",
    );
  }
  const { name, dims, dataType } = tensor;
  return create(TensorProtoSchema, {
    name,
    dims,
    dataType,
    rawData: bytes as Uint8Array<ArrayBuffer>,
  });
}

/**
 * Integers that folding computed, as an initializer; undefined for what depends on a batch that is
 * left open, and for real numbers, which their own nodes compute to the bit, also where a damaged file
 * calls them integers.
 */
function foldedTensor(name: string, { dtype, shape, data }: HostArray): TensorProto | undefined {
  const depends = data.some((value) => value !== 0 && value % OPEN_BATCH === 0) ||
    shape.includes(OPEN_BATCH);
  const whole = (dtype === "i64" || dtype === "i32") && data.every(Number.isSafeInteger);
  if (!whole || depends || data.length > MOST_FOLDED) return undefined;
  const bytes = new Uint8Array(data.length * bytesPerElement(dtype));
  const view = new DataView(bytes.buffer);
  data.forEach((value, i) =>
    dtype === "i64"
      ? view.setBigInt64(8 * i, BigInt(value), true)
      : view.setInt32(4 * i, value, true)
  );
  return create(TensorProtoSchema, {
    name,
    dims: shape.map(BigInt),
    dataType: codeOf(dtype),
    rawData: bytes,
  });
}

/** What the outputs of the importer's model need beyond its body. */
export function behindBody(importer: Importer): Behind {
  const { model } = importer;
  const names = model.outputs.map(({ name }) => name);
  // The first makes layers of what was put off, which may change what earlier values stand for.
  new Walk(importer).from(names);
  const walk = new Walk(importer);
  walk.from(names);
  return {
    ends: walk.ends,
    nodes: model.nodes.filter((node) => walk.nodes.has(node)),
    constants: [...walk.constants.values()],
    inputs: [...walk.inputs].map((name) =>
      model.declared.get(name) ?? create(ValueInfoProtoSchema, { name })
    ),
  };
}
