/** Small labelled pictures that are quickly learnt, and a small network for them. */

import { allocatePixels, type Dataset } from "../../../src/data/dataset.ts";
import type { Graph } from "../../../src/graph/graph.ts";
import { cifarResNet } from "../../../src/models/resnet.ts";
import { RandomStream } from "../../../src/random.ts";

const SIDE = 8;
const CLASSES = ["left", "right", "top", "bottom"];

/** [8, 8] pictures of noise in which the half that names the class is brighter. */
export function smallPictures(count: number, seed = 1): Dataset {
  const name = `small pictures ${seed}`;
  const random = new RandomStream(seed, name);
  const pixels = allocatePixels(count, SIDE, SIDE, name);
  const labels = Int32Array.from({ length: count }, (_, image) => image % CLASSES.length);
  labels.forEach((label, image) => {
    for (let cell = 0; cell < SIDE * SIDE; cell++) {
      const x = cell % SIDE, y = Math.floor(cell / SIDE);
      const bright = [x < SIDE / 2, x >= SIDE / 2, y < SIDE / 2, y >= SIDE / 2][label];
      for (let channel = 0; channel < 3; channel++) {
        pixels[(image * SIDE * SIDE + cell) * 3 + channel] = random.integer(200) +
          (bright ? 55 : 0);
      }
    }
  });
  return {
    name,
    height: SIDE,
    width: SIDE,
    channels: 3,
    count,
    pixels,
    labels,
    classes: CLASSES,
  };
}

/** The network with answers beyond what f32 holds. */
export function overflowing(graph: Graph): Graph {
  const weight = graph.parameters.get("linear.weight")!;
  const data = weight.data.map((x) => x > 0 ? 3e38 : -3e38);
  const parameters = new Map(graph.parameters).set("linear.weight", { ...weight, data });
  return { ...graph, parameters };
}

/** A residual network of 8 layers, 4 channels wide, for small pictures. */
export function smallNetwork(seed = 1): Graph {
  return cifarResNet({ depth: 8, width: 4, classes: CLASSES.length, shape: [3, SIDE, SIDE], seed });
}
