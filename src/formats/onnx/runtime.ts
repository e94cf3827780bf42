/** Running an ONNX model in onnxruntime, the reference for what is written. */

import { reasonOf, SecateurError } from "../../errors.ts";
import type { Shape } from "../../graph/graph.ts";
import { elementCount } from "../../tensor.ts";
import { fromHalf } from "../dtype.ts";
import type { FileForm } from "./file_form.ts";

/** Pictures [images][height][width][channels] as the engine takes them, channels first. */
function channelsFirst(pictures: Float32Array, shape: Shape): Float32Array {
  const [channels, height, width] = shape.length === 3 ? shape : [shape[0], 1, 1];
  const area = height * width, size = channels * area;
  const out = new Float32Array(pictures.length);
  for (let at = 0; at < pictures.length; at += size) {
    for (let c = 0; c < channels; c++) {
      for (let p = 0; p < area; p++) out[at + c * area + p] = pictures[at + p * channels + c];
    }
  }
  return out;
}

/** One output of a model, as its file has it. */
export interface RuntimeOutput {
  readonly dims: readonly number[];
  /** Undefined for what is no number. */
  readonly data: Float32Array | undefined;
  /** Whether it is a real number, and not an index or a choice. */
  readonly real: boolean;
}

/** A value to feed; extents with the images first. */
export interface RuntimeInput {
  readonly type: "float32" | "uint8";
  readonly dims: readonly number[];
  readonly data: Float32Array | Uint8Array;
}

/** Pictures [images][height][width][channels] as a file takes them. */
export function fileInput(pictures: Float32Array, shape: Shape, form: FileForm): RuntimeInput {
  const images = pictures.length / elementCount(shape);
  const last = form.inputLast === true;
  const values = last ? pictures : channelsFirst(pictures, shape);
  const dims = [images, ...(last ? [...shape.slice(1), shape[0]] : shape)];
  return form.input === "u8"
    ? { type: "uint8", data: Uint8Array.from(values), dims }
    : { type: "float32", data: values, dims };
}

function numbersOf(data: unknown, type: string): Float32Array | undefined {
  if (type === "string") return undefined;
  if (type === "float16" && data instanceof Uint16Array) return Float32Array.from(data, fromHalf);
  return Float32Array.from(data as ArrayLike<number | bigint>, Number);
}

const REAL: ReadonlySet<string> = new Set(["float16", "float32", "float64"]);

/**
 * All outputs of a model on the CPU, in its order; `model` is its bytes or its path. One input is that
 * of the first name; those that are not given are ones, of extents 1 where they are open.
 * @throws SecateurError `platform-unsupported` where onnxruntime is not installed or does not load,
 * `check-failed` when it refuses or fails to run the model.
 */
export async function runModel(
  model: Uint8Array | string,
  inputs: RuntimeInput | ReadonlyMap<string, RuntimeInput>,
): Promise<Map<string, RuntimeOutput>> {
  const { InferenceSession, Tensor } = await import("onnxruntime-node").catch((thrown) => {
    throw new SecateurError(
      "platform-unsupported",
      `Expected onnxruntime to check ONNX models with, but it does not load here ` +
        `(${reasonOf(thrown).split("\n")[0]}); install the npm package onnxruntime-node.`,
      { cause: thrown },
    );
  });
  try {
    const options = {
      intraOpNumThreads: 1,
      logSeverityLevel: 3, // errors alone: what it warns about is its own optimisation
    } as const;
    const session = typeof model === "string"
      ? await InferenceSession.create(model, options)
      : await InferenceSession.create(model, options);
    try {
      const feeds = Object.fromEntries(session.inputMetadata.map((about) => {
        const given = inputs instanceof Map
          ? inputs.get(about.name) as RuntimeInput | undefined
          : about.name === session.inputNames[0]
          ? inputs as RuntimeInput
          : undefined;
        if (given !== undefined) {
          return [about.name, new Tensor(given.type, given.data as never, [...given.dims])];
        }
        if (!about.isTensor) throw new Error(`input ${about.name} is no tensor`);
        const dims = about.shape.map((one) => typeof one === "number" && one > 0 ? one : 1);
        return [about.name, onesOf(about.type, dims, Tensor)];
      }));
      const results = await session.run(feeds);
      return new Map(session.outputNames.map((name) => {
        const { data, dims, type } = results[name];
        return [name, { dims, data: numbersOf(data, type), real: REAL.has(type) }];
      }));
    } finally {
      await session.release();
    }
  } catch (thrown) {
    throw new SecateurError(
      "check-failed",
      `onnxruntime was expected to run the exported model, but it says ` +
        `${
          JSON.stringify(reasonOf(thrown).slice(0, 300))
        }; try another --opset or report the model.`,
      { cause: thrown },
    );
  }
}

type Library = typeof import("onnxruntime-node");

/** Ones for an input that nothing is known of. */
function onesOf(type: string, dims: readonly number[], Tensor: Library["Tensor"]) {
  const count = elementCount(dims);
  if (type === "int64") return new Tensor("int64", new BigInt64Array(count).fill(1n), dims);
  if (type === "int32") return new Tensor("int32", new Int32Array(count).fill(1), dims);
  return new Tensor("float32", new Float32Array(count).fill(1), dims);
}

/**
 * The first output of a model for pictures [images][height][width][channels]; `shape` is one image's,
 * channels first. `form` says how the file wants them: channels last, or as bytes, but not as f16.
 * @throws SecateurError as runModel.
 */
export async function runInOnnxRuntime(
  model: Uint8Array | string,
  pictures: Float32Array,
  shape: Shape,
  form: FileForm = {},
): Promise<Float32Array> {
  const results = await runModel(model, fileInput(pictures, shape, form));
  const [{ data }] = results.values();
  return data!;
}
