import type { BatchNormOptions, GraphBuilder } from "./builder.ts";
import {
  type Activation,
  convolutionUnit,
  type ExcitationOptions,
  sequential,
  squeezeExcitation,
  type UnitNames,
} from "./layers.ts";

export interface InvertedResidualOptions {
  /** Channels of the depthwise convolution; where they are the input's, nothing expands it. */
  readonly expanded: number;
  readonly out: number;
  readonly kernel: number;
  readonly stride: number;
  readonly activation: Activation;
  readonly excitation?: ExcitationOptions;
  readonly norm?: BatchNormOptions;
  /** Names of the last convolution, the `index`-th part; by default those of the other parts. */
  readonly projection?: (index: number) => UnitNames;
}

/**
 * Inverted residual block (Sandler et al., arXiv 1801.04381): expand, depthwise convolution, squeeze
 * and excitation where asked for, project; with a shortcut where input and output agree. Its parts
 * are called `${name}.0` and so on.
 */
export function invertedResidual(
  builder: GraphBuilder,
  name: string,
  value: string,
  options: InvertedResidualOptions,
): string {
  const { expanded, out, kernel, stride, activation, excitation, norm = {} } = options;
  const [channels] = builder.shape(value);
  let parts = 0;
  const next = () => `${name}.${parts++}`;
  let main = value;
  if (expanded !== channels) {
    const expansion = { out: expanded, kernel: 1, activation, norm };
    main = convolutionUnit(builder, sequential(next()), main, expansion);
  }
  main = convolutionUnit(builder, sequential(next()), main, {
    out: expanded,
    kernel,
    stride,
    padding: (kernel - 1) / 2,
    groups: expanded,
    activation,
    norm,
  });
  if (excitation !== undefined) main = squeezeExcitation(builder, next(), main, excitation);
  const names = options.projection?.(parts) ?? sequential(next());
  main = convolutionUnit(builder, names, main, { out, kernel: 1, norm });
  return stride === 1 && channels === out ? builder.add(`${name}.add`, main, value) : main;
}
