import { describe, expect, it } from "vitest";
import type { LedgerRow } from "../../src/batch/run/ledger.ts";
import { JobBoard, JobEvents } from "../../src/commands/terminal/job_board.ts";
import { Sink } from "../support/sink.ts";

const row = (name: string, change: Partial<LedgerRow> = {}): LedgerRow => ({
  ...{ digest: name, name, folder: name, state: "running", attempts: 1, seconds: 0 },
  ...change,
});
const done = (name: string) =>
  row(name, {
    state: "done",
    seconds: 40,
    outcome: { macs: 0.5, parameters: 0.4, top1: 0.9125 },
  });
const failed = (name: string) => row(name, { state: "failed", error: "No pictures." });

const DONE = "done in 40s, top-1 91.25%, 50.0% of the MACs and 60.0% of the parameters gone";

describe("the board of a batch", () => {
  it("draws those at work below a line for each that has ended, and a terminal's lines anew", () => {
    let now = 0;
    const err = new Sink(true);
    const board = new JobBoard(err, { out: "sweep", total: 5, finished: 1 }, () => now);
    const drawn = () => {
      const text = err.text;
      err.text = "";
      return text;
    };
    board.began(row("a"));
    expect(drawn()).toBe("  a  beginning\n1 of 5 done, 1 at work, 3 waiting\n");
    board.began(row("bb"));
    expect(drawn()).toBe("");
    now = 1000;
    board.stage(row("bb"), "surgery");
    expect(drawn()).toBe(
      "\x1b[2A\r\x1b[J  a   beginning\n  bb  surgery\n1 of 5 done, 2 at work, 2 waiting\n",
    );
    board.ended(done("a"));
    expect(drawn()).toBe(
      `\x1b[3A\r\x1b[Ja: ${DONE}\n  bb  surgery\n2 of 5 done, 1 at work, 2 waiting, about 1m 30s left\n`,
    );
    board.ended(failed("bb"));
    expect(drawn()).toBe(
      "\x1b[2A\r\x1b[Jbb: failed: No pictures; its log is sweep/bb/job.log\n" +
        "2 of 5 done, 1 failed, 0 at work, 2 waiting\n",
    );
    board.close();
    expect(drawn()).toBe("\x1b[1A\r\x1b[J");
  });

  it("says in a log what begins and ends, and nothing between", () => {
    const err = new Sink(false);
    const board = new JobBoard(err, { out: "sweep", total: 2, finished: 0 });
    board.began(row("a"));
    board.stage(row("a"), "surgery");
    board.progress(row("a"), { stage: "training", done: 1, total: 2, unit: "images" });
    board.ended(done("a"));
    board.began(row("b", { attempts: 2 }));
    board.ended(row("b", { state: "waiting" }));
    expect(err.text).toBe(
      `a: begins\na: ${DONE}\nb: goes on\nb: stopped; the same command goes on with it\n`,
    );
  });

  it("lets no name steer a terminal", () => {
    const err = new Sink(false);
    new JobBoard(err, { out: "sweep", total: 1, finished: 0 })
      .ended(row("a", { state: "failed", error: "\x1b[2Jgone" }));
    expect(err.text).not.toContain("\x1b");
  });

  it("tells programs the same as events", () => {
    const out = new Sink(false);
    const events = new JobEvents(out, "/sweep");
    events.began(row("a"));
    events.stage(row("a"), "surgery", undefined);
    events.ended(failed("a"));
    expect(out.text.trim().split("\n").map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ event: "job", name: "a", state: "running", folder: "/sweep/a" }),
      { event: "stage", name: "a", stage: "surgery" },
      expect.objectContaining({ state: "failed", error: "No pictures.", log: "/sweep/a/job.log" }),
    ]);
  });
});
