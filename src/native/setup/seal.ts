/**
 * How a built addon is told from a damaged one. Code in a file that was cut off is mapped but not
 * there: calling it ends the process. So a build appends a digest of the library to it, which
 * loaders of libraries pass over, and what lacks it or does not match is not loaded.
 */

import { createHash } from "node:crypto";

/** What stands before the digest in hexadecimal; a newline follows it. */
export const SEAL_MARK = "secateur-sha256:";

/** Bytes that a seal adds: mark, 64 digits, newline. */
export const SEAL_LENGTH = SEAL_MARK.length + 64 + 1;

/** The last line of a sealed library of these bytes. */
export function sealOf(library: Uint8Array): string {
  return `${SEAL_MARK}${createHash("sha256").update(library).digest("hex")}\n`;
}

/** Whether a file is a whole library that a build has sealed. */
export function isSealed(file: Uint8Array): boolean {
  const length = file.length - SEAL_LENGTH;
  if (length <= 0) return false;
  return new TextDecoder().decode(file.subarray(length)) === sealOf(file.subarray(0, length));
}

/** Offsets in a 64-bit ELF header: where the table of sections is, the size and number of its rows. */
const SECTIONS_AT = 0x28, ROW_SIZE_AT = 0x3a, ROWS_AT = 0x3c, HEADER = 64;

/**
 * Whether a 64-bit ELF file ends before its header says; compilers and linkers write the table of
 * sections last. Tells a library that was cut off where nothing sealed it.
 */
export function isCutOff(file: Uint8Array): boolean {
  if (file.length < HEADER || new TextDecoder().decode(file.subarray(1, 4)) !== "ELF") return false;
  const header = new DataView(file.buffer, file.byteOffset, HEADER);
  const table = header.getBigUint64(SECTIONS_AT, true);
  const rows = header.getUint16(ROW_SIZE_AT, true) * header.getUint16(ROWS_AT, true);
  return table + BigInt(rows) > BigInt(file.length);
}
