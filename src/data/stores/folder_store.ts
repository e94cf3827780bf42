/** Pictures in a directory. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { type Dirent, statSync } from "node:fs";
import { open, readdir, readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { reasonOf } from "../../errors.ts";
import { type RunOptions, stopIfAsked } from "../../progress.ts";
import { type OpenStore, type PictureStore, requireSize } from "./store.ts";
import { type LinkTarget, type Tree, type TreeChild, walk } from "./walk.ts";

/** Some milliseconds of work; then others have a turn. */
const STAMPED_AT_ONCE = 512;

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

/** A line that changes when a file does. */
function stampLine(root: string, path: string): string {
  try {
    const { size, mtimeMs } = statusOf(join(root, path));
    return `${path}\0${size}\0${mtimeMs}\n`;
  } catch {
    return `${path}\0gone\n`; // such as a link that leads nowhere
  }
}

function kindOf(entry: Pick<Dirent, "isFile" | "isDirectory" | "isSymbolicLink">) {
  if (entry.isSymbolicLink()) return "link";
  return entry.isDirectory() ? "folder" : entry.isFile() ? "file" : "other";
}

/** The system's folders, by absolute path. */
const disk: Tree = {
  async children(real): Promise<TreeChild[]> {
    const entries = await readdir(real, { withFileTypes: true });
    return entries.map((entry) => ({ name: entry.name, kind: kindOf(entry) }));
  },
  async follow(path): Promise<LinkTarget | undefined> {
    try {
      const [real, status] = await Promise.all([realpath(path), stat(path)]);
      return { real, kind: status.isDirectory() ? "folder" : status.isFile() ? "file" : "other" };
    } catch {
      return undefined; // it leads nowhere, or round in a circle
    }
  },
};

/** Why the system does not give a file, without its path, which the sentence names. */
function systemReason(error: unknown): Error {
  const { code } = error as NodeJS.ErrnoException;
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: "it is gone",
    EACCES: "it may not be read",
    EPERM: "it may not be read",
    EIO: "the disk fails to read it",
  };
  const reason = code === undefined ? reasonOf(error) : reasons[code] ?? `the system says ${code}`;
  return new Error(reason, { cause: error });
}

function openFiles(root: string): OpenStore {
  const guarded = async <T>(reading: Promise<T>): Promise<T> => {
    try {
      return await reading;
    } catch (error) {
      throw systemReason(error);
    }
  };
  return {
    async read(path) {
      const { size } = await guarded(stat(join(root, path)));
      requireSize(size);
      return await guarded(readFile(join(root, path)));
    },
    async head(path, length) {
      const file = await guarded(open(join(root, path), "r"));
      try {
        const bytes = Buffer.alloc(length);
        const { bytesRead } = await guarded(file.read(bytes, 0, length, 0));
        return bytes.subarray(0, bytesRead);
      } finally {
        await file.close();
      }
    },
    close: () => Promise.resolve(),
  };
}

/** Throws what the system throws for a folder that cannot be read. */
export async function openFolderStore(
  root: string,
  options: RunOptions,
): Promise<PictureStore> {
  const identity = await realpath(root);
  return {
    ...await walk(disk, identity, options),
    name: root,
    identity,
    async stamp(paths, { signal, onProgress } = {}) {
      const hash = createHash("sha256");
      for (let first = 0; first < paths.length; first += STAMPED_AT_ONCE) {
        const some = paths.slice(first, first + STAMPED_AT_ONCE);
        hash.update(some.map((path) => stampLine(root, path)).join(""));
        const done = first + some.length;
        onProgress?.({ stage: "looking for changes", done, total: paths.length, unit: "files" });
        await setImmediate();
        stopIfAsked(signal);
      }
      return hash.digest("hex");
    },
    locate: (path) => ({ path: join(root, path), offset: 0 }),
    open: () => Promise.resolve(openFiles(root)),
  };
}
