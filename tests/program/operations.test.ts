// src/program/operations.ts says what native/operations.def says.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { OPERATIONS } from "../../src/program/operations.ts";

interface Row {
  name: string;
  kind: string;
  lists: string[];
}

/** Replaces macros, joins C string literals, and reads the OPERATION rows. */
function parseTable(source: string): Row[] {
  const flat = source.replace(/\\\n/g, " ").replace(/\/\/.*$/gm, "");
  const macros = new Map<string, string>();
  const lines = flat.split("\n").filter((line) => {
    const defined = /^#define (\w+)\s+(.*)$/.exec(line);
    if (defined) macros.set(defined[1], defined[2]);
    return !line.startsWith("#");
  });
  let rows = lines.join(" ");
  for (const [name, text] of macros) rows = rows.replaceAll(new RegExp(`\\b${name}\\b`, "g"), text);
  rows = rows.replace(/"\s+"/g, "");
  return [...rows.matchAll(/OPERATION\((\w+), (\w+), ((?:"[^"]*"(?:, )?)+)\)/g)]
    .map(([, name, kind, lists]) => ({
      name,
      kind,
      lists: [...lists.matchAll(/"([^"]*)"/g)].map(([, text]) => text.trim().replace(/\s+/g, " ")),
    }));
}

const table = parseTable(
  readFileSync(new URL("../../native/operations.def", import.meta.url), "utf8"),
);

describe("the table of operations", () => {
  it("is read completely", () => {
    expect(table.length).toBeGreaterThan(20);
    for (const row of table) expect(row.lists, row.name).toHaveLength(4);
  });

  it("has the same operations in the same order in both languages", () => {
    expect(Object.keys(OPERATIONS)).toEqual(table.map((row) => row.name));
  });

  it("gives every operation the same kind and arguments in both languages", () => {
    const ours = Object.entries(OPERATIONS).map(([name, operation]) => ({
      name,
      kind: operation.kind,
      lists: [operation.inputs, operation.outputs, operation.ints, operation.floats]
        .map((names) => names.join(" ")),
    }));
    expect(ours).toEqual(table);
  });
});
