/** Opens a runtime by its name. */

import type { ComputeOptions } from "../native/loaded_model.ts";
import { onnxRuntime } from "./onnx_runtime.ts";
import type { RunConditions, Runtime, RuntimeName } from "./runtime.ts";
import { secateurRuntime } from "./secateur_runtime.ts";

/**
 * The runtime of that name; `dtype` is secateur's, as onnxruntime computes what ONNX files hold,
 * f32. Throws "platform-unsupported" where it does not load.
 */
export async function openRuntime(
  name: RuntimeName,
  conditions: RunConditions,
  dtype: ComputeOptions["dtype"],
): Promise<Runtime> {
  return name === "secateur" ? secateurRuntime(conditions, dtype) : await onnxRuntime(conditions);
}
