import type { Output } from "../../src/commands/terminal/streams.ts";

/** Collects what is written. */
export class Sink implements Output {
  readonly isTTY: boolean;
  readonly columns: number;
  text = "";

  constructor(isTTY = false, columns = 100) {
    this.isTTY = isTTY;
    this.columns = columns;
  }

  write(text: string): void {
    this.text += text;
  }
}
