/** The operations of native/operations.def, as TypeScript sees them. */

/**
 * whole: runs once and touches no images; image: works image by image, slices are independent;
 * reduction: sums over images, slice partials combine in order.
 */
export type OperationKind = "whole" | "image" | "reduction";

/** Argument names in order; a trailing "?" marks an input or output that may be absent. */
export interface Operation {
  readonly kind: OperationKind;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly ints: readonly string[];
  readonly floats: readonly string[];
}

const CONVOLUTION =
  "in_height in_width in_channels out_height out_width out_channels kernel_height kernel_width " +
  "stride_height stride_width pad_top pad_left dilation_height dilation_width groups";
const WINDOW = "in_height in_width channels out_height out_width kernel_height kernel_width " +
  "stride_height stride_width pad_top pad_left";
const GATHER = "in_height in_width in_channels out_height out_width out_channels start_row " +
  "start_column stride_height stride_width";
const RESIZE = "in_height in_width channels out_height out_width taps";

function operation(
  kind: OperationKind,
  inputs: string,
  outputs: string,
  ints = "",
  floats = "",
): Operation {
  const words = (text: string) => text.split(" ").filter((word) => word !== "");
  return {
    kind,
    inputs: words(inputs),
    outputs: words(outputs),
    ints: words(ints),
    floats: words(floats),
  };
}

/** Every operation, in the order of native/operations.def: the position is the opcode. */
export const OPERATIONS = {
  fold_batch_norm: operation(
    "whole",
    "weight bias? scale offset mean variance",
    "weight bias",
    "",
    "epsilon",
  ),
  pack_convolution: operation(
    "whole",
    "weight",
    "packed",
    CONVOLUTION + " direction precision slice",
  ),
  convolution: operation("image", "x packed bias? residual?", "y", CONVOLUTION + " relu"),
  convolution_backward_data: operation("image", "dy packed", "dx", CONVOLUTION),
  convolution_backward_weights: operation(
    "reduction",
    "x dy",
    "dw db?",
    CONVOLUTION + " precision",
  ),
  batch_norm_statistics: operation(
    "reduction",
    "x momentum running_mean running_variance",
    "mean inverse_deviation running_mean running_variance",
    "",
    "epsilon",
  ),
  batch_norm_apply: operation(
    "image",
    "x mean inverse_deviation scale offset residual?",
    "y",
    "relu",
  ),
  batch_norm_backward_reduce: operation(
    "reduction",
    "dy x mean inverse_deviation y?",
    "dscale doffset",
  ),
  batch_norm_backward_apply: operation(
    "image",
    "dy x mean inverse_deviation scale dscale doffset y?",
    "dx dresidual?",
  ),
  batch_norm_inference: operation(
    "image",
    "x scale offset mean variance residual?",
    "y",
    "relu",
    "epsilon",
  ),
  relu: operation("image", "x", "y"),
  relu_backward: operation("image", "dy y", "dx"),
  add: operation("image", "a b", "y", "relu"),
  max_pool: operation("image", "x", "y winners?", WINDOW),
  max_pool_backward: operation("image", "dy winners", "dx", WINDOW),
  average_pool: operation("image", "x", "y", WINDOW + " count_padding"),
  average_pool_backward: operation("image", "dy", "dx", WINDOW + " count_padding"),
  gather: operation("image", "x map", "y", GATHER),
  gather_backward: operation("image", "dy map", "dx", GATHER),
  cast: operation("image", "x", "y"),
  softmax_cross_entropy: operation(
    "image",
    "logits labels teacher? other_labels? label_shares?",
    "loss dlogits?",
    "",
    "smoothing distill temperature gradient_scale",
  ),
  squared_error: operation(
    "image",
    "output wanted previous?",
    "loss dx?",
    "",
    "scale gradient_scale",
  ),
  gate: operation("image", "x gates", "y"),
  rank: operation("image", "x", "ranks"),
  normal_equations: operation("reduction", "x target", "gram cross", CONVOLUTION + " accumulate"),
  sgd: operation(
    "whole",
    "weight gradient velocity hyper scale?",
    "weight velocity",
    "",
    "weight_decay",
  ),
  adamw: operation(
    "whole",
    "weight gradient first second hyper scale?",
    "weight first second",
    "",
    "weight_decay",
  ),
  activation: operation("image", "x", "y", "kind", "alpha beta"),
  activation_backward: operation("image", "dy x", "dx", "kind", "alpha beta"),
  multiply: operation("image", "a b", "y"),
  multiply_backward: operation("image", "dy x", "dx"),
  concat: operation("image", "a b c? d? e? f? g? h?", "y"),
  prelu: operation("image", "x slope", "y"),
  prelu_backward: operation("image", "dy x slope", "dx"),
  prelu_backward_slope: operation("reduction", "dy x", "dslope"),
  resize: operation("image", "x rows row_shares columns column_shares", "y", RESIZE),
  resize_backward: operation("image", "dy rows row_shares columns column_shares", "dx", RESIZE),
  layer_norm: operation("image", "x scale offset", "y", "", "epsilon"),
  layer_norm_backward: operation("image", "dy x scale", "dx", "", "epsilon"),
  layer_norm_backward_parameters: operation(
    "reduction",
    "dy x",
    "dscale doffset",
    "",
    "epsilon",
  ),
  group_norm: operation("image", "x scale offset", "y", "groups", "epsilon"),
  group_norm_backward: operation("image", "dy x scale", "dx", "groups", "epsilon"),
  group_norm_backward_parameters: operation(
    "reduction",
    "dy x",
    "dscale doffset",
    "groups",
    "epsilon",
  ),
  local_response_norm: operation("image", "x", "y", "size", "alpha beta bias"),
  local_response_norm_backward: operation("image", "dy x", "dx", "size", "alpha beta bias"),
  softmax: operation("image", "x", "y"),
  softmax_backward: operation("image", "dy y", "dx"),
  add_gradients: operation("whole", "gradient more", "sum"),
  sum_squares: operation("whole", "gradient squares?", "total"),
  clip_scale: operation("whole", "squares", "scale", "", "norm"),
  average: operation("whole", "weight average pace", "average"),
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof OPERATIONS;
