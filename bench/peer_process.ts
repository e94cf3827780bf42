/**
 * A contestant in a process of its own, kept open and driven by lines of JSON: requests on its
 * standard input, replies on its standard output. bench/peers/serve.py is the other end.
 */

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { SecateurError } from "../src/errors.ts";

/** A Python with PyTorch. */
export interface PeerInterpreter {
  readonly path: string;
  readonly versions: Readonly<Record<string, string>>;
}

/** Path of a script of bench/peers. */
export function peerScript(name: string): string {
  return fileURLToPath(new URL(`./peers/${name}`, import.meta.url));
}

const reply = z.object({ result: z.unknown().optional(), error: z.string().optional() });

/** A request that takes longer is given up: compiling a network may take minutes. */
const LIMIT_MS = 20 * 60_000;
/** Of what the process said on standard error, the end is kept for messages. */
const KEPT_ERROR = 2000;

export class PeerProcess {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #name: string;
  #errors = "";
  #waiting: { resolve(line: string): void; reject(error: Error): void } | undefined;
  #ended: Error | undefined;

  constructor(name: string, command: readonly string[]) {
    const [program, ...args] = command;
    this.#name = name;
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#errors = (this.#errors + text).slice(-KEPT_ERROR);
    });
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      waiting?.resolve(line);
    });
    // A process that has ended closes its input; what that means is told by "close".
    this.#child.stdin.on("error", () => {});
    this.#child.on("error", (error) => this.#end(error.message));
    this.#child.on("close", (code) => this.#end(`it ended with status ${code}`));
  }

  /** Sends a request and returns its result. Rejects with "addon-failed" when the peer fails. */
  async request(message: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#ended) throw this.#ended;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const line = await new Promise<string>((resolve, reject) => {
      this.#waiting = { resolve, reject };
      timer = setTimeout(() => this.#child.kill(), LIMIT_MS);
      this.#child.stdin.write(`${JSON.stringify(message)}\n`);
    }).finally(() => clearTimeout(timer));
    const { result, error } = reply.parse(JSON.parse(line));
    if (error !== undefined) throw this.#failure(error);
    return result;
  }

  /** Ends the process, and waits until it has ended. */
  async close(): Promise<void> {
    if (this.#ended) return;
    const closed = new Promise<void>((resolve) => this.#child.once("close", () => resolve()));
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 5000);
    await closed;
    clearTimeout(timer);
  }

  #end(reason: string): void {
    this.#ended ??= this.#failure(reason);
    this.#waiting?.reject(this.#ended);
    this.#waiting = undefined;
  }

  #failure(reason: string): SecateurError {
    const last = this.#errors.trim().split("\n").at(-1);
    return new SecateurError(
      "addon-failed",
      `The peer ${this.#name} failed: ${reason}${last ? ` (${last})` : ""}.`,
    );
  }
}
