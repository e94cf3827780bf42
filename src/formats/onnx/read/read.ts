/** Reading ONNX files as graphs. */

import { readFileBytes } from "../../file.ts";
import { decodeModel } from "./decode.ts";
import { readExternalData } from "./external.ts";
import { inlineFunctions } from "./functions.ts";
import { requireFraming } from "./framing.ts";
import { type Imported, importModel, type ImportOptions } from "../import/import.ts";
import { modelOf } from "./reader.ts";

/**
 * The graph of an ONNX file, with external data from its folder, and what else the file said.
 * @throws SecateurError `file-missing`, `file-unreadable`; `format-unknown` for other formats,
 * `format-corrupt` for damaged files, `format-unsafe` for external data outside the folder;
 * `graph-invalid` for cycles, duplicate names and values nothing writes; `graph-unsupported` naming
 * all nodes that cannot be imported at once.
 */
export async function readOnnx(path: string, options: ImportOptions = {}): Promise<Imported> {
  await requireFraming(path);
  const proto = inlineFunctions(
    decodeModel(await readFileBytes(path, "an ONNX model"), path),
    path,
  );
  const external = await readExternalData(proto, path);
  return importModel(modelOf(proto, path, external), options);
}

/** As readOnnx, from bytes without external data; `source` names them in errors. */
export function parseOnnx(
  bytes: Uint8Array,
  source: string,
  options: ImportOptions = {},
): Imported {
  const proto = inlineFunctions(decodeModel(bytes, source), source);
  return importModel(modelOf(proto, source), options);
}
