/** Functions of a model's own: every node that calls one is replaced by the nodes it stands for. */

import { create } from "@bufbuild/protobuf";
import { SecateurError } from "../../../errors.ts";
import { quoted } from "../../bytes.ts";
import {
  type AttributeProto,
  type FunctionProto,
  type ModelProto,
  type NodeProto,
  NodeProtoSchema,
} from "../proto/onnx_pb.ts";
import { FreshNames } from "../names.ts";

/** Functions call functions, but not without end. */
const DEEPEST = 32;
const MOST_NODES = 100_000;

const keyOf = (domain: string, name: string, overload: string): string =>
  JSON.stringify([domain === "ai.onnx" ? "" : domain, name, overload]);

function unsupported(source: string, finding: string): SecateurError {
  return new SecateurError(
    "graph-unsupported",
    `${source}: ${finding}; inline its functions with onnx.inliner.inline_local_functions and write ` +
      "the model again.",
  );
}

/** The attributes of a node within a function, those of the call put in where it refers to them. */
function attributesOf(
  { attribute }: NodeProto,
  given: ReadonlyMap<string, AttributeProto>,
): AttributeProto[] {
  return attribute.flatMap((each) => {
    if (each.refAttrName === "") return [each];
    const value = given.get(each.refAttrName);
    return value === undefined ? [] : [{ ...value, name: each.name }];
  });
}

class Inliner {
  readonly nodes: NodeProto[] = [];
  readonly #source: string;
  readonly #functions: ReadonlyMap<string, FunctionProto>;
  readonly #opset: bigint | undefined;
  readonly #names: FreshNames;
  /** Nodes looked at: functions of no nodes may call each other without end in sight. */
  #steps = 0;

  constructor(model: ModelProto, source: string) {
    this.#source = source;
    this.#functions = new Map(
      model.functions.map((each) => [keyOf(each.domain, each.name, each.overload), each]),
    );
    this.#opset = opsetOf(model);
    const { graph } = model;
    this.#names = new FreshNames([
      ...graph!.input.map(({ name }) => name),
      ...graph!.initializer.map(({ name }) => name),
      ...graph!.node.flatMap(({ name, output }) => [name, ...output]),
    ]);
  }

  /** Appends a node, or those of the function that it calls, `depth` functions deep. */
  add(node: NodeProto, depth = 0): void {
    if (++this.#steps > MOST_NODES) {
      throw unsupported(
        this.#source,
        `expected at most ${MOST_NODES} nodes, but its functions make more`,
      );
    }
    const called = this.#functions.get(keyOf(node.domain, node.opType, node.overload));
    if (called === undefined) {
      this.nodes.push(node);
    } else if (depth === DEEPEST) {
      throw unsupported(
        this.#source,
        `expected functions that call others at most ${DEEPEST} deep, but ${quoted(called.name)} ` +
          "goes deeper",
      );
    } else this.#call(node, called, depth);
  }

  #call(node: NodeProto, called: FunctionProto, depth: number): void {
    const opset = opsetOf(called);
    if (opset !== undefined && opset !== this.#opset) {
      throw unsupported(
        this.#source,
        `its function ${quoted(called.name)} is of operator set ${opset} where the model is of ` +
          `${this.#opset}`,
      );
    }
    const label = node.name || node.output.find((name) => name !== "") || called.name;
    const values = new Map(called.input.map((name, index) => [name, node.input[index] ?? ""]));
    called.output.forEach((name, index) => {
      const outside = node.output[index] ?? "";
      if (outside === "") return;
      const input = values.get(name);
      if (input === undefined) values.set(name, outside);
      else this.nodes.push(identity(`${label}/${name}`, input, outside));
    });
    const valueOf = (name: string): string => {
      if (name === "") return "";
      const known = values.get(name);
      if (known !== undefined) return known;
      const made = this.#names.take(`${label}/${name}`);
      values.set(name, made);
      return made;
    };
    const given = new Map(
      [...called.attributeProto, ...node.attribute].map((each) => [each.name, each]),
    );
    called.node.forEach((inner, index) => {
      const name = this.#names.take(`${label}/${inner.name || `${inner.opType}.${index}`}`);
      const inlined = create(NodeProtoSchema, {
        name,
        opType: inner.opType,
        domain: inner.domain,
        overload: inner.overload,
        input: inner.input.map(valueOf),
        output: inner.output.map(valueOf),
        attribute: attributesOf(inner, given),
      });
      this.add(inlined, depth + 1);
    });
  }
}

function identity(name: string, input: string, output: string): NodeProto {
  return create(NodeProtoSchema, { name, opType: "Identity", input: [input], output: [output] });
}

function opsetOf({ opsetImport }: Pick<ModelProto, "opsetImport">): bigint | undefined {
  return opsetImport.find(({ domain }) => domain === "" || domain === "ai.onnx")?.version;
}

/**
 * The model without functions of its own: every call replaced by what it stands for, values inside
 * named after the calling node.
 * @throws SecateurError `graph-unsupported` for functions of another operator set, those that call
 * each other without end, and those that make more nodes than any model has.
 */
export function inlineFunctions(model: ModelProto, source: string): ModelProto {
  if (model.functions.length === 0) return model;
  const inliner = new Inliner(model, source);
  for (const node of model.graph!.node) inliner.add(node);
  return { ...model, graph: { ...model.graph!, node: inliner.nodes }, functions: [] };
}
