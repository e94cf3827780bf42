// The tree is the explanation: no two files import each other, and every room stays surveyable.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { circlesOf } from "../support/circles.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const ROOMS = ["src", "native", "cuda", "bench", "tests"];
/** Most files that a folder of code may list: beyond this its order is hidden. */
const MOST_FILES = 24;

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === "fixtures" ? [] : filesBelow(path);
    return /\.(ts|js|mjs|cpp|cu|h)$/.test(entry.name) ? [path] : [];
  });
}

/** Paths of what a file imports or includes, where they are files of the project. */
function importsOf(path: string, text: string): string[] {
  if (/\.(cpp|cu|h)$/.test(path)) {
    const roots = path.startsWith(join(ROOT, "cuda")) ? ["cuda", "native"] : ["native"];
    return [...text.matchAll(/^#include "([^"]+)"/gm)].flatMap(([, name]) =>
      roots.map((root) => join(ROOT, root, name)).filter((file) => existsSync(file))
    );
  }
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map(([, name]) =>
    resolve(dirname(path), name)
  );
}

describe("the tree", () => {
  const files = ROOMS.flatMap((room) => filesBelow(join(ROOT, room)));

  it("has no two files that import each other, directly or in a circle", () => {
    const imports = new Map(files.map((path) => {
      // A header and its source are one unit: what either includes, the unit needs.
      const unit = path.replace(/\.(cpp|cu)$/, ".h");
      return [path, importsOf(path, readFileSync(path, "utf8")).filter((to) => to !== unit)];
    }));
    const circles = circlesOf(imports).map((circle) => circle.map((path) => relative(ROOT, path)));
    expect(circles).toEqual([]);
  });

  it("keeps kernels out of what a host compiler sees of cuda/", () => {
    const reached = new Set(files.filter((path) => /\/cuda\/(execution\/)?\w+\.cpp$/.test(path)));
    expect(reached.size).toBeGreaterThan(1);
    for (const path of reached) {
      importsOf(path, readFileSync(path, "utf8")).forEach((each) => reached.add(each));
    }
    const kernels = [...reached].filter((path) => /__global__/.test(readFileSync(path, "utf8")));
    expect(kernels.map((path) => relative(ROOT, path))).toEqual([]);
  });

  it("lists no more files in a folder than can be taken in", () => {
    const counts = new Map<string, number>();
    for (const path of files) counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1);
    const crowded = [...counts]
      .filter(([, count]) => count > MOST_FILES)
      .map(([folder, count]) => `${relative(ROOT, folder)}: ${count}`);
    expect(crowded).toEqual([]);
  });
});

describe("circlesOf", () => {
  it("finds circles of two and of more, and nothing else", () => {
    const imports = new Map([
      ["a", ["b"]],
      ["b", ["a", "c"]],
      ["c", []],
      ["d", ["e"]],
      ["e", ["f"]],
      ["f", ["d", "c"]],
    ]);
    expect(circlesOf(imports).map((circle) => [...circle].sort())).toEqual([
      ["a", "b"],
      ["d", "e", "f"],
    ]);
  });
});
