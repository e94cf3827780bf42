/** Running an ONNX model in onnxruntime, the reference for what is written. */

import { reasonOf, SecateurError } from "../../errors.ts";
import type { Shape } from "../../graph/graph.ts";
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

/** Pictures in the type that a file takes. */
function typed(pictures: Float32Array, { input }: FileForm) {
  if (input === "u8") return ["uint8", Uint8Array.from(pictures)] as const;
  return ["float32", pictures] as const;
}

/**
 * The output of a model with one input, on the CPU, for pictures [images][height][width][channels];
 * `model` is its bytes or its path, `shape` one image's, channels first. `form` says how the file
 * wants them: channels last, or as bytes, but not as f16. Answers are as the file gives them.
 * @throws SecateurError `platform-unsupported` where onnxruntime is not installed or does not load,
 * `check-failed` when it refuses or fails to run the model.
 */
export async function runInOnnxRuntime(
  model: Uint8Array | string,
  pictures: Float32Array,
  shape: Shape,
  form: FileForm = {},
): Promise<Float32Array> {
  const { InferenceSession, Tensor } = await import("onnxruntime-node").catch((thrown) => {
    throw new SecateurError(
      "platform-unsupported",
      `Expected onnxruntime to check ONNX models with, but it does not load here ` +
        `(${reasonOf(thrown).split("\n")[0]}); install the npm package onnxruntime-node.`,
      { cause: thrown },
    );
  });
  const images = pictures.length / shape.reduce((product, extent) => product * extent, 1);
  try {
    const options = {
      intraOpNumThreads: 1,
      logSeverityLevel: 3, // errors alone: what it warns about is its own optimisation
    } as const;
    const session = typeof model === "string"
      ? await InferenceSession.create(model, options)
      : await InferenceSession.create(model, options);
    try {
      const [type, data] = typed(
        form.inputLast === true ? pictures : channelsFirst(pictures, shape),
        form,
      );
      const extents = form.inputLast === true ? [...shape.slice(1), shape[0]] : shape;
      const input = new Tensor(type, data, [images, ...extents]);
      const results = await session.run({ [session.inputNames[0]]: input });
      return Float32Array.from(results[session.outputNames[0]].data as Float32Array);
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
