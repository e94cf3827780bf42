/** Instructions over groups of channels and all pixels of an image, in plain f64 loops. */

import type { Ints, Operand } from "./convolution_instructions.ts";
import { standardised } from "./operators.ts";

type Floats = Readonly<Record<string, number>>;

const mean = (values: readonly number[]) =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Places of the elements of every group of every image, NHWC. */
function eachGroup(
  { images, shape, data }: Operand,
  groups: number,
  visit: (at: number[]) => void,
) {
  const channels = shape[shape.length - 1], width = channels / groups;
  const cells = data.length / images;
  for (let image = 0; image < images; image++) {
    for (let group = 0; group < groups; group++) {
      const own = Array.from({ length: cells }, (_, cell) => image * cells + cell);
      visit(own.filter((at) => Math.floor(at % channels / width) === group));
    }
  }
}

const channelsOf = ({ shape }: Operand) => shape[shape.length - 1];

export function groupNorm(
  x: Operand,
  scale: Operand,
  offset: Operand,
  y: Operand,
  { groups }: Ints,
  { epsilon }: Floats,
): void {
  eachGroup(x, groups, (places) => {
    const values = standardised(places.map((at) => x.data[at]), epsilon);
    places.forEach((at, i) => {
      const c = at % channelsOf(x);
      y.data[at] = values[i] * scale.data[c] + offset.data[c];
    });
  });
}

export function groupNormBackward(
  dy: Operand,
  x: Operand,
  scale: Operand,
  dx: Operand,
  { groups }: Ints,
  { epsilon }: Floats,
): void {
  eachGroup(x, groups, (places) => {
    const own = places.map((at) => x.data[at]);
    const values = standardised(own, epsilon);
    const centre = mean(own);
    const deviation = Math.sqrt(mean(own.map((value) => (value - centre) ** 2)) + epsilon);
    const scaled = places.map((at) => dy.data[at] * scale.data[at % channelsOf(x)]);
    const along = mean(scaled.map((value, i) => value * values[i]));
    const level = mean(scaled);
    places.forEach((at, i) => {
      dx.data[at] = (scaled[i] - level - values[i] * along) / deviation;
    });
  });
}

export function groupNormBackwardParameters(
  dy: Operand,
  x: Operand,
  dscale: Operand,
  doffset: Operand,
  { groups }: Ints,
  { epsilon }: Floats,
): void {
  dscale.data.fill(0);
  doffset.data.fill(0);
  eachGroup(x, groups, (places) => {
    const values = standardised(places.map((at) => x.data[at]), epsilon);
    places.forEach((at, i) => {
      const c = at % channelsOf(x);
      dscale.data[c] += dy.data[at] * values[i];
      doffset.data[c] += dy.data[at];
    });
  });
}
