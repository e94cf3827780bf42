import type { Node, OperatorName } from "../graph.ts";
import { activation } from "./activation.ts";
import { batchNorm } from "./batch_norm.ts";
import { channelFilter } from "./channel_filter.ts";
import { concat } from "./concat.ts";
import { convolution } from "./convolution.ts";
import { depthToSpace } from "./depth_to_space.ts";
import { add, relu } from "./elementwise.ts";
import { flatten, linear } from "./linear.ts";
import { groupNorm } from "./group_norm.ts";
import { multiply } from "./multiply.ts";
import { layerNorm, localResponseNorm, softmax } from "./normalise.ts";
import type { NodeOf, Operator } from "./operator.ts";
import { averagePool, globalAveragePool, maxPool } from "./pool.ts";
import { prelu } from "./prelu.ts";
import { resize } from "./resize.ts";
import { channelMap, pad, slice } from "./spatial.ts";
import { transposedConvolution } from "./transposed_convolution.ts";

const OPERATORS: { readonly [Name in OperatorName]: Operator<NodeOf<Name>> } = {
  convolution,
  batch_norm: batchNorm,
  relu,
  activation,
  add,
  multiply,
  concat,
  max_pool: maxPool,
  average_pool: averagePool,
  global_average_pool: globalAveragePool,
  pad,
  slice,
  channel_map: channelMap,
  flatten,
  linear,
  channel_filter: channelFilter,
  prelu,
  transposed_convolution: transposedConvolution,
  resize,
  depth_to_space: depthToSpace,
  layer_norm: layerNorm,
  group_norm: groupNorm,
  local_response_norm: localResponseNorm,
  softmax,
};

/** The operator of a node. */
export function operatorOf(node: Node): Operator {
  // The table pairs each name with its own node type, which the lookup by name loses.
  return OPERATORS[node.op] as unknown as Operator;
}
