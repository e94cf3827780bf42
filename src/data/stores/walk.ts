/** What is in a tree of folders and links, whether it lies on a disk or in an archive. */

import { type RunOptions, stopIfAsked } from "../../progress.ts";

/** One name in a folder. */
export interface TreeChild {
  readonly name: string;
  readonly kind: "file" | "folder" | "link" | "other";
}

/** What a link leads to in the end. */
export interface LinkTarget {
  /** The path to it that goes through no link. */
  readonly real: string;
  readonly kind: "file" | "folder" | "other";
}

/** Folders and links by their real paths. */
export interface Tree {
  children(real: string): Promise<readonly TreeChild[]>;
  /** Undefined where a link leads nowhere. */
  follow(real: string): Promise<LinkTarget | undefined>;
}

/** Everything below a folder, by path relative to it, with "/" between names. */
export interface Listing {
  readonly files: readonly string[];
  readonly folders: readonly string[];
  /** The real path of the folder itself. */
  readonly root: string;
  /** The real paths of those files and folders that are reached through a link. */
  readonly linked: ReadonlyMap<string, string>;
  /** Those of `files` that cannot be read, and why. */
  readonly unreadable: ReadonlyMap<string, string>;
}

/** Folders read at once. */
const AT_ONCE = 32;
/** Folders between reports. */
const REPORTED = 512;
/** Folders that link to one another give more paths than any folder of pictures has. */
const MOST_PATHS = 20_000_000;

/** Folders within folders; nobody sorts pictures into more. */
const DEEPEST = 64;

/** A folder to be read. */
interface Place {
  readonly path: string;
  readonly real: string;
  readonly isLinked: boolean;
  readonly depth: number;
  readonly parent?: Place;
}

/** Whether a real folder is one of those that a place lies in: a link to it closes a loop. */
function isWithin(place: Place, real: string): boolean {
  for (let above: Place | undefined = place; above !== undefined; above = above.parent) {
    if (above.real === real) return true;
  }
  return false;
}

/** A child and, for a link, what it leads to. */
type Resolved = TreeChild & { readonly target?: LinkTarget };

async function resolvedChildren(tree: Tree, { real }: Place): Promise<Resolved[]> {
  const children = await tree.children(real);
  return await Promise.all(children.map(async (child) => {
    if (child.kind !== "link") return child;
    const target = await tree.follow(joined(real, child.name));
    return target === undefined ? child : { ...child, target };
  }));
}

const joined = (folder: string, name: string): string => folder === "" ? name : `${folder}/${name}`;

/**
 * Lists everything below `root`, following links; one that leads back to a folder it lies in is
 * passed over, so that a loop ends. A folder too deep to be read counts as a file that cannot be.
 * Throws "cancelled", and what reading the tree throws.
 */
export async function walk(
  tree: Tree,
  root: string,
  { signal, onProgress }: RunOptions = {},
): Promise<Listing> {
  const files: string[] = [], folders: string[] = [];
  const linked = new Map<string, string>(), unreadable = new Map<string, string>();
  const places: Place[] = [{ path: "", real: root, isLinked: false, depth: 0 }];

  const take = (place: Place, { name, kind, target }: Resolved): void => {
    const path = joined(place.path, name);
    const real = target?.real ?? joined(place.real, name);
    const isLinked = place.isLinked || kind === "link";
    const own = target?.kind ?? kind;
    if (own === "folder" && place.depth < DEEPEST) {
      if (isWithin(place, real)) return;
      folders.push(path);
      places.push({ path, real, isLinked, depth: place.depth + 1, parent: place });
    } else {
      files.push(path);
      if (own === "folder") unreadable.set(path, `it is a folder below ${DEEPEST} others`);
      if (own === "link") unreadable.set(path, "it is a link that leads nowhere");
      if (own === "other") unreadable.set(path, "it is no regular file");
    }
    if (isLinked) linked.set(path, real);
  };

  for (let next = 0; next < places.length;) {
    const batch = places.slice(next, next + AT_ONCE);
    next += batch.length;
    stopIfAsked(signal);
    if (next % REPORTED < batch.length) {
      onProgress?.({ stage: "listing files", done: next, total: places.length, unit: "folders" });
    }
    const found = await Promise.all(batch.map((place) => resolvedChildren(tree, place)));
    found.forEach((children, i) => children.forEach((child) => take(batch[i], child)));
    if (files.length + folders.length > MOST_PATHS) {
      throw new Error(`links among its folders lead to more than ${MOST_PATHS} paths`);
    }
  }
  return { files, folders, root, linked, unreadable };
}
