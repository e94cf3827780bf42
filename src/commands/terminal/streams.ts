/**
 * Standard output and standard error. Whoever reads them may leave, and the disk behind them may
 * fill; neither is a reason to lose hours of work, so what cannot be said is left unsaid and the
 * command goes on. How that went is asked for at the end.
 */

import process from "node:process";
import { reasonInWords } from "../../formats/atomic.ts";
import { systemCode } from "../../formats/file.ts";

/** Where characters go. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** What is needed of a stream of this process. */
export interface Stream extends Output {
  write(text: string, written?: () => void): unknown;
  on(event: "error", listener: (thrown: unknown) => void): unknown;
}

/** A stream that is written to for as long as it takes anything. */
export class StandardStream implements Output {
  readonly #stream: Stream;
  #failure: unknown;

  constructor(stream: Stream) {
    this.#stream = stream;
    stream.on("error", (thrown) => this.#failure ??= thrown);
  }

  get isTTY(): boolean {
    return this.#stream.isTTY === true;
  }

  get columns(): number | undefined {
    return this.#stream.columns;
  }

  write(text: string): void {
    this.#attempt(() => this.#stream.write(text));
  }

  /** Resolves once what was written has left this process, or cannot. */
  flushed(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#failure !== undefined) return resolve();
      this.#stream.on("error", () => resolve());
      this.#attempt(() => this.#stream.write("", resolve));
      if (this.#failure !== undefined) resolve();
    });
  }

  /**
   * What kept something from being written, in words; undefined where nothing did. A reader who left
   * has seen what it wanted.
   */
  get loss(): string | undefined {
    if (this.#failure === undefined || systemCode(this.#failure) === "EPIPE") return undefined;
    return reasonInWords(this.#failure);
  }

  #attempt(write: () => void): void {
    if (this.#failure !== undefined) return;
    try {
      write();
    } catch (thrown) {
      this.#failure = thrown;
    }
  }
}

export const standardOutput: StandardStream = new StandardStream(process.stdout);
export const standardError: StandardStream = new StandardStream(process.stderr);
