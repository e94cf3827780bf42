/** Activations and products as ONNX nodes, of operators that all versions from 13 on have. */

import type { Node } from "../../../graph/graph.ts";
import { activationParameters } from "../../../graph/operators/activation.ts";
import { type ExportContext, float, onnxNode, text } from "./node_proto.ts";
import type { NodeProto } from "../proto/onnx_pb.ts";

type Activation = Node & { op: "activation" };

/** The ONNX operator that is an activation by itself, and its attributes. */
const ALONE: Partial<Record<Activation["kind"], readonly [string, ...("alpha" | "beta")[]]>> = {
  sigmoid: ["Sigmoid"],
  tanh: ["Tanh"],
  hard_sigmoid: ["HardSigmoid", "alpha", "beta"],
  leaky_relu: ["LeakyRelu", "alpha"],
  elu: ["Elu", "alpha"],
};

/** Writes one layer as several nodes; the last has its name and writes its output. */
class Parts {
  readonly nodes: NodeProto[] = [];
  readonly #node: Node;
  readonly #context: ExportContext;

  constructor(node: Node, context: ExportContext) {
    this.#node = node;
    this.#context = context;
  }

  constant(part: string, value: number): string {
    return this.#context.numbers(`${this.#node.name}.${part}`, [], [value]);
  }

  part(opType: string, part: string, inputs: readonly string[], attributes = {}): string {
    const output = this.#context.value(`${this.#node.output}/${part}`);
    const name = `${this.#node.name}/${part}`;
    this.nodes.push(onnxNode(opType, { name, inputs, output }, floats(attributes)));
    return output;
  }

  end(opType: string, inputs: readonly string[], attributes = {}): NodeProto[] {
    const { name, output } = this.#node;
    return [...this.nodes, onnxNode(opType, { name, inputs, output }, floats(attributes))];
  }
}

const floats = (attributes: Readonly<Record<string, number>>) =>
  Object.entries(attributes).map(([name, value]) => float(name, value));

export function exportActivation(node: Activation, context: ExportContext): NodeProto[] {
  const parts = new Parts(node, context);
  const [x] = node.inputs;
  const { alpha, beta } = activationParameters(node);
  const alone = ALONE[node.kind];
  if (alone !== undefined) {
    const [opType, ...names] = alone;
    const given = { alpha, beta };
    return parts.end(opType, [x], Object.fromEntries(names.map((name) => [name, given[name]])));
  }
  if (node.kind.startsWith("gelu") && context.opset >= 20) {
    const approximate = text("approximate", node.kind === "gelu" ? "none" : "tanh");
    return [onnxNode("Gelu", node, [approximate])];
  }
  switch (node.kind) {
    case "clip":
      return parts.end("Clip", [x, parts.constant("min", alpha), parts.constant("max", beta)]);
    case "hard_swish":
      return parts.end("Mul", [x, parts.part("HardSigmoid", "share", [x], { alpha, beta })]);
    case "gelu": {
      const scaled = parts.part("Mul", "scaled", [x, parts.constant("scale", Math.SQRT1_2)]);
      const error = parts.part("Erf", "erf", [scaled]);
      const twice = parts.part("Add", "twice", [error, parts.constant("one", 1)]);
      const half = parts.part("Mul", "half", [x, parts.constant("half", 0.5)]);
      return parts.end("Mul", [half, twice]);
    }
    case "gelu_tanh": {
      // (1 + tanh u) / 2 is the logistic function of 2 u.
      const scale = 2 * Math.sqrt(2 / Math.PI);
      const square = parts.part("Mul", "square", [x, x]);
      const cubic = parts.part("Mul", "cubic", [square, parts.constant("cubic", 0.044715 * scale)]);
      const factor = parts.part("Add", "factor", [cubic, parts.constant("linear", scale)]);
      const share = parts.part("Sigmoid", "share", [parts.part("Mul", "inner", [x, factor])]);
      return parts.end("Mul", [x, share]);
    }
    default:
      return parts.end("Mul", [x, parts.part("Sigmoid", "share", [x])]);
  }
}

/** [channels] beside [channels, height, width] gets the two axes it lacks. */
export function exportBinary(node: Node & { op: "multiply" | "add" }, context: ExportContext) {
  const parts = new Parts(node, context);
  const rank = (value: string) => context.shapes.get(value)!.length;
  const most = Math.max(...node.inputs.map(rank));
  const inputs = node.inputs.map((value, index) => {
    if (rank(value) === most) return value;
    const axes = context.integers(`${node.name}.axes`, [2, 3]);
    return parts.part("Unsqueeze", `factor${index}`, [value, axes]);
  });
  return parts.end(node.op === "add" ? "Add" : "Mul", inputs);
}
