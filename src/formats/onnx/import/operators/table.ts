/** Which ONNX operators become part of a graph, and what imports them. */

import { Refusal } from "../../read/array.ts";
import { ELEMENTWISE_OPERATORS } from "../expressions.ts";
import { shapeOf } from "../../fold/fold.ts";
import * as activations from "./activations.ts";
import * as elementwise from "./elementwise.ts";
import * as groups from "./group_norm.ts";
import * as experimental from "./experimental.ts";
import * as joins from "./joins.ts";
import * as layout from "./layout.ts";
import * as linear from "./linear.ts";
import * as reshape from "../reshape.ts";
import * as resize from "./resize.ts";
import { importTransposedConvolution } from "./transposed.ts";
import * as windows from "./windows.ts";
import type { Importer } from "../importer.ts";
import type { OnnxNode } from "../../read/reader.ts";

type ImportNode = (importer: Importer, node: OnnxNode) => void;

const IMPORTS: ReadonlyMap<string, ImportNode> = new Map<string, ImportNode>([
  ["Add", elementwise.importArithmetic],
  ["Affine", experimental.importScaling],
  ["AveragePool", windows.importPool],
  ["BatchNormalization", elementwise.importBatchNorm],
  ["Cast", elementwise.importCast],
  ["Clip", activations.importClip],
  ["Concat", joins.importConcat],
  ["Conv", windows.importConvolution],
  ["ConvTranspose", importTransposedConvolution],
  ["Crop", experimental.importCrop],
  ["DepthToSpace", layout.importDepthToSpace],
  ["Div", elementwise.importArithmetic],
  ["Dropout", elementwise.importDropout],
  ["Elu", activations.importActivation],
  ["Expand", layout.importExpand],
  ["Flatten", reshape.importFlatten],
  ["Gather", layout.importGather],
  ["Gelu", activations.importGelu],
  ["Gemm", linear.importGemm],
  ["GlobalAveragePool", windows.importGlobalAveragePool],
  ["GlobalMaxPool", windows.importGlobalMaxPool],
  ["GroupNormalization", groups.importGroupNorm],
  ["HardSigmoid", activations.importActivation],
  ["HardSwish", activations.importHardSwish],
  ["Identity", elementwise.importIdentity],
  ["InstanceNormalization", groups.importInstanceNorm],
  ["ImageScaler", experimental.importImageScaler],
  ["LRN", activations.importResponseNorm],
  ["LayerNormalization", activations.importLayerNorm],
  ["LeakyRelu", activations.importActivation],
  ["LogSoftmax", elementwise.importSoftmax],
  ["MatMul", linear.importMatMul],
  ["Max", activations.importBound],
  ["MaxPool", windows.importPool],
  ["Min", activations.importBound],
  ["Mul", elementwise.importArithmetic],
  ["Neg", elementwise.importArithmetic],
  ["PRelu", activations.importPrelu],
  ["Pad", layout.importPad],
  ["ReduceMean", windows.importReduceMean],
  ["ReduceSum", windows.importReduceSum],
  ["Relu", elementwise.importRelu],
  ["Reshape", reshape.importReshape],
  ["Resize", resize.importResize],
  ["Shape", importShape],
  ["Sigmoid", activations.importActivation],
  ["Slice", layout.importSlice],
  ["Softmax", elementwise.importSoftmax],
  ["SpaceToDepth", layout.importSpaceToDepth],
  ["Split", joins.importSplit],
  ["Squeeze", reshape.importSqueeze],
  ["Sub", elementwise.importArithmetic],
  ["Sum", elementwise.importSum],
  ["Tanh", activations.importActivation],
  ["Transpose", layout.importTranspose],
  ["Unsqueeze", reshape.importSqueeze],
  ["Upsample", resize.importUpsample],
]);

/** ONNX operators that become part of a graph by themselves. */
export const IMPORTED_OPERATORS: readonly string[] = [...IMPORTS.keys()];

/** ONNX operators that are read only as part of an activation or of a layer norm. */
export const PARTIAL_OPERATORS: readonly string[] = ELEMENTWISE_OPERATORS
  .filter((op) => !IMPORTS.has(op));

/** Whether nodes of an operator may depend on the model's input. */
export const isImported = (op: string): boolean =>
  IMPORTS.has(op) || PARTIAL_OPERATORS.includes(op);

/** Imports a node by itself; throws a Refusal where that cannot be. */
export function importAlone(importer: Importer, node: OnnxNode): void {
  const importOne = IMPORTS.get(node.op);
  if (importOne === undefined) throw new Refusal("");
  importOne(importer, node);
}

function importShape(importer: Importer, node: OnnxNode): void {
  const value = importer.input(node, 0);
  const { shape } = value?.kind === "pending" ? value : importer.viewed(node);
  const array = shapeOf(node, shape);
  importer.values.set(node.outputs[0], { kind: "constant", name: node.outputs[0], array });
}
