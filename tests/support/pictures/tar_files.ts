/** Tar archives for tests, entry by entry. */

import { Buffer } from "node:buffer";

/** What ends an archive. */
export const TAR_END = Buffer.alloc(1024);

export interface TarEntryOptions {
  /** Of ustar: "0" a file, "1" a hard link, "2" a symbolic link, "5" a folder. */
  readonly type?: string;
  readonly prefix?: string;
  readonly target?: string;
  /** What the header says of the size, where that is not the content's. */
  readonly size?: number;
}

/** One tar entry: a header with its checksum, and the content in whole blocks. */
export function tarEntry(
  path: string,
  content: Uint8Array = new Uint8Array(0),
  { type = "0", prefix = "", target = "", size = content.length }: TarEntryOptions = {},
): Buffer {
  const header = Buffer.alloc(512);
  header.write(path, 0, 100);
  header.write("0000644\0", 100);
  header.write(size.toString(8).padStart(11, "0") + "\0", 124);
  header.write("        ", 148);
  header.write(type, 156);
  header.write(target, 157, 100);
  header.write("ustar\x0000", 257);
  header.write(prefix, 345, 155);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(sum.toString(8).padStart(6, "0") + "\0 ", 148);
  const padding = Buffer.alloc((512 - content.length % 512) % 512);
  return Buffer.concat([header, content, padding]);
}
