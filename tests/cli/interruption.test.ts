import { describe, expect, it } from "vitest";
import { interruption } from "../../src/commands/terminal/interruption.ts";

describe("Ctrl-C", () => {
  it("asks to stop, takes what npx passes on for the same, and ends when it comes again", () => {
    let now = 0, ended = 0;
    const said: string[] = [];
    const { signal, interrupt } = interruption(
      (line) => said.push(line),
      () => ended++,
      () => now,
    );
    expect(signal.aborted).toBe(false);
    interrupt();
    expect(signal.aborted).toBe(true);
    now = 200;
    interrupt();
    expect([said.length, ended]).toEqual([1, 0]);
    now = 1500;
    interrupt();
    expect([said.length, ended]).toEqual([1, 1]);
  });
});
