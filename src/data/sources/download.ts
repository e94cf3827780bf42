/** Downloads that go on where they stopped and are checked before they count. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import { reasonOf, SecateurError } from "../../errors.ts";
import { outliveFileSizeLimit, unwritable } from "../../formats/atomic.ts";
import type { RunOptions } from "../../progress.ts";

export interface DownloadOptions extends RunOptions {
  /** Hexadecimal digest the whole file must have. */
  readonly md5: string;
  /** A server that sends more than this is not sending what was asked for. */
  readonly largest: number;
  /** Milliseconds without a byte after which the connection counts as lost; a minute by default. */
  readonly patience?: number;
}

/** Connections tried before giving up; each goes on where the last one broke off. */
const ATTEMPTS = 3;

function failed(url: string, reason: string, advice: string, cause?: unknown): SecateurError {
  return new SecateurError("network-failed", `Cannot download ${url}: ${reason}; ${advice}.`, {
    cause,
  });
}

/** The reason a fetch failed, which is often hidden one level down. */
function networkReason(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return reasonOf(inner).replace(/[.\s]+$/, "");
}

async function sizeOf(path: string): Promise<number> {
  return await stat(path).then(({ size }) => size, () => 0);
}

async function md5Of(path: string): Promise<string> {
  const hash = createHash("md5");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest("hex");
}

/** What the server sends from byte `have` on, or "complete" when there is nothing after it. */
async function connect(
  url: string,
  have: number,
  signal: AbortSignal,
): Promise<{ response: Response; from: number } | "complete"> {
  // Compressed transfer would make byte positions mean something else.
  const headers: Record<string, string> = { "accept-encoding": "identity" };
  if (have > 0) headers.range = `bytes=${have}-`;
  const response = await fetch(url, { headers, signal });
  if (response.status === 416 && have > 0) {
    await response.body?.cancel();
    return "complete";
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    const advice = "check the address or try again later";
    throw failed(url, `the server answered ${response.status} ${response.statusText}`, advice);
  }
  const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
  return { response, from: response.status === 206 && Number(start) === have ? have : 0 };
}

/** One connection's worth: appends to `partial` what follows its end. */
async function fetchRest(url: string, partial: string, options: DownloadOptions): Promise<void> {
  const stalled = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const expectBytes = () => {
    clearTimeout(timer);
    timer = setTimeout(
      () => stalled.abort(new Error("the server stopped sending")),
      options.patience ?? 60_000,
    );
  };
  const signal = options.signal
    ? AbortSignal.any([options.signal, stalled.signal])
    : stalled.signal;
  expectBytes();
  try {
    const answer = await connect(url, await sizeOf(partial), signal);
    if (answer === "complete") return;
    const { response, from } = answer;
    const length = Number(response.headers.get("content-length") ?? NaN);
    let done = from;
    const file = await open(partial, from > 0 ? "a" : "w").catch((error) => {
      throw unwritable(partial, error);
    });
    try {
      for await (const chunk of response.body!) {
        expectBytes();
        done += chunk.length;
        if (done > options.largest) {
          throw failed(url, `it is larger than ${options.largest} bytes`, "check the address");
        }
        await file.writeFile(chunk).catch((error) => {
          throw unwritable(partial, error);
        });
        options.onProgress?.({
          stage: "downloading",
          done,
          total: Number.isNaN(length) ? done : from + length,
          unit: "bytes",
        });
      }
    } finally {
      await file.close();
    }
    if (done - from < length) throw new Error(`the connection ended after ${done} bytes`);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Downloads `url` to `path`, unless the file is there already. What has arrived is kept in `path`.partial, also when the program is
 * killed, and the next call asks only for the rest.
 * @throws SecateurError `network-failed` (unreachable, refused, broken off, wrong checksum),
 * `file-unwritable` or `cancelled`.
 */
export async function download(url: string, path: string, options: DownloadOptions): Promise<void> {
  const partial = `${path}.partial`;
  if (await sizeOf(path) > 0 && await md5Of(path) === options.md5) return;
  outliveFileSizeLimit();
  for (let attempt = 1;; attempt++) {
    const before = await sizeOf(partial);
    try {
      await fetchRest(url, partial, options);
      break;
    } catch (error) {
      if (error instanceof SecateurError) throw error;
      if (options.signal?.aborted) {
        throw new SecateurError("cancelled", `Stopped downloading ${url}, as asked.`);
      }
      const have = await sizeOf(partial);
      if (attempt < ATTEMPTS && have > before) continue;
      const advice = have > 0
        ? `${have} bytes are kept, so run the same command again to go on from there`
        : "check the address and the connection, or fetch the file by other means";
      throw failed(url, networkReason(error), advice, error);
    }
  }
  const found = await md5Of(partial);
  if (found !== options.md5) {
    await rm(partial, { force: true });
    throw failed(
      url,
      `expected a file of MD5 ${options.md5}, got ${found}`,
      "it was removed, so run the same command again or use another address",
    );
  }
  await rename(partial, path);
}
