/**
 * Between a model's own answer and its graph's, which is a logit for every class: a final softmax or
 * sigmoid is left out and kept for export, and a model that answers with one number for two classes
 * gets the other's logit, zero.
 */

import { z } from "zod";
import { SecateurError } from "../errors.ts";
import type { FileForm } from "../formats/onnx/file_form.ts";
import { FINAL_OPERATORS } from "../formats/onnx/final_activation.ts";
import type { Graph, Node } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { elementCount } from "../tensor.ts";

/** Under which the form of the file it came from is kept in the metadata of secateur's own files. */
export const FORM_KEY = "secateur.form";

const name = z.string().min(1).max(256);
const stored = z.strictObject({
  activation: z.strictObject({ op: z.enum(FINAL_OPERATORS), node: name, output: name }).optional(),
  inputLast: z.boolean().optional(),
  outputLast: z.boolean().optional(),
  input: z.enum(["f16", "u8"]).optional(),
  output: z.enum(["f16"]).optional(),
  half: z.boolean().optional(),
});

/** Metadata that keeps a file's form; none for the plain one. */
export function formMetadata(form: FileForm | undefined): Record<string, string> {
  return form === undefined || Object.keys(form).length === 0
    ? {}
    : { [FORM_KEY]: JSON.stringify(form) };
}

/**
 * The form in a model's metadata; plain where there is none.
 * @throws SecateurError `format-corrupt`; `source` names the file.
 */
export function storedForm(text: string | undefined, source: string): FileForm {
  if (text === undefined) return {};
  try {
    return withoutUndefined(stored.parse(JSON.parse(text)));
  } catch (cause) {
    throw new SecateurError(
      "format-corrupt",
      `${source}: expected the form of the model's file in its metadata, but found something else; ` +
        `write the model again.`,
      { cause },
    );
  }
}

/** Optional fields that are absent are left out, not undefined. */
function withoutUndefined(form: z.infer<typeof stored>): FileForm {
  return Object.fromEntries(Object.entries(form).filter(([, value]) => value !== undefined));
}

/** Name of the layer that makes two logits of one. */
const TWO_CLASSES = "two_classes";

/** Whether a graph answers with one number. */
export function answersWithOne(graph: Graph): boolean {
  return elementCount(shapesOf(graph).get(graph.output)!) === 1;
}

/**
 * A graph of one logit z with logits 0 and z for two classes: its softmax is z's sigmoid, and its
 * cross entropy the binary one.
 */
export function withTwoClasses(graph: Graph): Graph {
  const taken = new Set(graph.nodes.flatMap((node) => [node.name, node.output]));
  if (taken.has(TWO_CLASSES) || graph.input.name === TWO_CLASSES) return graph;
  const node: Node = {
    op: "channel_map",
    name: TWO_CLASSES,
    inputs: [graph.output],
    output: TWO_CLASSES,
    from: [-1, 0],
  };
  return { ...graph, nodes: [...graph.nodes, node], output: TWO_CLASSES };
}

/** The graph as its model is: with one logit again where withTwoClasses made two of it. */
export function withOwnAnswer(graph: Graph): Graph {
  const last = graph.nodes.find(({ output }) => output === graph.output);
  const made = last?.op === "channel_map" && last.name === TWO_CLASSES &&
    last.from.join() === "-1,0";
  if (last === undefined || !made) return graph;
  return { ...graph, nodes: graph.nodes.filter((node) => node !== last), output: last.inputs[0] };
}
