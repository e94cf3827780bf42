import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { StageStore } from "../../src/pruning/store.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-store-"));
afterAll(() => rmSync(folder, { recursive: true }));
let folders = 0;
const fresh = () => join(folder, `${folders++}`);

describe("the store of finished stages", () => {
  it("gives a stage what it stored under the same inputs, exactly, and nothing under others", async () => {
    const place = fresh();
    const store = await StageStore.open(place, { model: "a" }, false);
    const value = { sums: Float64Array.of(0.1, -1e300, NaN), count: 1 / 3 };
    await store.with({ seed: 1 }).write("statistics", value);
    const again = await StageStore.open(place, { model: "a" }, true);
    expect(await again.with({ seed: 1 }).read("statistics")).toEqual(value);
    expect(await again.with({ seed: 2 }).read("statistics")).toBeUndefined();
    expect(await again.read("statistics")).toBeUndefined();
    expect(await again.with({ seed: 1 }).read("other")).toBeUndefined();
    const other = await StageStore.open(place, { model: "b" }, true);
    expect(await other.with({ seed: 1 }).read("statistics")).toBeUndefined();
  });

  it("keeps results of several inputs side by side", async () => {
    const store = await StageStore.open(fresh(), 0, false);
    for (const cut of [0.3, 0.5]) await store.with({ cut }).write("contributions", cut);
    for (const cut of [0.3, 0.5]) {
      expect(await store.with({ cut }).read("contributions")).toBe(cut);
    }
  });

  it("runs a stage once", async () => {
    const store = await StageStore.open(fresh(), 0, false);
    let times = 0;
    for (let i = 0; i < 3; i++) {
      expect(await store.once("/a/Conv 0", () => Promise.resolve(++times))).toBe(1);
    }
  });

  it("removes what earlier runs left when it is not to go on, and no other file", async () => {
    const place = fresh();
    const before = await StageStore.open(place, 0, false);
    await before.write("baseline", 1);
    writeFileSync(before.path("fine-tuning", "-8.safetensors"), "weights");
    writeFileSync(join(place, "notes.txt"), "mine");
    writeFileSync(join(place, "my-model.safetensors"), "mine too");
    expect(readdirSync(place)).toHaveLength(5);
    const anew = await StageStore.open(place, 0, false);
    expect(readdirSync(place).sort()).toEqual(["my-model.safetensors", "notes.txt", "run.json"]);
    expect(await anew.read("baseline")).toBeUndefined();
  });

  it("goes on from the longest shorter state of the same inputs", async () => {
    const store = (await StageStore.open(fresh(), 0, false)).with({ rate: 0.1 });
    const write = (count: number) =>
      writeFileSync(store.path("fine-tuning", `-${count}.safetensors`), `after ${count}`);
    for (const count of [2, 8, 30]) write(count);
    const path = await store.longer("fine-tuning", 20, "safetensors");
    expect(path).toBe(store.path("fine-tuning", "-20.safetensors"));
    expect(readFileSync(path, "utf8")).toBe("after 8");
    expect(readFileSync(await store.longer("fine-tuning", 30, "safetensors"), "utf8"))
      .toBe("after 30");
    expect(existsSync(await store.longer("fine-tuning", 1, "safetensors"))).toBe(false);
    const other = store.with({ more: true });
    expect(existsSync(await other.longer("fine-tuning", 20, "safetensors"))).toBe(false);
  });

  it("says which file is damaged", async () => {
    const store = await StageStore.open(fresh(), 0, false);
    writeFileSync(store.path("baseline", ".json"), "{ cut of");
    await expect(store.read("baseline")).rejects.toMatchObject({ code: "format-corrupt" });
    await expect(store.read("baseline")).rejects.toThrow(/baseline-[0-9a-f]{16}\.json should hold/);
  });
});
