/** What an image folder's files are to those who read them, wherever they are. */
import type { RunOptions } from "../../progress.ts";
import type { Listing } from "./walk.ts";

/** Files by path relative to the root, with "/" between folders. */
export interface PictureStore extends Listing {
  /** As the user named it, for messages. */
  readonly name: string;
  /** Unique on this machine, for caching. */
  readonly identity: string;
  /** Changes when any of `paths` does. @throws SecateurError `cancelled`. */
  stamp(paths: readonly string[], options?: RunOptions): Promise<string>;
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
  /** The whole of a file. @throws Error saying why it cannot be read. */
  read(path: string): Promise<Uint8Array>;
  /** Its first bytes, up to `length`. @throws Error saying why it cannot be read. */
  head(path: string, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A picture file larger than this is refused before it is read. */
const LARGEST_FILE = 256 * 2 ** 20;

/** Throws an Error for a file larger than any picture that is read. */
export function requireSize(size: number): void {
  if (size <= LARGEST_FILE) return;
  throw new Error(`it has ${size} bytes, more than the ${LARGEST_FILE} accepted`);
}
