/** What a convolution's instructions are told of its shape. */

interface Picture {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

interface Window {
  /** Height and width, as everywhere below. */
  readonly kernel: readonly number[];
  readonly stride?: readonly number[];
  /** Top and left; how much is at the other ends follows from the pictures' sizes. */
  readonly padding?: readonly number[];
  readonly dilation?: readonly number[];
  readonly groups?: number;
}

/** The integers that all instructions of a convolution from x to y have. */
export function convolutionAttributes(
  x: Picture,
  y: Picture,
  { kernel, stride = [1, 1], padding = [0, 0], dilation = [1, 1], groups = 1 }: Window,
): Record<string, number> {
  return {
    in_height: x.height,
    in_width: x.width,
    in_channels: x.channels,
    out_height: y.height,
    out_width: y.width,
    out_channels: y.channels,
    kernel_height: kernel[0],
    kernel_width: kernel[1],
    stride_height: stride[0],
    stride_width: stride[1],
    pad_top: padding[0],
    pad_left: padding[1],
    dilation_height: dilation[0],
    dilation_width: dilation[1],
    groups,
  };
}
