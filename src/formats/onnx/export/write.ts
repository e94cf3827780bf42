/** Writing graphs as ONNX files: one file, or two where the weights are too large for one. */

import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Graph } from "../../../graph/graph.ts";
import { besideOf, unwritable, writeFileAtomic } from "../../atomic.ts";
import {
  type DataFile,
  encodeOnnx,
  encodeOnnxBeside,
  type ExportOptions,
  LARGEST_INSIDE,
  weightBytes,
} from "./export.ts";

export interface WriteOptions extends ExportOptions {
  /**
   * Bytes of weights above which they go into a file beside the model; default what one file can
   * hold.
   */
  readonly largestInside?: number;
}

/** A model that is ready to be looked at, but not yet where it was asked for. */
export interface StagedOnnx {
  /** Its bytes, or the path of a complete copy. */
  readonly model: Uint8Array | string;
  /** Puts it in its place, as the last step; throws `file-unwritable`. */
  commit(): Promise<void>;
  /** Leaves no trace of it; may follow on a commit. */
  discard(): Promise<void>;
}

/** No single call takes more bytes. */
const LONGEST_WRITE = 2 ** 30;

async function writeData(path: string, { pieces }: DataFile): Promise<void> {
  const handle = await open(path, "wx");
  try {
    for (const { offset, bytes } of pieces) {
      for (let at = 0; at < bytes.length;) {
        const length = Math.min(bytes.length - at, LONGEST_WRITE);
        const { bytesWritten } = await handle.write(bytes, at, length, offset + at);
        at += bytesWritten;
      }
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Throws where putting a model in its place would remove something else than a file. */
async function requireReplaceable(path: string): Promise<void> {
  const status = await stat(path).catch(() => undefined);
  if (status === undefined || status.isFile()) return;
  throw unwritable(path, new Error("it is not a regular file"));
}

/** Model and data in a folder of their own beside the target. */
async function stageBeside(
  path: string,
  graph: Graph,
  options: ExportOptions,
): Promise<StagedOnnx> {
  const { model, data } = encodeOnnxBeside(graph, `${basename(path)}.data`, options);
  await requireReplaceable(path);
  const name = basename(path);
  let folder: string | undefined;
  const discard = async () => {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  };
  try {
    folder = besideOf(path);
    await mkdir(folder);
    await writeData(join(folder, data.location), data);
    await writeFileAtomic(join(folder, name), model);
  } catch (thrown) {
    await discard();
    throw unwritable(path, thrown);
  }
  const inside = folder;
  return {
    model: join(inside, name),
    async commit() {
      try {
        // An older model must not be left with the newer data, not even for a moment.
        await rm(path, { force: true });
        await rename(join(inside, data.location), join(dirname(path), data.location));
        await rename(join(inside, name), path);
      } catch (thrown) {
        throw unwritable(path, thrown);
      }
    },
    discard,
  };
}

/**
 * Makes an ONNX model of a graph, to be checked before it is put in its place. Weights of more bytes
 * than one file can hold go into `<path>.data`.
 * @throws SecateurError `file-unwritable`, and what encodeOnnx throws.
 */
export function stageOnnx(
  path: string,
  graph: Graph,
  { largestInside = LARGEST_INSIDE, ...options }: WriteOptions = {},
): Promise<StagedOnnx> {
  if (weightBytes(graph) > largestInside) return stageBeside(path, graph, options);
  const model = encodeOnnx(graph, options);
  return Promise.resolve({
    model,
    commit: () => writeFileAtomic(path, model),
    discard: () => Promise.resolve(),
  });
}

/**
 * Writes a graph as an ONNX model: all of it or nothing.
 * @throws SecateurError as stageOnnx.
 */
export async function writeOnnx(
  path: string,
  graph: Graph,
  options: WriteOptions = {},
): Promise<void> {
  const staged = await stageOnnx(path, graph, options);
  try {
    await staged.commit();
  } finally {
    await staged.discard();
  }
}
