/** Reading weights from any supported file, recognised by its content. */

import { SecateurError } from "../errors.ts";
import type { StateDict } from "../tensor.ts";
import { readFileBytes } from "./file.ts";
import { looksLikeSafetensors, parseSafetensors } from "./safetensors.ts";
import { withoutPrefix } from "./torch/state_dict.ts";
import { looksLikePickle, looksLikeZip, parseLegacyTorch, parseZipTorch } from "./torch/torch.ts";

const EXPECTED = "a PyTorch or safetensors checkpoint";

/**
 * The named tensors of a checkpoint, as f32: PyTorch (legacy stream or zip) or safetensors. Nothing
 * in the file is executed. A `module.` prefix common to all names is stripped.
 * @throws SecateurError `file-missing`, `file-unreadable`; `format-unknown` for other formats and
 * for checkpoints without weights; `format-corrupt` for truncated or contradictory files;
 * `format-unsafe` for pickles that ask for more than tensors in plain containers.
 */
export async function readWeights(path: string): Promise<StateDict> {
  return parseWeights(await readFileBytes(path, EXPECTED), path);
}

/** As readWeights, from bytes; `source` names them in errors. */
export function parseWeights(bytes: Uint8Array, source: string): StateDict {
  if (looksLikeZip(bytes)) return parseZipTorch(bytes, source);
  if (looksLikePickle(bytes)) return parseLegacyTorch(bytes, source);
  if (looksLikeSafetensors(bytes)) {
    return withoutPrefix(parseSafetensors(bytes, source).tensors, "module.");
  }
  throw new SecateurError(
    "format-unknown",
    `${source}: expected ${EXPECTED}, but this is ${describe(bytes)}; check that the download ` +
      "finished and that this is the file of the weights.",
  );
}

/** Beginnings of files that people take for checkpoints, or get instead of them. */
const SIGNATURES: readonly (readonly [number, string, string])[] = [
  [0, "version https://git-lfs", "a Git LFS pointer, not the file it points to"],
  [0, "\x89HDF", "an HDF5 file"],
  [0, "\x93NUMPY", "a NumPy array"],
  [0, "\x1f\x8b", "a gzip archive, which must be unpacked first"],
  [0, "<", "a web page or XML"],
  [257, "ustar", "a tar archive"],
  [0, "\x08", "an ONNX or other protocol buffer"],
];

function describe(bytes: Uint8Array): string {
  if (bytes.length === 0) return "an empty file";
  const known = SIGNATURES.find(([at, text]) =>
    [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0))
  );
  return known ? known[2] : "neither";
}
