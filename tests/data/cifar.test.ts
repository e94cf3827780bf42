/** CIFAR-10's binary files, and fetching them over a connection that misbehaves. */

import { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { downloadCifar10 } from "../../src/data/sources/cifar_download.ts";
import { download } from "../../src/data/sources/download.ts";
import { loaded } from "../../src/data/dataset.ts";
import { openDataset } from "../../src/data/sources/source.ts";
import type { Progress } from "../../src/progress.ts";
import { RandomStream } from "../../src/random.ts";
import { dataFolder } from "../support/data.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "secateur-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** Records with labels in turn; plane c of record i holds 50 c + i, plus the column in the row. */
function records(count: number): Buffer {
  const bytes = Buffer.alloc(count * 3073);
  for (let i = 0; i < count; i++) {
    bytes[i * 3073] = i % 10;
    for (let k = 0; k < 3072; k++) bytes[i * 3073 + 1 + k] = 50 * Math.floor(k / 1024) + i + k % 32;
  }
  return bytes;
}

async function makeBatches(name: string, files: Record<string, Uint8Array>): Promise<string> {
  const root = join(folder, name);
  await mkdir(root, { recursive: true });
  for (const [file, bytes] of Object.entries(files)) await writeFile(join(root, file), bytes);
  return root;
}

describe("CIFAR-10's binary files", () => {
  it("become interleaved pixels, file after file", async () => {
    const root = await makeBatches("two/cifar-10-batches-bin", {
      "data_batch_1.bin": records(3),
      "data_batch_2.bin": records(2),
      "test_batch.bin": records(1),
      "batches.meta.txt": Buffer.from("airplane\n"),
    });
    for (const path of [root, join(folder, "two")]) {
      const train = await loaded(await openDataset(`cifar10:${path}`, "train"));
      expect(train).toMatchObject({ name: "cifar10 train", count: 5, height: 32, width: 32 });
      expect([...train.labels]).toEqual([0, 1, 2, 0, 1]);
      // Picture 4 is record 1 of the second file; row 2, column 7.
      const at = 4 * 3072 + (2 * 32 + 7) * 3;
      expect([...train.pixels.subarray(at, at + 3)]).toEqual([8, 58, 108]);
      expect(train.classes[9]).toBe("truck");
      expect((await openDataset(`cifar10:${path}`, "test")).count).toBe(1);
    }
  });

  it("are refused when damaged or missing", async () => {
    const badLabel = records(3);
    badLabel[2 * 3073] = 10;
    const cases: [string, Record<string, Uint8Array>, string, string][] = [
      ["truncated", { "data_batch_1.bin": records(2).subarray(0, 6000) }, "format-corrupt", "2927"],
      ["empty file", { "data_batch_1.bin": Buffer.alloc(0) }, "format-corrupt", "0 records"],
      ["label", { "data_batch_1.bin": badLabel }, "format-corrupt", "record 2 has label 10"],
      ["no batches", { "test_batch.bin": records(1) }, "data-empty", "data_batch_1.bin"],
    ];
    for (const [name, files, code, part] of cases) {
      const opening = openDataset(`cifar10:${await makeBatches(name, files)}`, "train");
      await expect(opening).rejects.toMatchObject({ code });
      await expect(opening).rejects.toThrow(part);
    }
    for (const path of [join(folder, "nowhere"), join(folder, "label", "data_batch_1.bin")]) {
      await expect(openDataset(`cifar10:${path}`, "test")).rejects.toMatchObject({
        code: "file-missing",
      });
    }
  });

  const slice = join(dataFolder() ?? "", "cifar10-lossless-slice");
  it.skipIf(dataFolder() === undefined)("hold the real pictures", async () => {
    const test = await loaded(await openDataset(`cifar10:${slice}`, "test"));
    expect(test.count).toBe(1017);
    // The first test pictures are a cat, two ships and an aeroplane.
    expect([...test.labels.subarray(0, 4)].map((label) => test.classes[label])).toEqual([
      "cat",
      "ship",
      "ship",
      "airplane",
    ]);
    const file = await readFile(join(slice, "cifar-10-batches-bin", "test_batch.bin"));
    const [red, green, blue] = [0, 1, 2].map((plane) => file[500 * 3073 + 1 + plane * 1024 + 77]);
    const at = 500 * 3072 + 77 * 3;
    expect([...test.pixels.subarray(at, at + 3)]).toEqual([red, green, blue]);
    expect((await openDataset(`cifar10:${slice}`, "train")).count).toBe(5085);
  });
});

/** Serves `content`; `misbehave` may answer a request itself. */
class TestServer {
  readonly ranges: (string | undefined)[] = [];
  readonly #server: Server;

  constructor(
    content: Uint8Array,
    misbehave: (request: IncomingMessage, response: ServerResponse, count: number) => boolean =
      () => false,
  ) {
    this.#server = createServer((request, response) => {
      this.ranges.push(request.headers.range);
      if (misbehave(request, response, this.ranges.length)) return;
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
      if (start >= content.length) {
        response.writeHead(416).end();
        return;
      }
      const total = content.length;
      response.writeHead(start > 0 ? 206 : 200, {
        "content-length": total - start,
        ...(start > 0 ? { "content-range": `bytes ${start}-${total - 1}/${total}` } : {}),
      });
      response.end(content.subarray(start));
    });
  }

  async run<T>(body: (url: string) => Promise<T>): Promise<T> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const { port } = this.#server.address() as AddressInfo;
    try {
      return await body(`http://127.0.0.1:${port}/file`);
    } finally {
      this.#server.closeAllConnections();
      await new Promise((resolve) => this.#server.close(resolve));
    }
  }
}

function md5(bytes: Uint8Array): string {
  return createHash("md5").update(bytes).digest("hex");
}

const random = new RandomStream(1, "download");
const content = Uint8Array.from({ length: 300_000 }, () => random.uint32());
const options = { md5: md5(content), largest: 1e6 };

describe("a download", () => {
  it("arrives whole, with progress, and is not fetched again", async () => {
    const path = join(folder, "whole.bin");
    const server = new TestServer(content);
    await server.run(async (url) => {
      const seen: Progress[] = [];
      await download(url, path, { ...options, onProgress: (progress) => seen.push(progress) });
      expect(md5(await readFile(path))).toBe(options.md5);
      expect(seen.at(-1)).toMatchObject({ done: 300_000, total: 300_000, unit: "bytes" });
      await download(url, path, options);
    });
    expect(server.ranges).toEqual([undefined]);
  });

  it("goes on where it broke off, also in a later run", async () => {
    const path = join(folder, "resumed.bin");
    await writeFile(`${path}.partial`, content.subarray(0, 100_000));
    let broken = 0;
    const server = new TestServer(content, (request, response) => {
      const start = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
      if (start > 200_000) return false;
      broken++;
      response.writeHead(206, {
        "content-length": content.length - start,
        "content-range": `bytes ${start}-${content.length - 1}/${content.length}`,
      });
      response.write(content.subarray(start, start + 60_000), () => {
        setTimeout(() => response.destroy(), 50);
      });
      return true;
    });
    await server.run((url) => download(url, path, options));
    expect(md5(await readFile(path))).toBe(options.md5);
    expect(server.ranges[0]).toBe("bytes=100000-");
    expect(server.ranges).toHaveLength(3);
    expect(broken).toBe(2);
    expect(await readdir(folder)).not.toContain("resumed.bin.partial");
  });

  it("starts over when the server does not know ranges", async () => {
    const path = join(folder, "again.bin");
    await writeFile(`${path}.partial`, content.subarray(0, 1000));
    const server = new TestServer(content, (_request, response) => {
      response.writeHead(200, { "content-length": content.length }).end(content);
      return true;
    });
    await server.run((url) => download(url, path, options));
    expect(md5(await readFile(path))).toBe(options.md5);
  });

  it("needs nothing more when all had arrived before", async () => {
    const path = join(folder, "complete.bin");
    await writeFile(`${path}.partial`, content);
    await new TestServer(content).run((url) => download(url, path, options));
    expect((await stat(path)).size).toBe(300_000);
  });

  it("keeps what it has when the connection breaks for good, and says so", async () => {
    const path = join(folder, "broken.bin");
    const server = new TestServer(content, (request, response) => {
      const first = request.headers.range === undefined;
      response.writeHead(first ? 200 : 206, {
        "content-length": content.length - (first ? 0 : 50_000),
        ...(first ? {} : { "content-range": "bytes 50000-299999/300000" }),
      });
      response.write(first ? content.subarray(0, 50_000) : "", () => {
        setTimeout(() => response.destroy(), 50);
      });
      return true;
    });
    await server.run(async (url) => {
      const fetching = download(url, path, options);
      await expect(fetching).rejects.toMatchObject({ code: "network-failed" });
      await expect(fetching).rejects.toThrow("50000 bytes are kept");
    });
    expect((await stat(`${path}.partial`)).size).toBe(50_000);
    expect(server.ranges).toEqual([undefined, "bytes=50000-"]);
  });

  it("is refused when it is not what was expected", async () => {
    const wrong = Uint8Array.from(content);
    wrong[5] ^= 1;
    const path = join(folder, "wrong.bin");
    const cases: [TestServer, string][] = [
      [new TestServer(wrong), `expected a file of MD5 ${options.md5}, got ${md5(wrong)}`],
      [new TestServer(new Uint8Array(1.5e6)), "larger than 1000000 bytes"],
      [
        new TestServer(content, (_request, response) => {
          response.writeHead(404, "Not Found").end("sorry");
          return true;
        }),
        "the server answered 404 Not Found",
      ],
    ];
    for (const [server, part] of cases) {
      await server.run(async (url) => {
        const fetching = download(url, path, options);
        await expect(fetching).rejects.toMatchObject({ code: "network-failed" });
        await expect(fetching).rejects.toThrow(part);
      });
      await rm(`${path}.partial`, { force: true });
      expect(await readdir(folder)).not.toContain("wrong.bin");
    }
  });

  it("does not wait for ever, and stops when asked", async () => {
    const path = join(folder, "stalled.bin");
    const server = new TestServer(content, (_request, response) => {
      response.writeHead(200, { "content-length": content.length });
      response.write(content.subarray(0, 10));
      return true;
    });
    await server.run(async (url) => {
      const fetching = download(url, path, { ...options, patience: 100 });
      await expect(fetching).rejects.toThrow("the server stopped sending");
      const signal = AbortSignal.timeout(100);
      await expect(download(url, path, { ...options, signal })).rejects.toMatchObject({
        code: "cancelled",
      });
    });
  });

  it("says that the server cannot be reached or the folder not written", async () => {
    const gone = await new TestServer(content).run((url) => Promise.resolve(url));
    const fetching = download(gone, join(folder, "gone.bin"), options);
    await expect(fetching).rejects.toMatchObject({ code: "network-failed" });
    await expect(fetching).rejects.toThrow(`Cannot download ${gone}`);
    await new TestServer(content).run(async (url) => {
      await expect(download(url, join(folder, "no such folder", "x"), options)).rejects
        .toMatchObject({ code: "file-unwritable" });
    });
  });
});

describe("CIFAR-10 fetched", () => {
  it("is checked, unpacked and then left alone", async () => {
    await makeBatches("source/cifar-10-batches-bin", {
      "data_batch_1.bin": records(3),
      "test_batch.bin": records(2),
      "readme.html": Buffer.from("<p>"),
    });
    const source = join(folder, "source");
    execFileSync("tar", ["-czf", "archive.tar.gz", "cifar-10-batches-bin"], { cwd: source });
    const archive = await readFile(join(source, "archive.tar.gz"));
    const target = join(folder, "fetched");
    // Of a run that was killed while it unpacked, a day ago.
    const left = join(target, `.cifar-10-batches-bin.${crypto.randomUUID()}.tmp`);
    await mkdir(left, { recursive: true });
    await utimes(left, new Date(Date.now() - 86_400_000), new Date(Date.now() - 86_400_000));
    const server = new TestServer(archive);
    await server.run(async (url) => {
      const asked = { download: { url, md5: md5(archive) } };
      const spec = `cifar10:download:${target}`;
      expect((await openDataset(spec, "train", asked)).count).toBe(3);
      expect((await openDataset(spec, "test", asked)).count).toBe(2);
    });
    expect(server.ranges).toHaveLength(1);
    expect(await readdir(target)).toEqual(["cifar-10-batches-bin"]);
    expect((await readdir(join(target, "cifar-10-batches-bin"))).sort()).toEqual([
      "data_batch_1.bin",
      "test_batch.bin",
    ]);
  });

  it("leaves nothing half done when the archive is damaged", async () => {
    const target = join(folder, "half");
    const path = join(folder, "source", "archive.tar.gz");
    await truncate(path, (await stat(path)).size - 40);
    const archive = await readFile(path);
    await new TestServer(archive).run(async (url) => {
      await expect(downloadCifar10(target, { url, md5: md5(archive) })).rejects.toMatchObject({
        code: "format-corrupt",
      });
    });
    expect(await readdir(target)).not.toContain("cifar-10-batches-bin");
  });
});
