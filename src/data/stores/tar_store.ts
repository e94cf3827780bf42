/** Pictures in a tar archive, read without unpacking it. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { type FileHandle, open, realpath } from "node:fs/promises";
import { SecateurError } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";
import { type OpenStore, type PictureStore, requireSize } from "./store.ts";
import { indexTar, type TarEntry } from "./tar.ts";
import { type LinkTarget, type Tree, type TreeChild, walk } from "./walk.ts";

/** As many links are followed from one to the next as Linux follows. */
const MOST_LINKS = 40;

/** The folders of an archive, by path within it. */
class TarTree implements Tree {
  /** By path; of entries with one path the last counts, as when the archive is unpacked. */
  readonly entries = new Map<string, TarEntry>();
  readonly #children = new Map<string, Set<string>>([["", new Set()]]);

  constructor(entries: readonly TarEntry[]) {
    for (const entry of entries) {
      if (entry.path === "") continue;
      this.entries.set(entry.path, entry);
      if (entry.kind === "folder") this.#folder(entry.path);
      this.#folder(parentOf(entry.path)).add(nameOf(entry.path));
    }
  }

  children(folder: string): Promise<TreeChild[]> {
    const names = [...this.#children.get(folder) ?? []];
    return Promise.resolve(names.map((name) => {
      const path = folder === "" ? name : `${folder}/${name}`;
      return { name, kind: this.#kindOf(path) };
    }));
  }

  follow(path: string): Promise<LinkTarget | undefined> {
    return Promise.resolve(this.#resolve(path.split("/")));
  }

  #kindOf(path: string): TreeChild["kind"] {
    const kind = this.entries.get(path)?.kind;
    // A folder that something lies in need not be named by itself.
    return kind === "link" || !this.#children.has(path) ? kind ?? "other" : "folder";
  }

  /** Where a path leads when every link on it is followed; links out of the archive lead nowhere. */
  #resolve(path: readonly string[]): LinkTarget | undefined {
    const rest = [...path];
    let real: string[] = [];
    let links = 0;
    while (rest.length > 0) {
      const name = rest.shift()!;
      if (name === "" || name === ".") continue;
      if (name === "..") {
        if (real.length === 0) return undefined;
        real = real.slice(0, -1);
        continue;
      }
      const here = [...real, name].join("/");
      const entry = this.entries.get(here);
      if (entry?.kind === "link") {
        if (++links > MOST_LINKS || entry.target === undefined) return undefined;
        if (entry.target.startsWith("/")) return undefined;
        rest.unshift(...entry.target.split("/"));
      } else {
        if (entry === undefined && !this.#children.has(here)) return undefined;
        real = [...real, name];
      }
    }
    const found = real.join("/");
    const kind = found === "" ? "folder" : this.#kindOf(found);
    return kind === "link" ? undefined : { real: found, kind };
  }

  /** The names in a folder, which and whose folders are made where they are new. */
  #folder(path: string): Set<string> {
    const known = this.#children.get(path);
    if (known !== undefined) return known;
    const names = new Set<string>();
    this.#children.set(path, names);
    this.#folder(parentOf(path)).add(nameOf(path));
    return names;
  }
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));
const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/** Throws "format-unknown" or "format-corrupt"; what the system throws for a file it cannot read. */
export async function openTarStore(
  path: string,
  status: { readonly size: number; readonly mtimeMs: number },
  options: RunOptions,
): Promise<PictureStore> {
  const tree = new TarTree(await entriesOf(path, options));
  const listing = await walk(tree, "", options);
  const entry = (name: string): TarEntry => tree.entries.get(listing.linked.get(name) ?? name)!;
  const digest = createHash("sha256").update(`${status.size}\0${status.mtimeMs}`).digest("hex");
  return {
    ...listing,
    name: path,
    identity: await realpath(path),
    stamp: (paths) => Promise.resolve(`${digest}/${paths.length}`),
    locate(name) {
      const { offset, size } = entry(name);
      return { path, offset, size };
    },
    async open() {
      return openEntries(await open(path, "r"), entry);
    },
  };
}

function openEntries(file: FileHandle, entry: (name: string) => TarEntry): OpenStore {
  const take = async (offset: number, length: number): Promise<Uint8Array> => {
    const bytes = Buffer.allocUnsafeSlow(length);
    const { bytesRead } = await file.read(bytes, 0, length, offset);
    if (bytesRead < length) throw new Error("the archive ends inside it");
    return bytes;
  };
  return {
    async read(name) {
      const { offset, size } = entry(name);
      requireSize(size);
      return await take(offset, size);
    },
    async head(name, length) {
      const { offset, size } = entry(name);
      return await take(offset, Math.min(size, length));
    },
    close: () => file.close(),
  };
}

/** What people have in place of a tar, by its first bytes, and how it becomes one. */
const PACKED = [
  { start: "\x1f\x8b", what: "compressed with gzip", advice: "run gunzip on it" },
  { start: "\xfd7zXZ\0", what: "compressed with xz", advice: "run unxz on it" },
  { start: "BZh", what: "compressed with bzip2", advice: "run bunzip2 on it" },
  { start: "\x28\xb5\x2f\xfd", what: "compressed with zstd", advice: "run unzstd on it" },
  { start: "PK", what: "a ZIP", advice: "unpack it and name the folder" },
] as const;

async function entriesOf(path: string, options: RunOptions): Promise<TarEntry[]> {
  const file = await open(path, "r");
  try {
    const magic = Buffer.alloc(6);
    await file.read(magic, 0, magic.length, 0);
    const packed = PACKED.find(({ start }) => magic.toString("latin1").startsWith(start));
    if (packed !== undefined) {
      throw new SecateurError(
        "format-unknown",
        `Expected a directory or an uncompressed .tar, but ${path} is ${packed.what}; ` +
          `${packed.advice}.`,
      );
    }
    return await indexTar(file, path, options);
  } finally {
    await file.close();
  }
}
