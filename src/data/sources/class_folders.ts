/** Which files of an image folder are the pictures of a split, and what their classes are. */
import { SecateurError } from "../../errors.ts";
import { quoted, quotedPath } from "../../formats/bytes.ts";

/** A file of a class folder and its class. */
export interface LabelledPath {
  readonly path: string;
  readonly label: number;
}

/** What is in an image folder. */
export interface FolderListing {
  /** As the user named it, for messages. */
  readonly name: string;
  readonly files: readonly string[];
  readonly folders: readonly string[];
  /** The real path of the image folder, and of what in it is reached through a link. */
  readonly root?: string;
  readonly linked?: ReadonlyMap<string, string>;
}

/** A listing with the folders that are known by files in them alone: tars need not name any. */
function withAllFolders({ files, folders, ...rest }: FolderListing): FolderListing {
  const all = new Set(folders);
  for (const file of files) {
    for (let end = file.lastIndexOf("/"); end > 0; end = file.lastIndexOf("/", end - 1)) {
      const folder = file.slice(0, end);
      if (all.has(folder)) break;
      all.add(folder);
    }
  }
  return { ...rest, files, folders: [...all] };
}

/** Names a split's folder may have, the first found being taken. */
const SPLIT_FOLDERS = {
  train: ["train"],
  test: ["test", "val"],
} as const;

/** By UTF-16 code units, as `sorted` does for names in Python: the order of torchvision's labels. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function isHidden(path: string): boolean {
  return path.split("/").some((part) => part.startsWith(".") || part === "__MACOSX");
}

/** The folder that holds the splits: the root, or a single folder in which all lies. */
function rootOf(listing: FolderListing): string {
  const beside = listing.files.filter((path) => !path.includes("/"));
  const firsts = [...listing.folders, ...beside].map((path) => path.split("/")[0]);
  const tops = new Set(firsts.filter((name) => !isHidden(name)));
  const names: readonly string[] = [...SPLIT_FOLDERS.train, ...SPLIT_FOLDERS.test];
  if (names.some((name) => tops.has(name)) || tops.size !== 1) return "";
  return `${[...tops][0]}/`;
}

/** Folders directly within `parent` ("a/b/"). */
function childFolders(listing: FolderListing, parent: string): string[] {
  const children = new Set<string>();
  for (const folder of listing.folders) {
    if (folder.startsWith(parent)) children.add(folder.slice(parent.length).split("/")[0]);
  }
  return [...children].filter((name) => name !== "" && !isHidden(name)).sort(byCodeUnits);
}

/** The classes of a folder: the names of the folders in it. */
function classesIn(listing: FolderListing, folder: string): string[] {
  const classes = childFolders(listing, folder);
  if (classes.length > 0) return classes;
  throw new SecateurError(
    "data-empty",
    `Expected one folder per class in ${folder === "" ? "the top" : quotedPath(folder)} of ` +
      `${listing.name}, but it has no folders; put each picture into the folder of its class.`,
  );
}

/** Throws "data-mismatch" unless a split has the classes of the training folder beside it. */
function requireAgreement(listing: FolderListing, root: string, folder: string): void {
  const classes = new Set(childFolders(listing, folder));
  const training = new Set(childFolders(listing, `${root}train/`));
  const unknown = [...classes].find((name) => !training.has(name));
  const missing = [...training].find((name) => !classes.has(name));
  if (training.size === 0 || (unknown === undefined && missing === undefined)) return;
  const what = unknown !== undefined
    ? `the class ${quoted(unknown)}, which train/ has not`
    : `no class ${quoted(missing!)}, which train/ has`;
  throw new SecateurError(
    "data-mismatch",
    `Expected the same class folders in every split of ${listing.name}, but ${
      quotedPath(folder)
    } ` +
      `has ${what}: make the folders alike, or say with --labels which class has which number.`,
  );
}

/** The folder of a split within a folder that has several. */
function splitFolder(listing: FolderListing, split: "train" | "test", agree: boolean): string {
  const root = rootOf(listing);
  const present = childFolders(listing, root);
  const named = SPLIT_FOLDERS[split].find((name) => present.includes(name));
  if (named === undefined) {
    const wanted = SPLIT_FOLDERS[split].map((name) => `${name}/`).join(" or ");
    const some = present.slice(0, 5).map((name) => quoted(name)).join(", ");
    const found = present.length === 0
      ? "no folders"
      : `${some}${present.length > 5 ? ` and ${present.length - 5} more` : ""}`;
    throw new SecateurError(
      "data-empty",
      `Expected ${wanted} with one folder per class in ${listing.name}, but found ${found}; name ` +
        `the folders of training and test pictures with --train and --val in place of --data.`,
    );
  }
  const folder = `${root}${named}/`;
  classesIn(listing, folder);
  if (agree) requireAgreement(listing, root, folder);
  return folder;
}

/**
 * The folder whose folders are classes: the top, or a single folder in which all of them lie. Throws
 * "data-mismatch" for a folder of splits.
 */
function wholeFolder(listing: FolderListing): string {
  const tops = childFolders(listing, "");
  const inner = tops.length === 1 ? childFolders(listing, `${tops[0]}/`) : [];
  const [folder, classes] = inner.length > 0 ? [`${tops[0]}/`, inner] : ["", tops];
  const splits: readonly string[] = [...SPLIT_FOLDERS.train, ...SPLIT_FOLDERS.test];
  if (classes.length < 2 || !classes.every((name) => splits.includes(name))) return folder;
  throw new SecateurError(
    "data-mismatch",
    `Expected one folder per class in ${listing.name}, but its folders are splits ` +
      `(${
        classes.map(quoted).join(", ")
      }): name one of them, or the whole with --data imagefolder:.`,
  );
}

/** Which pictures of a folder are meant, and what is asked of its classes. */
export interface FolderPart {
  /** A split in a folder of splits, or the whole of a folder of classes. */
  readonly part: "train" | "test" | "whole";
  /** The classes' labels come from elsewhere, so that splits may have different ones. */
  readonly labelled?: boolean;
}

/** Tells which files are links to others that are read at another place, or were read already. */
class LinkedFiles {
  readonly #root: string;
  readonly #linked: ReadonlyMap<string, string>;
  readonly #seen = new Set<string>();

  constructor({ root = "", linked = new Map() }: FolderListing) {
    this.#root = root;
    this.#linked = linked;
  }

  /** Where a file is when no link is gone through. */
  real(path: string): string {
    return this.#linked.get(path) ?? (this.#root === "" ? path : `${this.#root}/${path}`);
  }

  /** Whether a class has had this file. */
  isRepeated(path: string, label: number): boolean {
    if (!this.#linked.has(path)) return false;
    const key = `${label}\0${this.real(path)}`;
    const repeated = this.#seen.has(key);
    this.#seen.add(key);
    return repeated;
  }
}

/**
 * The files of a split's class folders, ordered by path, with labels that count the class folders
 * in order of name. Files may lie in folders within a class; everything hidden is passed over, and
 * so is what has no class because it lies beside the class folders. Every real file counts once:
 * links to it from elsewhere in the split do not, and of several links in a class the first does.
 *
 * @throws SecateurError `data-empty` or `data-mismatch`.
 */
export function labelledPaths(
  given: FolderListing,
  { part, labelled = false }: FolderPart,
): { readonly paths: LabelledPath[]; readonly classes: string[] } {
  const listing = withAllFolders(given);
  const folder = part === "whole" ? wholeFolder(listing) : splitFolder(listing, part, !labelled);
  const classes = classesIn(listing, folder);
  const labels = new Map(classes.map((name, label) => [name, label]));
  const links = new LinkedFiles(listing);
  const base = folder === "" ? listing.root ?? "" : links.real(folder.slice(0, -1));
  const own: LabelledPath[] = [], others: LabelledPath[] = [];
  const ownFiles = new Set<string>();
  for (const path of listing.files) {
    if (!path.startsWith(folder)) continue;
    const rest = path.slice(folder.length);
    const label = labels.get(rest.split("/", 1)[0]);
    if (label === undefined || !rest.includes("/") || isHidden(rest)) continue;
    const real = links.real(path);
    if (real === (base === "" ? rest : `${base}/${rest}`)) {
      own.push({ path, label });
      ownFiles.add(real);
    } else others.push({ path, label });
  }
  others.sort((a, b) => byCodeUnits(a.path, b.path));
  const paths = [
    ...own,
    ...others.filter(({ path, label }) =>
      !ownFiles.has(links.real(path)) && !links.isRepeated(path, label)
    ),
  ].sort((a, b) => byCodeUnits(a.path, b.path));
  requireFiles(listing.name, folder, classes, paths);
  return { paths, classes };
}

/** Throws "data-empty" for a class folder without files. */
function requireFiles(
  name: string,
  folder: string,
  classes: readonly string[],
  paths: readonly LabelledPath[],
): void {
  const counts = new Int32Array(classes.length);
  for (const { label } of paths) counts[label]++;
  const empty = counts.indexOf(0);
  if (empty >= 0) throw emptyClass(name, `${folder}${classes[empty]}`, "has no files of its own");
}

/** The error for a class folder in which there is no picture; `finding` completes "but it". */
export function emptyClass(name: string, folder: string, finding: string): SecateurError {
  return new SecateurError(
    "data-empty",
    `Expected pictures in every class folder of ${name}, but ${quotedPath(folder)} ${finding}; ` +
      `add pictures or remove the folder.`,
  );
}
