/** What a running command shows: text for people, JSON lines for programs. */

import { printable, printableJson } from "../../printable.ts";
import type { Progress } from "../../progress.ts";
import { Meter } from "./meter.ts";
import { type Output, standardError, standardOutput } from "./streams.ts";

/**
 * Where a command says what it does. Machines and people get the same from different consoles. What
 * is said may hold names from files: nothing in it steers a terminal.
 */
export interface Console {
  /** A stage of the work begins; `detail` says how much there is to do. */
  stage(name: string, detail?: string): void;
  progress(progress: Progress): void;
  /** Lines of text for people; machines do not get them. */
  text(...lines: readonly string[]): void;
  /** Something that did not stop the work. */
  warn(sentence: string): void;
  /** What the command found, once, at the end. */
  result(result: object): void;
  /** Leaves the terminal tidy; safe to call more than once. */
  close(): void;
}

const line = (text: string): string => `${printable(text)}\n`;

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
    this.#err.write(line(detail === undefined ? name : `${name}: ${detail}`));
  }

  progress(progress: Progress): void {
    const told = this.#meter.line(progress, this.#err.isTTY ? this.#err.columns ?? 80 : undefined);
    if (told === undefined) return;
    if (this.#err.isTTY) {
      this.#erase();
      this.#err.write(printable(told));
      this.#drawn = true;
    } else this.#err.write(line(told));
  }

  text(...lines: readonly string[]): void {
    this.#erase();
    this.#out.write(lines.map(line).join(""));
  }

  warn(sentence: string): void {
    this.#erase();
    this.#err.write(line(sentence));
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

  text(..._lines: readonly string[]): void {}

  warn(sentence: string): void {
    this.#err.write(line(sentence));
    this.#event({ event: "warning", message: sentence });
  }

  result(result: object): void {
    this.#event({ event: "result", ...result });
  }

  close(): void {}

  #event(event: object): void {
    this.#out.write(`${printableJson(event)}\n`);
  }
}

/** The console of this process. */
export function openConsole(json: boolean): Console {
  return json
    ? new JsonConsole(standardOutput, standardError)
    : new TextConsole(standardOutput, standardError);
}
