/**
 * What is used of Deno's standard library. Its npm package carries plain JavaScript, so the types are
 * given here, once. deno.json maps "@std/" to the package, vitest.config.ts does for Node.
 */

import { pooledMap as untypedPooledMap } from "@std/async/pool.js";
import { stringify as untypedCsv } from "@std/csv/stringify.js";
import { format as untypedBytes } from "@std/fmt/bytes.js";
import { format as untypedDuration } from "@std/fmt/duration.js";
import { escape as untypedEscape } from "@std/html/entities.js";
import { basename as untypedBasename } from "@std/path/posix/basename.js";
import { closestString as untypedClosest } from "@std/text/closest_string.js";
import { toKebabCase as untypedKebab } from "@std/text/to_kebab_case.js";

/** Results of `work` on items, in their order, with so many at a time. */
export const pooledMap: <T, R>(
  limit: number,
  items: Iterable<T>,
  work: (item: T) => Promise<R>,
) => AsyncIterableIterator<R> = untypedPooledMap;

/** Rows with a heading as CSV (RFC 4180), columns in the order given. */
export const stringifyCsv: (
  rows: readonly Readonly<Record<string, string | number>>[],
  options: { columns: readonly string[] },
) => string = untypedCsv;

/** "1.34 MB". */
export const formatBytes: (bytes: number) => string = untypedBytes;

/** "1m 30s" of 90,000 milliseconds with `ignoreZero`. */
export const formatDuration: (
  milliseconds: number,
  options?: { ignoreZero?: boolean },
) => string = untypedDuration;

/** Text as HTML, in elements and in quoted attributes. */
export const escapeHtml: (text: string) => string = untypedEscape;

/** The last part of a path with slashes, without `suffix`. */
export const basename: (path: string, suffix?: string) => string = untypedBasename;

/** The text of a list that is nearest to another, by Levenshtein distance. */
export const closestString: (
  text: string,
  from: readonly string[],
  options?: { caseSensitive?: boolean },
) => string = untypedClosest;

/** "cutFlops" -> "cut-flops". */
export const toKebabCase: (text: string) => string = untypedKebab;
