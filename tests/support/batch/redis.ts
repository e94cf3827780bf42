/** A Redis server of the tests' own, on a free port of this machine, where one is installed. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import process from "node:process";
import { setTimeout } from "node:timers/promises";

const PROGRAM = process.env.SECATEUR_REDIS ?? "redis-server";

/** Why tests that need one are skipped; undefined where it is installed. */
export const redisMissing = (): string | undefined =>
  spawnSync(PROGRAM, ["--version"]).status === 0 ? undefined : `${PROGRAM} is not installed`;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

export class RedisServer {
  readonly #folder: string;
  readonly #port: number;
  #child: ChildProcess | undefined;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.#port = port;
  }

  /** Starts one that keeps everything it is told in `folder`. */
  static async start(folder: string): Promise<RedisServer> {
    const server = new RedisServer(folder, await freePort());
    await server.start();
    return server;
  }

  get address(): string {
    return `redis://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    const persistent = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    const child = spawn(PROGRAM, [
      ...["--port", String(this.#port), "--bind", "127.0.0.1", "--dir", this.#folder],
      ...persistent,
    ]);
    let said = "";
    child.stdout.on("data", (piece) => said += piece);
    while (!/Ready to accept connections/.test(said)) {
      if (child.exitCode !== null) throw new Error(`Redis did not start: ${said}`);
      await setTimeout(10);
    }
    this.#child = child;
  }

  /** Ends it, at once with "SIGKILL"; what it was told stays. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined) return;
    child.kill(signal);
    await once(child, "exit");
  }
}
