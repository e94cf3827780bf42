/** Pictures that are in memory at one size, brought to another as pictures in files are. */
import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { SecateurError } from "../../errors.ts";
import {
  allocatePixels,
  type Dataset,
  type Draw,
  type PictureSet,
  type PictureSource,
} from "../dataset.ts";
import { centredView, type Framing, randomView, STREAMED_SIDE } from "../pictures/geometry.ts";
import { viewOf } from "../pictures/resample.ts";

/** Pictures made before others have a turn: some milliseconds of work. */
const AT_ONCE = 16;

/**
 * The pictures scaled and cropped as torchvision does. Small ones are made once, those of 64 pixels
 * and more whenever they are needed.
 * @throws SecateurError `option-invalid` for a crop larger than the scaled pictures.
 */
export function framed(dataset: Dataset, framing: Framing): PictureSet {
  const { height, width, count, name, labels, classes } = dataset;
  const view = centredView(dataset, framing);
  if (view === undefined) {
    const { resize, crop } = framing;
    throw new SecateurError(
      "option-invalid",
      `Expected --crop of at most the size of the pictures of ${name}, which are ${width}x${height}` +
        `${
          resize === undefined ? "" : ` scaled by --resize ${resize}`
        }, got ${crop}; give --resize ` +
        `${crop} to scale them first.`,
    );
  }
  const { scaled, window } = view;
  const size = { width: window.width, height: window.height };
  if ([scaled, window].every((box) => box.width === width && box.height === height)) return dataset;
  if (Math.min(size.width, size.height) >= STREAMED_SIDE) {
    const positions = Int32Array.from({ length: count }, (_, index) => index);
    const source = framedSource(dataset, framing, size);
    return { name, count, labels, classes, channels: 3, ...size, source, positions };
  }
  const pixels = allocatePixels(count, size.height, size.width, name);
  const bytes = size.width * size.height * 3;
  for (let index = 0; index < count; index++) {
    pixels.set(viewOf(pictureAt(dataset, index), view), index * bytes);
  }
  return { ...dataset, ...size, pixels };
}

function pictureAt({ pixels, width, height }: Dataset, index: number) {
  const bytes = width * height * 3;
  return { width, height, pixels: pixels.subarray(index * bytes, (index + 1) * bytes) };
}

function framedSource(
  dataset: Dataset,
  framing: Framing,
  size: { readonly width: number; readonly height: number },
): PictureSource {
  const identity = createHash("sha256").update(dataset.pixels).update(JSON.stringify(framing))
    .digest("hex");
  const bytes = size.width * size.height * 3;
  const viewAt = (draw: Draw | undefined, i: number) =>
    draw === undefined
      ? centredView(dataset, framing)!
      : randomView(dataset, size, draw.seed, draw.epoch, draw.indices[i]);
  return {
    identity,
    async read(positions, draw, signal) {
      const out = new Uint8Array(positions.length * bytes);
      for (const [i, position] of positions.entries()) {
        if (i % AT_ONCE === 0) await setImmediate();
        if (signal?.aborted) {
          throw new SecateurError("cancelled", `Stopped while scaling ${dataset.name}, as asked.`);
        }
        out.set(viewOf(pictureAt(dataset, position), viewAt(draw, i)), i * bytes);
      }
      return out;
    },
  };
}
