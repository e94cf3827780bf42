/** What is kept of finished stages for all runs: listed, verified, and thrown away. */

import { open, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { sweepUnfinished } from "../formats/atomic.ts";
import { FileLock } from "../formats/file_lock.ts";
import {
  type ArtefactHeader,
  type Artefacts,
  digestOf,
  ENDING,
  parseArtefact,
} from "./artefacts.ts";

/**
 * whole: as its header says; damaged: not what was written; unfinished: a file in the making, which goes
 * on when a run wants it; outdated: made by other code than this, which takes nothing of it.
 */
export type ArtefactState = "whole" | "damaged" | "unfinished" | "outdated";

export interface ArtefactEntry {
  readonly key: string;
  readonly state: ArtefactState;
  /** Of those that are neither damaged nor unfinished. */
  readonly header?: ArtefactHeader;
  /** Paths of its files, and their bytes together. */
  readonly files: readonly string[];
  readonly bytes: number;
  /** When a run last made or took it, in milliseconds since 1970. */
  readonly used: number;
}

const KEY = /^[0-9a-f]{64}(?=\.)/;
/** Bytes within which a header ends. */
const LONGEST_HEADER = 4096;
/** Milliseconds after which what a writer left unfinished is nobody's any more. */
const ABANDONED = 24 * 3600 * 1000;

/** The header alone; undefined where it does not parse or the file's length is not what it says. */
async function headerOf(path: string, size: number): Promise<ArtefactHeader | undefined> {
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(LONGEST_HEADER), 0);
    const text = new TextDecoder().decode(buffer.subarray(0, bytesRead));
    const line = text.slice(0, text.indexOf("\n"));
    const header = JSON.parse(line) as ArtefactHeader;
    const length = new TextEncoder().encode(line).length + 1 + header.bytes;
    return header.format === 1 && length === size ? header : undefined;
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}

async function verified(path: string): Promise<ArtefactHeader | undefined> {
  return parseArtefact(await readFile(path, "utf8"))?.header;
}

/** Whether the file beside an artefact, where it has one, is there and, if asked, what was written. */
async function fileIsWhole(
  path: (ending: string) => string,
  { file }: ArtefactHeader,
  verify: boolean,
): Promise<boolean> {
  if (file === undefined) return true;
  const status = await stat(path(file.ending)).catch(() => undefined);
  if (status?.size !== file.bytes) return false;
  return !verify || digestOf(await readFile(path(file.ending))) === file.sha256;
}

async function entryOf(
  artefacts: Artefacts,
  key: string,
  names: readonly string[],
  verify: boolean,
): Promise<ArtefactEntry | undefined> {
  const path = (ending: string) => artefacts.path(key, ending);
  const files = names.map((name) => path(name.slice(key.length)));
  const status = await Promise.all(files.map((file) => stat(file).catch(() => undefined)));
  const bytes = status.reduce((sum, found) => sum + (found?.size ?? 0), 0);
  const used = Math.max(...status.map((found) => found?.mtimeMs ?? 0));
  const entry = { key, files, bytes, used };
  const own = path(ENDING), index = files.indexOf(own);
  if (index < 0) return { ...entry, state: "unfinished" };
  const size = status[index]?.size;
  // Another command has thrown it away meanwhile.
  if (size === undefined) return undefined;
  const header = verify ? await verified(own) : await headerOf(own, size);
  if (header === undefined || !await fileIsWhole(path, header, verify)) {
    return { ...entry, state: "damaged" };
  }
  return { ...entry, header, state: header.code === artefacts.code ? "whole" : "outdated" };
}

/** Everything that is kept; `verify` reads all of it. */
export async function listArtefacts(
  artefacts: Artefacts,
  verify = false,
): Promise<ArtefactEntry[]> {
  const entries: ArtefactEntry[] = [];
  const rooms = await readdir(artefacts.folder).catch(() => []);
  for (const room of rooms.filter((name) => /^[0-9a-f]{2}$/.test(name)).sort()) {
    const names = await readdir(join(artefacts.folder, room)).catch(() => []);
    const byKey = Map.groupBy(
      names.filter((name) => KEY.test(name) && !name.endsWith(".lock")),
      (name) => KEY.exec(name)![0],
    );
    for (const [key, own] of byKey) {
      const entry = await entryOf(artefacts, key, own, verify);
      if (entry !== undefined) entries.push(entry);
    }
  }
  return entries;
}

/** Which of those that are whole go too. */
export interface Pruning {
  readonly all?: boolean;
  /** Those that no run has used for so many milliseconds. */
  readonly unusedFor?: number;
  /** The longest unused, until no more than so many bytes are left. */
  readonly largest?: number;
}

/** Of entries, those that go: damaged and outdated ones, and what is asked for. */
export function pruned(
  entries: readonly ArtefactEntry[],
  { all = false, unusedFor = Infinity, largest = Infinity }: Pruning,
  now: number = Date.now(),
): ArtefactEntry[] {
  const useless = (entry: ArtefactEntry) =>
    all || entry.state === "damaged" || entry.state === "outdated" ||
    now - entry.used > unusedFor;
  const going = entries.filter(useless);
  const staying = entries.filter((entry) => !useless(entry)).sort((a, b) => a.used - b.used);
  let bytes = staying.reduce((sum, entry) => sum + entry.bytes, 0);
  for (const entry of staying) {
    if (bytes <= largest) break;
    bytes -= entry.bytes;
    going.push(entry);
  }
  return going;
}

/** Throws entries away, but for those that a run is making; returns those that went. */
export async function removeArtefacts(
  artefacts: Artefacts,
  entries: readonly ArtefactEntry[],
): Promise<ArtefactEntry[]> {
  const gone: ArtefactEntry[] = [];
  for (const entry of entries) {
    await using lock = await FileLock.take(artefacts.path(entry.key, ".lock"));
    if (lock === undefined) continue;
    for (const file of entry.files) await rm(file, { force: true });
    gone.push(entry);
  }
  for (const room of await readdir(artefacts.folder).catch(() => [])) {
    await sweepUnfinished(join(artefacts.folder, room), ABANDONED);
  }
  return gone;
}
