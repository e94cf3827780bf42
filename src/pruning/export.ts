/** The pruned model as ONNX, shown to compute what it computes here. */

import { type FileForm, withHalfWeights } from "../formats/onnx/file_form.ts";
import { activated } from "../formats/onnx/final_activation.ts";
import { runInOnnxRuntime } from "../formats/onnx/runtime.ts";
import { encodeOnnx } from "../formats/onnx/export/export.ts";
import { stageOnnx, type WriteOptions } from "../formats/onnx/export/write.ts";
import { SecateurError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import { LoadedModel } from "../native/loaded_model.ts";
import { RandomStream } from "../random.ts";
import { elementCount } from "../tensor.ts";

const IMAGES = 4;
/** Largest difference allowed between two f32 engines, as a share of the largest logit. */
const TOLERANCE = 1e-4;
/** The same for files that compute in f16, whose steps are 1e-3 of a number. */
const HALF_TOLERANCE = 2e-2;

export interface CheckedExportOptions extends WriteOptions {
  readonly threads?: number;
}

/** What was compared, for reports. */
export interface ExportCheck {
  readonly images: number;
  /** Largest |difference| of answers over the largest |answer|, or over 1 if that is larger. */
  readonly difference: number;
  readonly tolerance: number;
}

/**
 * Random pictures as [images][height][width][channels]: normal as normalised ones are, or bytes for
 * files that take those.
 */
function randomPictures(graph: Graph, images: number, { input }: FileForm): Float32Array {
  const random = new RandomStream(0, `export ${graph.name}`);
  const draw = input === "u8" ? () => random.integer(256) : () => random.normal();
  return Float32Array.from({ length: images * elementCount(graph.input.shape) }, draw);
}

/** Answers of the f32 engine: its logits, through the model's last operator. */
async function ownAnswers(
  graph: Graph,
  pictures: Float32Array,
  images: number,
  { threads, form }: CheckedExportOptions,
): Promise<Float64Array> {
  const logits = await ownLogits(graph, pictures, images, threads);
  return activated(logits, logits.length / images, form?.activation?.op);
}

async function ownLogits(
  graph: Graph,
  pictures: Float32Array,
  images: number,
  threads: number | undefined,
): Promise<Float32Array> {
  const request = { kind: "forward", name: "export", images } as const;
  const compute = { dtype: "f32", ...(threads === undefined ? {} : { threads }) } as const;
  using model = LoadedModel.open(graph, [request], compute);
  const { feeds, logits } = model.entry("export");
  const results = await model.run("export", {
    feeds: { [feeds.images!]: pictures },
    fetch: [logits!],
  });
  return results[logits!] as Float32Array;
}

function relativeDifference(actual: Float32Array, expected: Float64Array): number {
  if (actual.length !== expected.length) return Infinity;
  let difference = 0, scale = 1;
  for (let i = 0; i < expected.length; i++) {
    const each = Math.abs(actual[i] - expected[i]);
    difference = each <= difference ? difference : each; // NaN stays
    scale = Math.max(scale, Math.abs(expected[i]));
  }
  return difference / scale;
}

async function checked(
  path: string,
  graph: Graph,
  model: Uint8Array | string,
  options: CheckedExportOptions,
): Promise<ExportCheck> {
  const images = typeof options.batch === "number" ? options.batch : IMAGES;
  const { form = {} } = options;
  const pictures = randomPictures(graph, images, form);
  const expected = await ownAnswers(graph, pictures, images, options);
  const actual = await runInOnnxRuntime(model, pictures, graph.input.shape, form);
  const difference = relativeDifference(actual, expected);
  const tolerance = form.half === true ? HALF_TOLERANCE : TOLERANCE;
  if (difference <= tolerance) return { images, difference, tolerance };
  throw new SecateurError(
    "check-failed",
    `${path}: expected onnxruntime to compute the same logits to ${tolerance} of the largest, ` +
      `but they differ by ${difference}; nothing was written, so report the model.`,
  );
}

/** The model that is checked: f16 does not cross into onnxruntime, so f32 goes in and comes out. */
function runnable(
  graph: Graph,
  model: Uint8Array | string,
  options: CheckedExportOptions,
): [Uint8Array | string, CheckedExportOptions] {
  const { input, output, ...rest } = options.form ?? {};
  if (input !== "f16" && output !== "f16") return [model, options];
  const same = { ...options, form: { ...rest, ...(input === "u8" ? { input } : {}) } };
  return [encodeOnnx(graph, same), same];
}

/**
 * Writes a graph as ONNX, all of it or nothing, after onnxruntime has computed the same logits from
 * it as the f32 engine here, on random pictures. Weights too large for one file go into
 * `<path>.data`.
 * @throws SecateurError `check-failed` when it has not, and then nothing is written; what stageOnnx,
 * runInOnnxRuntime and LoadedModel.open throw; `file-unwritable`.
 */
export async function writeCheckedOnnx(
  path: string,
  given: Graph,
  options: CheckedExportOptions = {},
): Promise<ExportCheck> {
  const graph = options.form?.half === true ? withHalfWeights(given) : given;
  const staged = await stageOnnx(path, graph, options);
  try {
    const check = await checked(path, graph, ...runnable(graph, staged.model, options));
    await staged.commit();
    return check;
  } finally {
    await staged.discard();
  }
}
