/** Where an image folder's files are: a directory, or a tar archive read without unpacking. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { open, readdir, readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { reasonOf, SecateurError } from "../../errors.ts";
import { indexTar, type TarEntry } from "../sources/tar.ts";

/** Files by path relative to the root, with "/" between folders. */
export interface PictureStore {
  /** As the user named it, for messages. */
  readonly name: string;
  /** Unique on this machine, for caching. */
  readonly identity: string;
  readonly files: readonly string[];
  readonly folders: readonly string[];
  /** Changes when any of `paths` does. */
  stamp(paths: readonly string[]): Promise<string>;
  /** Where a file's bytes are, for those who read it themselves. */
  locate(path: string): PicturePlace;
  /** Opens the files for reading; what is open holds at most one file of the system's. */
  open(): Promise<OpenStore>;
}

/** A whole file, or a part of an archive. */
export interface PicturePlace {
  readonly path: string;
  readonly offset: number;
  /** Undefined up to the end of the file. */
  readonly size?: number;
}

/** A store while it is read. */
export interface OpenStore {
  read(path: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A picture file larger than this is refused before it is read. */
const LARGEST_FILE = 256 * 2 ** 20;
const DEEPEST_FOLDER = 8;
/** Some milliseconds of work; then others have a turn. */
const STAMPED_AT_ONCE = 512;

function tooLarge(path: string, size: number): Error {
  return new Error(`${path} has ${size} bytes, more than the ${LARGEST_FILE} accepted`);
}

/**
 * Opens a directory or a `.tar`.
 * @throws SecateurError `file-missing`, `file-unreadable`, `format-unknown` or `format-corrupt`.
 */
export async function openStore(path: string): Promise<PictureStore> {
  const status = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw error.code === "ENOENT" || error.code === "ENOTDIR"
      ? new SecateurError(
        "file-missing",
        `Expected an image folder (a directory or a .tar) at ${path}, but nothing is there; ` +
          `check the path.`,
      )
      : new SecateurError("file-unreadable", `Cannot read ${path}: ${reasonOf(error)}.`);
  });
  try {
    return status.isDirectory() ? await openFolder(path) : await openTar(path, status);
  } catch (error) {
    if (error instanceof SecateurError) throw error;
    throw new SecateurError("file-unreadable", `Cannot read ${path}: ${reasonOf(error)}.`);
  }
}

interface FileStatus {
  readonly size: number;
  readonly mtimeMs: number;
}

/** Deno's own function, if this is Deno: its node:fs takes five times as long for the same. */
const { Deno: deno } = globalThis as {
  Deno?: { statSync(path: string): { size: number; mtime: Date | null } };
};

/** Size and time of change of a file, at a quarter of the cost of waiting for each. */
function statusOf(path: string): FileStatus {
  if (deno === undefined) return statSync(path);
  const { size, mtime } = deno.statSync(path);
  return { size, mtimeMs: mtime?.getTime() ?? 0 };
}

async function openFolder(root: string): Promise<PictureStore> {
  const files: string[] = [];
  const folders: string[] = [];
  const walk = async (folder: string, depth: number): Promise<void> => {
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      const path = folder ? `${folder}/${entry.name}` : entry.name;
      const linked = entry.isSymbolicLink()
        ? await stat(join(root, path)).catch(() => undefined)
        : undefined;
      if (entry.isFile() || linked?.isFile()) files.push(path);
      if (entry.isDirectory() || linked?.isDirectory()) {
        folders.push(path);
        // Deeper than any image folder; also what ends a loop of links.
        if (depth < DEEPEST_FOLDER) await walk(path, depth + 1);
      }
    }
  };
  await walk("", 0);
  return {
    name: root,
    identity: await realpath(root),
    files,
    folders,
    async stamp(paths) {
      const hash = createHash("sha256");
      for (let first = 0; first < paths.length; first += STAMPED_AT_ONCE) {
        hash.update(
          paths.slice(first, first + STAMPED_AT_ONCE).map((path) => {
            const { size, mtimeMs } = statusOf(join(root, path));
            return `${path}\0${size}\0${mtimeMs}\n`;
          }).join(""),
        );
        await setImmediate();
      }
      return hash.digest("hex");
    },
    locate: (path) => ({ path: join(root, path), offset: 0 }),
    open: () =>
      Promise.resolve({
        async read(path) {
          const { size } = await stat(join(root, path));
          if (size > LARGEST_FILE) throw tooLarge(path, size);
          return await readFile(join(root, path));
        },
        close: () => Promise.resolve(),
      }),
  };
}

async function openTar(
  path: string,
  status: FileStatus,
): Promise<PictureStore> {
  const entries = await entriesOf(path);
  const files = new Map<string, TarEntry>();
  for (const entry of entries) if (entry.kind === "file") files.set(entry.path, entry);
  const digest = createHash("sha256").update(`${status.size}\0${status.mtimeMs}`).digest("hex");
  return {
    name: path,
    identity: await realpath(path),
    files: [...files.keys()],
    folders: entries.filter(({ kind }) => kind === "folder").map((entry) => entry.path),
    stamp: (paths) => Promise.resolve(`${digest}/${paths.length}`),
    locate(name) {
      const { offset, size } = files.get(name)!;
      return { path, offset, size };
    },
    async open() {
      const file = await open(path, "r");
      return {
        async read(name) {
          const { offset, size } = files.get(name)!;
          if (size > LARGEST_FILE) throw tooLarge(name, size);
          const bytes = Buffer.allocUnsafeSlow(size);
          const { bytesRead } = await file.read(bytes, 0, size, offset);
          if (bytesRead < size) throw new Error(`the archive ends inside ${name}`);
          return bytes;
        },
        close: () => file.close(),
      };
    },
  };
}

async function entriesOf(path: string): Promise<TarEntry[]> {
  const file = await open(path, "r");
  try {
    const magic = Buffer.alloc(2);
    await file.read(magic, 0, 2, 0);
    if (magic[0] === 0x1f && magic[1] === 0x8b) {
      throw new SecateurError(
        "format-unknown",
        `Expected a directory or an uncompressed .tar, but ${path} is compressed with gzip; ` +
          `run gunzip on it first.`,
      );
    }
    return await indexTar(file, path);
  } finally {
    await file.close();
  }
}
