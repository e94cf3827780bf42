/** A look at the outermost fields of a large file, before memory is taken for all of it. */

import { type FileHandle, open } from "node:fs/promises";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { reasonOf, SecateurError } from "../../../errors.ts";
import { corrupt, quoted } from "../../bytes.ts";

/** Smaller files are as quickly read. */
const LARGE = 2 ** 26;
const LARGEST = 2 ** 31 - 1;
/** A tag and a length, ten bytes each at most. */
const HEADER = 20;
/** A model has one graph and some strings, operator sets and functions. */
const MOST_FIELDS = 10_000;

/** Bytes from the start of a field to the start of the next. */
function extentOf(header: Uint8Array): number {
  const reader = new BinaryReader(header);
  const [number, wire] = reader.tag();
  if (wire === WireType.LengthDelimited) {
    const length = reader.uint32();
    return reader.pos + length;
  }
  reader.skip(wire, number);
  return reader.pos;
}

async function walk(handle: FileHandle, size: number): Promise<void> {
  const header = new Uint8Array(HEADER);
  let at = 0;
  for (let field = 0; at < size; field++) {
    if (field === MOST_FIELDS) throw new RangeError(`it has over ${MOST_FIELDS} fields`);
    const { bytesRead } = await handle.read(header, 0, HEADER, at);
    at += extentOf(header.subarray(0, bytesRead));
  }
  if (at > size) throw new RangeError(`a field runs past byte ${size}`);
}

/**
 * Throws `file-unreadable` for a file of more than a protocol buffer may have, and `format-corrupt`
 * unless the outermost fields of a large one end where the file does. What cannot be opened is left
 * to whoever reads it.
 */
export async function requireFraming(path: string): Promise<void> {
  const handle = await open(path, "r").catch(() => undefined);
  if (handle === undefined) return;
  try {
    const status = await handle.stat();
    if (!status.isFile() || status.size < LARGE) return;
    if (status.size > LARGEST) {
      throw new SecateurError(
        "file-unreadable",
        `${path}: expected an ONNX model of less than 2 GiB, but this has ${status.size} bytes; ` +
          "export it with its weights as external data.",
      );
    }
    await walk(handle, status.size);
  } catch (thrown) {
    if (thrown instanceof SecateurError) throw thrown;
    throw corrupt(path, `expected an ONNX model, but ${quoted(reasonOf(thrown))}`);
  } finally {
    await handle.close();
  }
}
