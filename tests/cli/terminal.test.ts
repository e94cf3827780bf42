/** What is said reaches a terminal or a page as text: nothing that a file holds steers either. */

import { parseHTML } from "linkedom";
import { describe, expect, it } from "vitest";
import { JsonConsole, TextConsole } from "../../src/commands/terminal/console.ts";
import { StandardStream, type Stream } from "../../src/commands/terminal/streams.ts";
import { columns, words } from "../../src/report/columns.ts";
import { reportPage } from "../../src/report/page.ts";
import { reportTable } from "../../src/report/table.ts";
import { reportFixture } from "../support/report_fixture.ts";
import { Sink } from "../support/sink.ts";

/** Clears a screen, rings, ends a line, sets a title by a C1 control, and turns text around. */
const HOSTILE = "net\x1b[2J\x07\r\n\x9b31m\u202egnp.\u2066";
// deno-lint-ignore no-control-regex
const STEERING = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/;

describe("consoles", () => {
  it.each([[false], [true]])("show names and let them steer nothing, terminal: %s", (isTTY) => {
    let now = 0;
    const out = new Sink(isTTY, 200), err = new Sink(isTTY, 200);
    const console = new TextConsole(out, err, () => now);
    const progress = { stage: HOSTILE, total: 10, unit: HOSTILE };
    console.stage(HOSTILE, HOSTILE);
    for (const done of [0, 5]) {
      console.progress({ ...progress, done, figures: { [HOSTILE]: 1 } });
      now += 20_000;
    }
    console.progress({ ...progress, done: 8 });
    console.warn(`Left out ${HOSTILE}.`);
    console.text(HOSTILE, HOSTILE);
    console.close();
    expect(out.text).not.toMatch(STEERING);
    expect(out.text.split("\n")).toHaveLength(3);
    expect(out.text).toContain("net\\u001b[2J\\u0007\\u000d\\u000a\\u009b31m\\u202egnp.\\u2066");
    // The console's own sequence, which clears the line of progress.
    expect(err.text.replaceAll("\r\x1b[2K", "")).not.toMatch(STEERING);
    expect(err.text).toContain("\\u009b31m");
  });

  it("write JSON that says the same and steers nothing either", () => {
    const out = new Sink(), err = new Sink();
    const console = new JsonConsole(out, err);
    console.stage(HOSTILE, HOSTILE);
    console.warn(HOSTILE);
    console.result({ [HOSTILE]: [HOSTILE] });
    expect(out.text + err.text).not.toMatch(STEERING);
    const events = out.text.trim().split("\n").map((line) => JSON.parse(line));
    expect(events).toEqual([
      { event: "stage", stage: HOSTILE, detail: HOSTILE },
      { event: "warning", message: HOSTILE },
      { event: "result", [HOSTILE]: [HOSTILE] },
    ]);
  });
});

describe("the report", () => {
  const report = reportFixture();
  const name = `</title><script>alert(1)</script>"'><img src=x onerror=alert(1)>${HOSTILE}`;

  /** The fixture with every name in it replaced. */
  function renamed<T>(value: T, key = ""): T {
    if (typeof value === "string") {
      const fixed = ["kind", "dtype", "step", "set", "proof", "rule", "criterion", "scope", "op"];
      return (fixed.includes(key) || !Number.isNaN(Date.parse(value)) ? value : name) as T;
    }
    if (Array.isArray(value)) return value.map((each) => renamed(each, key)) as T;
    if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([each, inner]) => [each, renamed(inner, each)]),
    ) as T;
  }

  const hostile = {
    ...report,
    model: { ...report.model, name },
    input: { ...report.input, labels: [name, "cat"] },
    data: renamed(report.data),
    results: { ...report.results, groups: renamed(report.results.groups) },
  };

  it("holds names as text: no element, no attribute, nothing that steers", () => {
    const page = reportPage(hostile);
    expect(page).not.toMatch(STEERING);
    const elements = (html: string, selector: string) => {
      const { document } = parseHTML(html) as unknown as {
        document: { querySelectorAll(selector: string): { length: number } };
      };
      return document.querySelectorAll(selector).length;
    };
    expect(elements(page, "script")).toBe(elements(reportPage(report), "script"));
    expect(elements(page, "img, [onerror]")).toBe(0);
    expect(page).toContain("&lt;script&gt;alert(1)");
  });

  it("is a table whose rows stay rows", () => {
    const text = reportTable(hostile);
    expect(text).not.toMatch(STEERING);
    expect(text.split("\n")).toHaveLength(reportTable(report).split("\n").length);
    const lines = columns({ heads: [words("layer")], rows: [["a\nb"], ["c"]] });
    expect(lines).toEqual(["layer", "────────", "a\\u000ab", "c"]);
  });
});

describe("StandardStream", () => {
  const failing = (code: string, late: boolean) => {
    let tell: (thrown: unknown) => void = () => {};
    const error = Object.assign(new Error(code), { code });
    const written: string[] = [];
    const stream: Stream = {
      on: (_event, listener) => tell = listener as typeof tell,
      write: (text) => {
        if (written.length === 0) return void written.push(text);
        if (!late) throw error;
        tell(error);
      },
    };
    return { stream: new StandardStream(stream), written };
  };

  it.each([[false], [true]])("goes on when nothing more is taken, told later: %s", async (late) => {
    const { stream, written } = failing("ENOSPC", late);
    for (const text of ["one", "two", "three"]) stream.write(text);
    await stream.flushed();
    expect(written).toEqual(["one"]);
    expect(stream.loss).toBe("the disk is full");
    const left = failing("EPIPE", late).stream;
    for (const text of ["one", "two"]) left.write(text);
    await left.flushed();
    expect(left.loss).toBeUndefined();
  });
});
