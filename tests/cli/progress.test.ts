import { describe, expect, it } from "vitest";
import { JsonConsole, TextConsole } from "../../src/commands/terminal/console.ts";
import { duration, Meter } from "../../src/commands/terminal/meter.ts";
import { Sink } from "../support/sink.ts";

const progress = (done: number) => ({ stage: "train", done, total: 1000, unit: "images" });

describe("progress", () => {
  it("tells rate and time left after the first second, at its interval", () => {
    let now = 0;
    const meter = new Meter(10_000, () => now);
    expect(meter.line(progress(0))).toBe(undefined);
    now = 5_000;
    expect(meter.line(progress(50))).toBe(undefined);
    now = 10_000;
    expect(meter.line(progress(100))).toBe("train: 10%, 10 images/s, about 1m 30s left");
    now = 100_000;
    expect(meter.line(progress(1000))).toBe("train: 100%, 10 images/s, done");
    expect(meter.line(progress(1000))).toBe(undefined);
  });

  it("forgets how a stage began: the time left is that of its own recent speed", () => {
    let now = 0;
    const meter = new Meter(10_000, () => now);
    const at = (done: number) => ({ ...progress(done), total: 7000 });
    meter.pace(at(0));
    // A first minute at 1 picture a second, while pictures are decoded and caches fill; then 10.
    for (let second = 10; second <= 60; second += 10) {
      now = 1000 * second;
      expect(meter.pace(at(second))?.rate).toBe(1);
    }
    let pace;
    for (let second = 70; second <= 120; second += 10) {
      now = 1000 * second;
      pace = meter.pace(at(60 + 10 * (second - 60)));
    }
    // The stage's average is 5.5 a second, which would have the rest take twice as long.
    expect(pace).toEqual({ rate: 10, secondsLeft: (7000 - 660) / 10 });
    now = 754_000;
    expect(meter.pace(at(7000))?.rate).toBeCloseTo(7000 / 754);
  });

  it("says nothing of stages that end within a second", () => {
    let now = 0;
    const meter = new Meter(100, () => now);
    for (const done of [0, 500, 1000]) {
      expect(meter.line(progress(done))).toBe(undefined);
      now += 400;
    }
  });

  it("counts the rate of a resumed stage from where it went on", () => {
    let now = 0;
    const meter = new Meter(100, () => now);
    meter.pace(progress(900));
    now = 10_000;
    expect(meter.pace(progress(950))).toEqual({ rate: 5, secondsLeft: 10 });
  });

  it("writes durations as people do", () => {
    const seconds = [0, 4.4, 9.7, 22, 57, 95, 125, 241, 3590, 4320, 7100, 40_000];
    expect(seconds.map(duration)).toEqual([
      ...["1s", "4s", "10s", "20s", "55s", "1m 30s", "2m", "4m"],
      ...["1h", "1h 10m", "2h", "11h"],
    ]);
  });

  it("forecasts by work, and says when that is an upper bound", () => {
    let now = 0;
    const meter = new Meter(10_000, () => now);
    const at = (done: number, work: number, total = 1000) => ({
      ...{ stage: "sweep", done, total, unit: "coalitions", atMost: true },
      work: { done: work, total: 400 },
    });
    meter.line(at(0, 0));
    now = 10_000;
    // A tenth of the units, half of the work: as long again, not nine times as long.
    expect(meter.line(at(100, 200))).toBe("sweep: 50%, 10 coalitions/s, at most about 10s left");
    now = 20_000;
    expect(meter.line(at(500, 400, 500))).toBe("sweep: 100%, 25 coalitions/s, done");
  });

  it("redraws one line on a terminal and clears it before text", () => {
    let now = 0;
    const out = new Sink(true), err = new Sink(true);
    const console = new TextConsole(out, err, () => now);
    for (const done of [0, 100, 200]) {
      console.progress(progress(done));
      now += 2_000;
    }
    console.text("result");
    console.close();
    expect(err.text.match(/\n/g)).toBe(null);
    expect(err.text).toMatch(/train █+░+ 20% {2}50 images\/s/);
    expect(err.text.endsWith("\r\x1b[2K")).toBe(true);
    expect(out.text).toBe("result\n");
  });

  it("writes JSON lines for machines, and nothing else", () => {
    let now = 0;
    const out = new Sink(), err = new Sink();
    const console = new JsonConsole(out, err, () => now);
    console.stage("train", "10 epochs");
    for (const done of [0, 500, 1000]) {
      console.progress(progress(done));
      now += 1_000;
    }
    console.text("for people");
    console.warn("Something small.");
    console.result({ top1: 0.5 });
    const events = out.text.trim().split("\n").map((line) => JSON.parse(line));
    expect(events.map(({ event }) => event))
      .toEqual(["stage", "progress", "progress", "warning", "result"]);
    expect(events[2]).toMatchObject({ stage: "train", done: 1000, rate: 500, secondsLeft: 0 });
    expect(events.at(-1)).toEqual({ event: "result", top1: 0.5 });
    expect(err.text).toBe("Something small.\n");
  });
});
