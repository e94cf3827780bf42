/** Tensor data that a model keeps in other files of its folder. */

import { type FileHandle, open, realpath } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize, sep } from "node:path";
import { reasonOf, SecateurError } from "../../../errors.ts";
import { corrupt, escaped, quoted } from "../../bytes.ts";
import { systemCode } from "../../file.ts";
import { Refusal } from "./array.ts";
import type { ModelProto, TensorProto } from "../proto/onnx_pb.ts";
import { headerOf, isExternal } from "./tensor.ts";

/** Data of the tensors that lie outside the model's file. */
export type ExternalData = ReadonlyMap<TensorProto, Uint8Array>;

// Tensors may share bytes of a file, but not so often that a small file fills the memory.
const READS_PER_BYTE = 4;
// Twice what one file can hold: larger models are not what this program prunes.
const LARGEST_TOTAL = 2 ** 32 - 1;

// No single call takes more bytes.
const LONGEST_READ = 2 ** 30;

interface Region {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

function tensorsOf(model: ModelProto): TensorProto[] {
  const constants = (model.graph?.node ?? []).flatMap(({ attribute }) =>
    attribute.flatMap(({ t }) => t === undefined ? [] : [t])
  );
  return [...model.graph?.initializer ?? [], ...constants];
}

/** A path that cannot leave the folder by its spelling; links are checked when it is opened. */
function insideFolder(location: string, source: string): string {
  const normal = normalize(location);
  const inside = location !== "" && !isAbsolute(location) && !/[\\\0:]/.test(location) &&
    normal !== ".." && !normal.startsWith(`..${sep}`);
  if (inside) return normal;
  throw new SecateurError(
    "format-unsafe",
    `${source}: expected external data in the model's own folder, but it names ` +
      `${quoted(location)}; put the file beside the model and write the model again.`,
  );
}

function regionOf(tensor: TensorProto, source: string): Region {
  const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
  const { bytes } = headerOf(tensor, source);
  const number = (key: string, absent: number) => {
    const text = entries.get(key);
    if (text === undefined || text === "") return absent;
    const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
    if (Number.isSafeInteger(value)) return value;
    throw corrupt(
      source,
      `the external data of ${quoted(tensor.name)} has the ${key} ${quoted(text)}`,
    );
  };
  const location = insideFolder(entries.get("location") ?? "", source);
  const length = number("length", bytes);
  if (length !== bytes) {
    throw corrupt(
      source,
      `the external data of ${
        quoted(tensor.name)
      } has ${length} bytes where its shape needs ${bytes}`,
    );
  }
  return { location, offset: number("offset", 0), length };
}

/** An open file of external data, and how much of it has been asked for. */
interface DataFile {
  readonly handle: FileHandle;
  readonly size: number;
  read: number;
}

async function openData(folder: string, location: string, source: string): Promise<DataFile> {
  try {
    const root = await realpath(folder);
    const path = await realpath(join(folder, location));
    // A link may lead out of the folder.
    if (!path.startsWith(root.endsWith(sep) ? root : root + sep)) insideFolder(path, source);
    const handle = await open(path, "r");
    const status = await handle.stat();
    if (!status.isFile()) {
      await handle.close();
      throw new Error("it is not a regular file");
    }
    return { handle, size: status.size, read: 0 };
  } catch (thrown) {
    if (thrown instanceof SecateurError) throw thrown;
    throw new SecateurError(
      "file-missing",
      `${source}: expected external data in ${quoted(location)} beside the model, but it cannot ` +
        `be opened (${
          systemCode(thrown) ?? escaped(reasonOf(thrown))
        }); keep the model and its data files together.`,
      { cause: thrown },
    );
  }
}

async function readRegion(
  file: DataFile,
  { location, offset, length }: Region,
  source: string,
): Promise<Uint8Array> {
  file.read += length;
  if (offset + length > file.size || file.read > READS_PER_BYTE * file.size) {
    throw corrupt(
      source,
      `expected ${length} bytes of external data at byte ${offset} of ${quoted(location)}, which ` +
        `has only ${file.size} for all tensors`,
    );
  }
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const count = Math.min(length - filled, LONGEST_READ);
    const { bytesRead } = await file.handle.read(bytes, filled, count, offset + filled);
    if (bytesRead === 0) throw corrupt(source, `${quoted(location)} ended while it was read`);
    filled += bytesRead;
  }
  return bytes;
}

/**
 * Reads all external data of a model from the folder of its file. Sizes are checked before memory
 * is taken.
 * @throws SecateurError `format-unsafe` for locations outside that folder, `file-missing`,
 * `format-corrupt` for regions that do not fit.
 */
export async function readExternalData(model: ModelProto, source: string): Promise<ExternalData> {
  const files = new Map<string, DataFile>();
  const data = new Map<TensorProto, Uint8Array>();
  let total = 0;
  try {
    for (const tensor of tensorsOf(model).filter(isExternal)) {
      let region: Region;
      try {
        region = regionOf(tensor, source);
      } catch (thrown) {
        // Its node is refused, with this reason, when it is imported.
        if (thrown instanceof Refusal) continue;
        throw thrown;
      }
      total += region.length;
      if (total > LARGEST_TOTAL) {
        throw new SecateurError(
          "graph-unsupported",
          `${source}: expected less than 4 GiB of external data, but ${
            quoted(tensor.name)
          } takes ` +
            `it to ${total} bytes; export a smaller model.`,
        );
      }
      let file = files.get(region.location);
      if (file === undefined) {
        file = await openData(dirname(source), region.location, source);
        files.set(region.location, file);
      }
      data.set(tensor, await readRegion(file, region, source));
    }
  } finally {
    for (const { handle } of files.values()) await handle.close();
  }
  return data;
}
