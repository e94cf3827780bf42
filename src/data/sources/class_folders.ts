/** Which files of an image folder are the pictures of a split, and what their classes are. */
import { SecateurError } from "../../errors.ts";

/** A picture file and its class. */
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
}

/** A listing with the folders that are known by files in them alone: tars need not name any. */
function withAllFolders({ name, files, folders }: FolderListing): FolderListing {
  const all = new Set(folders);
  for (const file of files) {
    for (let end = file.lastIndexOf("/"); end > 0; end = file.lastIndexOf("/", end - 1)) {
      const folder = file.slice(0, end);
      if (all.has(folder)) break;
      all.add(folder);
    }
  }
  return { name, files, folders: [...all] };
}

/** Names a split's folder may have, the first found being taken. */
const SPLIT_FOLDERS = {
  train: ["train"],
  test: ["test", "val"],
} as const;

const PICTURE = /\.(jpe?g|png)$/i;

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
    `Expected one folder per class in ${folder || "the top"} of ${listing.name}, but it has ` +
      `none; put pictures in ${folder}<class>/.`,
  );
}

/** Throws "data-mismatch" unless a split has the classes of the training folder beside it. */
function requireAgreement(listing: FolderListing, root: string, folder: string): void {
  const classes = childFolders(listing, folder);
  const training = childFolders(listing, `${root}train/`);
  const unknown = classes.filter((name) => !training.includes(name));
  const missing = training.filter((name) => !classes.includes(name));
  if (training.length > 0 && unknown.length + missing.length > 0) {
    const what = unknown.length > 0
      ? `class "${unknown[0]}", which train/ has not`
      : `no class "${missing[0]}", which train/ has`;
    throw new SecateurError(
      "data-mismatch",
      `Expected the same class folders in every split of ${listing.name}, but ${folder} has ` +
        `${what}; labels would not agree, unless --labels gives them.`,
    );
  }
}

/** The folder of a split within a folder that has several. */
function splitFolder(listing: FolderListing, split: "train" | "test", agree: boolean): string {
  const root = rootOf(listing);
  const present = childFolders(listing, root);
  const named = SPLIT_FOLDERS[split].find((name) => present.includes(name));
  if (named === undefined) {
    const wanted = SPLIT_FOLDERS[split].map((name) => `${name}/`).join(" or ");
    const found = present.length > 0 ? present.slice(0, 5).join(", ") : "no folders";
    throw new SecateurError(
      "data-empty",
      `Expected ${wanted} with one folder per class in ${listing.name}, but found ${found}.`,
    );
  }
  const folder = `${root}${named}/`;
  classesIn(listing, folder);
  if (agree) requireAgreement(listing, root, folder);
  return folder;
}

/** The folder whose folders are classes: the top, or a single folder in which all of them lie. */
function wholeFolder(listing: FolderListing): string {
  const tops = childFolders(listing, "");
  const inner = tops.length === 1 ? childFolders(listing, `${tops[0]}/`) : [];
  return inner.length > 0 ? `${tops[0]}/` : "";
}

/** Which pictures of a folder are meant, and what is asked of its classes. */
export interface FolderPart {
  /** A split in a folder of splits, or the whole of a folder of classes. */
  readonly part: "train" | "test" | "whole";
  /** Keep the first pictures of each class only. */
  readonly limitPerClass?: number;
  /** The classes' labels come from elsewhere, so that splits may have different ones. */
  readonly labelled?: boolean;
}

/**
 * The pictures of a split, ordered by path, with labels that count the class folders in order of
 * name. Pictures may lie in folders within a class; files that are neither .jpg, .jpeg nor .png
 * are passed over, as is everything hidden.
 *
 * @throws SecateurError `data-empty` or `data-mismatch`.
 */
export function labelledPaths(
  given: FolderListing,
  { part, limitPerClass = Infinity, labelled = false }: FolderPart,
): { readonly paths: LabelledPath[]; readonly classes: string[] } {
  const listing = withAllFolders(given);
  const folder = part === "whole" ? wholeFolder(listing) : splitFolder(listing, part, !labelled);
  const classes = classesIn(listing, folder);
  const labels = new Map(classes.map((name, label) => [name, label]));
  const counts = new Array<number>(classes.length).fill(0);
  const paths: LabelledPath[] = [];
  const pictures = listing.files.filter((path) =>
    path.startsWith(folder) && PICTURE.test(path) && !isHidden(path.slice(folder.length))
  );
  for (const path of pictures.sort(byCodeUnits)) {
    const label = labels.get(path.slice(folder.length).split("/")[0]);
    // A picture that lies beside the class folders has no class.
    if (label === undefined || counts[label] >= limitPerClass) continue;
    counts[label]++;
    paths.push({ path, label });
  }
  const empty = counts.indexOf(0);
  if (empty >= 0) {
    throw new SecateurError(
      "data-empty",
      `Expected .jpg or .png pictures in every class of ${listing.name}, but ` +
        `${folder}${classes[empty]}/ has none; add some or remove the folder.`,
    );
  }
  return { paths, classes };
}
