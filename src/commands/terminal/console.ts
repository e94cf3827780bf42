/** What a running command shows: text for people, JSON lines for programs. */

import process from "node:process";
import { unwritable } from "../../formats/atomic.ts";
import type { Progress } from "../../progress.ts";
import { Meter } from "./meter.ts";

/** Where a command says what it does. Machines and people get the same from different consoles. */
export interface Console {
  /** A stage of the work begins; `detail` says how much there is to do. */
  stage(name: string, detail?: string): void;
  progress(progress: Progress): void;
  /** Text for people; machines do not get it. */
  text(text: string): void;
  /** Something that did not stop the work. */
  warn(sentence: string): void;
  /** What the command found, once, at the end. */
  result(result: object): void;
  /** Leaves the terminal tidy; safe to call more than once. */
  close(): void;
}

/** Where characters go; a part of process.stdout and process.stderr. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Milliseconds between two reports of progress in one stage. */
const TERMINAL_INTERVAL = 100;
const LOG_INTERVAL = 10_000;
const JSON_INTERVAL = 500;

/** Text on standard output; progress and warnings on standard error. */
export class TextConsole implements Console {
  readonly #out: Output;
  readonly #err: Output;
  readonly #meter: Meter;
  #drawn = false;

  constructor(out: Output, err: Output, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#err = err;
    this.#meter = new Meter(err.isTTY ? TERMINAL_INTERVAL : LOG_INTERVAL, now);
  }

  stage(name: string, detail?: string): void {
    this.#erase();
    this.#err.write(detail === undefined ? `${name}\n` : `${name}: ${detail}\n`);
  }

  progress(progress: Progress): void {
    const line = this.#meter.line(progress, this.#err.isTTY ? this.#err.columns ?? 80 : undefined);
    if (line === undefined) return;
    if (this.#err.isTTY) {
      this.#erase();
      this.#err.write(line);
      this.#drawn = true;
    } else this.#err.write(`${line}\n`);
  }

  text(text: string): void {
    this.#erase();
    this.#out.write(`${text}\n`);
  }

  warn(sentence: string): void {
    this.#erase();
    this.#err.write(`${sentence}\n`);
  }

  result(): void {
    this.#erase();
  }

  close(): void {
    this.#erase();
  }

  #erase(): void {
    if (this.#drawn) this.#err.write("\r\x1b[2K");
    this.#drawn = false;
  }
}

/** JSON lines on standard output; warnings are lines on standard error too, for whoever watches. */
export class JsonConsole implements Console {
  readonly #out: Output;
  readonly #err: Output;
  readonly #meter: Meter;

  constructor(out: Output, err: Output, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#err = err;
    this.#meter = new Meter(JSON_INTERVAL, now);
  }

  stage(stage: string, detail?: string): void {
    this.#event({ event: "stage", stage, ...(detail === undefined ? {} : { detail }) });
  }

  progress(progress: Progress): void {
    const pace = this.#meter.pace(progress);
    if (pace !== undefined) this.#event({ event: "progress", ...progress, ...pace });
  }

  text(_text: string): void {}

  warn(sentence: string): void {
    this.#err.write(`${sentence}\n`);
    this.#event({ event: "warning", message: sentence });
  }

  result(result: object): void {
    this.#event({ event: "result", ...result });
  }

  close(): void {}

  #event(event: object): void {
    this.#out.write(`${JSON.stringify(event)}\n`);
  }
}

/** Standard output, whose failures are sentences: it may be a file on a full disk. */
const standardOutput: Output = {
  write(text) {
    try {
      process.stdout.write(text);
    } catch (thrown) {
      throw unwritable("standard output", thrown);
    }
  },
  isTTY: process.stdout.isTTY,
};

/** The console of this process. */
export function openConsole(json: boolean): Console {
  return json
    ? new JsonConsole(standardOutput, process.stderr)
    : new TextConsole(standardOutput, process.stderr);
}
