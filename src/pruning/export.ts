/** The pruned model as ONNX, shown to compute what it computes here. */

import { type FileForm, withHalfWeights } from "../formats/onnx/file_form.ts";
import { activated } from "../formats/onnx/final_activation.ts";
import { fileInput, runModel, type RuntimeInput } from "../formats/onnx/runtime.ts";
import { encodeOnnx, encodeTail } from "../formats/onnx/export/export.ts";
import { stageOnnx, type WriteOptions } from "../formats/onnx/export/write.ts";
import type { Tail } from "../formats/onnx/tail/tail.ts";
import { SecateurError } from "../errors.ts";
import type { Graph, Shape } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { LoadedModel } from "../native/loaded_model.ts";
import { runOutputs } from "../native/outputs.ts";
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

/** Outputs of the f32 engine, channels first, a classifier's through the model's last operator. */
async function ownAnswers(
  graph: Graph,
  pictures: Float32Array,
  images: number,
  { threads, form }: CheckedExportOptions,
): Promise<Map<string, ArrayLike<number>>> {
  const request = { kind: "forward", name: "export", images } as const;
  const compute = { dtype: "f32", ...(threads === undefined ? {} : { threads }) } as const;
  using model = LoadedModel.open(graph, [request], compute);
  const { feeds } = model.entry("export");
  const outputs = await runOutputs(model, "export", { [feeds.images!]: pictures });
  const op = form?.activation?.op;
  return new Map(
    [...outputs].map(([name, values]) => [
      name,
      op === undefined ? values : activated(values, values.length / images, op),
    ]),
  );
}

function relativeDifference(
  actual: ArrayLike<number> | undefined,
  expected: ArrayLike<number>,
): number {
  if (actual?.length !== expected.length) return Infinity;
  let difference = 0, scale = 1;
  for (let i = 0; i < expected.length; i++) {
    const each = Math.abs(actual[i] - expected[i]);
    difference = each <= difference ? difference : each; // NaN stays
    scale = Math.max(scale, Math.abs(expected[i]));
  }
  return difference / scale;
}

type Answers = ReadonlyMap<string, ArrayLike<number>>;

/** What the file should answer with where its own outputs are those of the tail. */
async function behindAnswers(
  graph: Graph,
  form: FileForm & { readonly tail: Tail },
  answers: Answers,
  pictures: RuntimeInput,
  images: number,
): Promise<Map<string, ArrayLike<number>>> {
  const shapes = shapesOf(graph);
  const inputs = new Map<string, RuntimeInput>([[graph.input.name, pictures]]);
  for (const [name, values] of answers) {
    const data = Float32Array.from(values), dims = [images, ...shapes.get(name)!];
    inputs.set(name, { type: "float32", data, dims });
  }
  const results = await runModel(encodeTail(graph, form), inputs);
  // Choices, as of the best boxes, may differ by rounding alone.
  return new Map(
    [...results].flatMap(([name, { data, real }]) => real && data ? [[name, data]] : []),
  );
}

/** The largest difference between what onnxruntime makes of a file and what it should. */
async function differenceOf(
  graph: Graph,
  model: Uint8Array | string,
  { form = {}, ...options }: CheckedExportOptions,
  images: number,
): Promise<number> {
  const pictures = randomPictures(graph, images, form);
  const input = fileInput(pictures, graph.input.shape, form);
  const answers = await ownAnswers(graph, pictures, images, { ...options, form });
  const actual = await runModel(model, input);
  const { tail, ...plain } = form;
  if (tail === undefined) {
    // A channels-last answer of the file lies as the engine's values do.
    const [[name, expected]] = answers;
    const [found] = actual.values();
    const shape = shapesOf(graph).get(name)!;
    return relativeDifference(
      form.outputLast === true ? turned(found.data!, shape) : found.data,
      expected,
    );
  }
  const inner = await runModel(encodeOnnx(graph, { ...options, form: plain }), input);
  const body = [...inner.values()].map(({ data }, index) =>
    relativeDifference(data, answers.get(graph.outputs[index])!)
  );
  if (form.half === true) return Math.max(...body);
  const expected = await behindAnswers(graph, { ...form, tail }, answers, input, images);
  const whole = [...expected].map(([name, values]) =>
    relativeDifference(actual.get(name)?.data, values)
  );
  return Math.max(...body, ...whole);
}

/** [images][height][width][channels] as channels first. */
function turned(values: Float32Array, [channels, height, width]: Shape): Float32Array {
  const pixels = height * width, size = channels * pixels;
  return Float32Array.from(values, (_, i) => {
    const rest = i % size, image = i - rest;
    const c = Math.floor(rest / pixels), p = rest % pixels;
    return values[image + p * channels + c];
  });
}

async function checked(
  path: string,
  graph: Graph,
  model: Uint8Array | string,
  options: CheckedExportOptions,
): Promise<ExportCheck> {
  const { form = {}, batch } = options;
  const fixed = form.tail !== undefined && form.tail.nodes.length > 0 ? form.tail.batch : batch;
  const images = typeof fixed === "number" ? fixed : IMAGES;
  const difference = await differenceOf(graph, model, options, images);
  const tolerance = form.half === true ? HALF_TOLERANCE : TOLERANCE;
  if (difference <= tolerance) return { images, difference, tolerance };
  throw new SecateurError(
    "check-failed",
    `${path}: expected onnxruntime to compute the same outputs to ${tolerance} of the largest, ` +
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
