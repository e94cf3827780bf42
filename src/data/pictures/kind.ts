/** What a file is by its first bytes, whatever its name says. */
import { Buffer } from "node:buffer";

/** The kinds of pictures that are read. */
export type PictureKind = "JPEG" | "PNG" | "WebP";

/** Bytes of a file that tell its kind. */
export const HEAD_BYTES = 256;

const startsWith = (head: Buffer, text: string, at = 0): boolean =>
  head.toString("latin1", at, at + text.length) === text;

/** The kind of picture that these first bytes begin; undefined for everything that is not read. */
export function kindOf(bytes: Uint8Array): PictureKind | undefined {
  const head = headOf(bytes);
  if (startsWith(head, "\xff\xd8\xff")) return "JPEG";
  if (startsWith(head, "\x89PNG\r\n\x1a\n")) return "PNG";
  return startsWith(head, "RIFF") && startsWith(head, "WEBP", 8) ? "WebP" : undefined;
}

function headOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, HEAD_BYTES));
}

/** Other kinds by what their files begin with. */
const OTHERS: readonly (readonly [name: string, start: string, at?: number])[] = [
  ["a GIF", "GIF8"],
  ["a BMP", "BM"],
  ["a TIFF", "II*\0"],
  ["a TIFF", "MM\0*"],
  ["a BigTIFF", "II+\0"],
  ["a BigTIFF", "MM\0+"],
  ["an AVIF", "ftypavif", 4],
  ["a HEIF", "ftyphei", 4],
  ["a HEIF", "ftypmif1", 4],
  ["a JPEG XL", "\xff\x0a"],
  ["a JPEG XL", "\0\0\0\x0cJXL "],
  ["a JPEG 2000", "\0\0\0\x0cjP  "],
  ["a PSD", "8BPS"],
  ["an ICO", "\0\0\x01\0"],
  ["a PDF", "%PDF"],
  ["a ZIP", "PK\x03\x04"],
];

/** "it is a GIF, and only ... are read": why a file of no kind that is read is left out. */
export function foreignReason(bytes: Uint8Array): string {
  if (bytes.length === 0) return "it is empty";
  const head = headOf(bytes);
  const known = OTHERS.find(([, start, at]) => startsWith(head, start, at))?.[0] ??
    (/^(\xef\xbb\xbf)?\s*<(\?xml|svg|!DOCTYPE svg|!--)/i.test(head.toString("latin1"))
      ? "an SVG or other XML"
      : undefined);
  return known === undefined
    ? "it is no JPEG, PNG or WebP by its first bytes"
    : `it is ${known}; JPEG, PNG and WebP are read`;
}
