/**
 * PyTorch checkpoints: the legacy stream (before 1.6, or _use_new_zipfile_serialization=False) and
 * the zip form. Layouts: torch/serialization.py, `_legacy_save` and `_save`.
 */

import { SecateurError } from "../../errors.ts";
import { elementCount, type StateDict, type Tensor } from "../../tensor.ts";
import { ByteReader, corrupt, quoted } from "../bytes.ts";
import { bytesPerElement, gatherFloat32, toFloat32 } from "../dtype.ts";
import { PLAIN_DATA, unpickle } from "./pickle.ts";
import { PyList, type PyValue } from "./pickle_values.ts";
import { findStateDict } from "./state_dict.ts";
import { torchContext, type TorchStorage, type TorchTensor } from "./objects.ts";
import { ZipArchive } from "./zip.ts";

const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;

/** Room for small files whose tensors share storages; see checkExpansion. */
const FREE_ELEMENTS = 2 ** 20;

/** The state dict of a checkpoint, and what was chosen among others, as sentences. */
export interface SavedWeights {
  readonly weights: StateDict;
  readonly said: readonly string[];
}

/** Where the elements of a checkpoint are. */
interface StorageSource {
  /** The bytes of `total` elements kept under the storage's key. */
  bytesOf(storage: TorchStorage): Uint8Array;
  readonly littleEndian: boolean;
}

/** Whether bytes begin like a pickle of protocol 2 to 5, and so perhaps a legacy checkpoint. */
export function looksLikePickle(bytes: Uint8Array): boolean {
  return bytes.length >= 2 && bytes[0] === 0x80 && bytes[1] >= 2 && bytes[1] <= 5;
}

/** Whether bytes begin like a zip archive, and so perhaps a checkpoint of the zip form. */
export function looksLikeZip(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x50 && bytes[1] === 0x4b &&
    ((bytes[2] === 3 && bytes[3] === 4) || (bytes[2] === 5 && bytes[3] === 6));
}

/**
 * Reads the state dict of a checkpoint of the legacy form; executes nothing. Storages are
 * little-endian whatever the writing machine was: PyTorch swaps them when writing.
 * `source` names the bytes in errors.
 * @throws SecateurError `format-unsafe`, `format-corrupt`, `format-unknown`.
 */
export function parseLegacyTorch(bytes: Uint8Array, source: string): SavedWeights {
  const reader = new ByteReader(bytes, source);
  if (unpickle(reader, PLAIN_DATA) !== LEGACY_MAGIC) {
    throw new SecateurError(
      "format-unknown",
      `${source}: expected a PyTorch checkpoint, but this is a Python pickle of something else; ` +
        "save the weights with torch.save(model.state_dict(), path).",
    );
  }
  const protocol = unpickle(reader, PLAIN_DATA);
  if (protocol !== LEGACY_PROTOCOL) {
    throw new SecateurError(
      "format-unknown",
      `${source}: expected a PyTorch checkpoint of protocol ${LEGACY_PROTOCOL}, but it has ` +
        "another; save it again with a current PyTorch.",
    );
  }
  unpickle(reader, PLAIN_DATA); // the sizes of types on the writing machine
  const storages = new Map<string, TorchStorage>();
  const saved = unpickle(reader, torchContext(source, storages));
  const contents = readLegacyStorages(reader, storages);
  const bytesOf = ({ key }: TorchStorage) => {
    const content = contents.get(key);
    if (!content) throw corrupt(source, `storage ${quoted(key)} is missing`);
    return content;
  };
  return materialise(saved, { bytesOf, littleEndian: true }, bytes.length, source);
}

/** A pickled list of keys, then for each an element count (int64) and the elements. */
function readLegacyStorages(
  reader: ByteReader,
  storages: ReadonlyMap<string, TorchStorage>,
): Map<string, Uint8Array> {
  const keys = unpickle(reader, PLAIN_DATA);
  if (!(keys instanceof PyList)) throw corrupt(reader.source, "its list of storages is missing");
  const contents = new Map<string, Uint8Array>();
  for (const key of keys.items) {
    const storage = typeof key === "string" ? storages.get(key) : undefined;
    if (!storage) throw corrupt(reader.source, "its list of storages names an unknown one");
    const count = reader.uint64("the length of a storage");
    if (count !== storage.total) {
      throw corrupt(
        reader.source,
        `storage ${quoted(storage.key)} has ${count} elements where ${storage.total} are announced`,
      );
    }
    contents.set(storage.key, reader.take(count * bytesPerElement(storage.dtype), "a storage"));
  }
  return contents;
}

/**
 * Reads the state dict of a checkpoint of the zip form; executes nothing.
 * `source` names the bytes in errors.
 * @throws SecateurError `format-unsafe`, `format-corrupt`, `format-unknown`.
 */
export function parseZipTorch(bytes: Uint8Array, source: string): SavedWeights {
  const archive = new ZipArchive(bytes, source);
  const pickles = archive.names.filter((name) => /^([^/]+\/)?data\.pkl$/.test(name));
  const pickle = pickles.length === 1 ? archive.read(pickles[0]) : undefined;
  if (!pickle) {
    throw new SecateurError(
      "format-unknown",
      `${source}: expected a PyTorch checkpoint, but this is a zip archive without its data.pkl; ` +
        "save the weights with torch.save(model.state_dict(), path).",
    );
  }
  const folder = pickles[0].slice(0, -"data.pkl".length);
  if (archive.names.includes(`${folder}constants.pkl`)) {
    throw new SecateurError(
      "format-unknown",
      `${source}: expected a PyTorch checkpoint of weights, but this is a TorchScript program; ` +
        "load it in PyTorch and save its weights with torch.save(model.state_dict(), path).",
    );
  }
  const littleEndian = readByteOrder(archive.read(`${folder}byteorder`), source);
  const context = torchContext(source, new Map());
  const saved = unpickle(new ByteReader(pickle, `${source} (${quoted(pickles[0])})`), context);
  const bytesOf = ({ key, dtype, total }: TorchStorage) => {
    const content = archive.read(`${folder}data/${key}`);
    if (!content) throw corrupt(source, `storage ${quoted(key)} is missing`);
    if (content.length !== total * bytesPerElement(dtype)) {
      throw corrupt(
        source,
        `storage ${quoted(key)} has ${content.length} bytes where ${total} elements of ${dtype} ` +
          "are announced",
      );
    }
    return content;
  };
  return materialise(saved, { bytesOf, littleEndian }, bytes.length, source);
}

function readByteOrder(record: Uint8Array | undefined, source: string): boolean {
  if (!record) return true; // before PyTorch 2.1
  const order = new TextDecoder().decode(record.subarray(0, 8));
  if (order !== "little" && order !== "big") {
    throw corrupt(source, `its byte order is ${quoted(order)}, neither little nor big`);
  }
  return order === "little";
}

/** Copies the tensors of the state dict out of the file. */
function materialise(
  saved: PyValue,
  storages: StorageSource,
  fileLength: number,
  source: string,
): SavedWeights {
  const { tensors, said } = findStateDict(saved, source);
  checkExpansion(tensors, fileLength, source);
  const weights = new Map<string, Tensor>();
  for (const [name, tensor] of tensors) weights.set(name, toTensor(tensor, storages));
  return { weights, said };
}

/** Tensors may overlap in storage, so a small file can describe any amount of memory. */
function checkExpansion(
  tensors: ReadonlyMap<string, TorchTensor>,
  fileLength: number,
  source: string,
): void {
  let elements = 0;
  for (const { shape } of tensors.values()) elements += elementCount(shape);
  if (!(elements <= 2 * fileLength + FREE_ELEMENTS)) {
    throw corrupt(
      source,
      `its tensors expand to ${elements} elements, far more than its ${fileLength} bytes hold`,
    );
  }
}

function toTensor({ storage, offset, shape, strides }: TorchTensor, from: StorageSource): Tensor {
  const count = elementCount(shape);
  if (count === 0) return { shape, data: new Float32Array(0) };
  const bytes = from.bytesOf(storage);
  const start = storage.first + offset;
  if (!isRowMajor(shape, strides)) {
    const view = { offset: start, shape, strides };
    return { shape, data: gatherFloat32(bytes, storage.dtype, from.littleEndian, view) };
  }
  const size = bytesPerElement(storage.dtype);
  const part = bytes.subarray(start * size, (start + count) * size);
  return { shape, data: toFloat32(part, storage.dtype, from.littleEndian) };
}

function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    if (shape[d] !== 1 && strides[d] !== expected) return false;
    expected *= shape[d];
  }
  return true;
}
