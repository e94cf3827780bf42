/** Reading weights from any supported file, recognised by its content. */

import { SecateurError } from "../errors.ts";
import type { StateDict } from "../tensor.ts";
import { readFileBytes } from "./file.ts";
import { looksLikeSafetensors, parseSafetensors } from "./safetensors.ts";
import { withWholeWeights } from "./reparametrised.ts";
import {
  looksLikePickle,
  looksLikeZip,
  parseLegacyTorch,
  parseZipTorch,
  type SavedWeights,
} from "./torch/torch.ts";

const EXPECTED = "a PyTorch or safetensors checkpoint";

/** Named tensors of a file, and what was made of it beyond reading them. */
export interface Checkpoint {
  /** As f32. */
  readonly weights: StateDict;
  /** Sentences: which of several weights were taken, what was put together. */
  readonly said: readonly string[];
}

/**
 * The named tensors of a checkpoint: PyTorch (legacy stream or zip) or safetensors. Nothing in the
 * file is executed. Prefixes that wrappers give to all names (`module.` of DataParallel and
 * AveragedModel, `_orig_mod.` of torch.compile) are stripped; masked and normalised weights are put
 * together.
 * @throws SecateurError `file-missing`, `file-unreadable`; `format-unknown` for other formats and
 * for checkpoints without weights; `format-corrupt` for truncated or contradictory files;
 * `format-unsafe` for pickles that ask for more than tensors, plain containers and settings.
 */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  return parseCheckpoint(await readFileBytes(path, EXPECTED), path);
}

/** The weights of readCheckpoint alone. */
export async function readWeights(path: string): Promise<StateDict> {
  return (await readCheckpoint(path)).weights;
}

/** As readWeights, from bytes; `source` names them in errors. */
export function parseWeights(bytes: Uint8Array, source: string): StateDict {
  return parseCheckpoint(bytes, source).weights;
}

/** As readCheckpoint, from bytes; `source` names them in errors. */
export function parseCheckpoint(bytes: Uint8Array, source: string): Checkpoint {
  const saved = savedWeights(bytes, source);
  const { weights, averaged } = unwrapped(saved.weights);
  const whole = withWholeWeights(weights);
  const steps = averaged === undefined
    ? []
    : [`Its weights are averages over ${averaged} steps of training (AveragedModel).`];
  return { weights: whole.weights, said: [...saved.said, ...steps, ...whole.said] };
}

function savedWeights(bytes: Uint8Array, source: string): SavedWeights {
  if (looksLikeZip(bytes)) return parseZipTorch(bytes, source);
  if (looksLikePickle(bytes)) return parseLegacyTorch(bytes, source);
  if (looksLikeSafetensors(bytes)) {
    return { weights: parseSafetensors(bytes, source).tensors, said: [] };
  }
  throw new SecateurError(
    "format-unknown",
    `${source}: expected ${EXPECTED}, but this is ${describe(bytes)}; check that the download ` +
      "finished and that this is the file of the weights.",
  );
}

/** What wrappers of whole modules put before every name, in any order and number. */
const WRAPPING = ["module.", "_orig_mod."];
/** torch.optim.swa_utils.AveragedModel counts its steps beside the module that it wraps. */
const AVERAGED_STEPS = "n_averaged";

function unwrapped(weights: StateDict): { weights: StateDict; averaged?: number } {
  const steps = weights.get(AVERAGED_STEPS);
  let rest: StateDict = new Map([...weights].filter(([name]) => name !== AVERAGED_STEPS));
  const common = (prefix: string) =>
    rest.size > 0 && [...rest.keys()].every((name) => name.startsWith(prefix));
  const averages = steps !== undefined && common("module.");
  if (!averages) rest = weights;
  for (let prefix = WRAPPING.find(common); prefix !== undefined; prefix = WRAPPING.find(common)) {
    const { length } = prefix;
    rest = new Map([...rest].map(([name, tensor]) => [name.slice(length), tensor]));
  }
  return { weights: rest, ...(averages ? { averaged: steps.data[0] } : {}) };
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
