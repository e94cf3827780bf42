// The benchmark runner: its arithmetic, its turns, its peers, and that every benchmark runs.

import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { alternate, ratios, spread } from "../bench/alternate.ts";
import { BENCHMARKS } from "../bench/benchmarks/all.ts";
import { errorOf, inference } from "../bench/benchmarks/inference.ts";
import { step } from "../bench/benchmarks/step.ts";
import { networkOf, precisions, workloads } from "../bench/benchmarks/network.ts";
import type { Case, Contestant } from "../bench/contestant.ts";
import { secondsPerRun } from "../bench/contestant.ts";
import { measureCase, type MeasureOptions, type Row } from "../bench/measure.ts";
import { type BenchCommand, withOptions } from "../bench/options.ts";
import { PeerProcess, peerScript } from "../bench/peer_process.ts";
import { findPeers, openPeer, type Trials } from "../bench/peers.ts";
import { profileNetworks } from "../bench/profile.ts";
import { profileTable, profileText, summaryOf, traceOf } from "../bench/profile_report.ts";
import { type BenchmarkResult, reaches, resultTable, writeResult } from "../bench/results.ts";
import { provenance } from "../bench/machine.ts";
import { costOf } from "../src/graph/cost.ts";
import { createModel } from "../src/models/models.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "secateur-bench-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const options = (): MeasureOptions => ({
  threads: 1,
  quick: true,
  seconds: 0,
  folder,
  rounds: 1,
});

/** A contestant that notes its turns and gives figures in order. */
function scripted(name: string, figures: readonly number[], turns: string[]): Contestant {
  let next = 0;
  return {
    about: name,
    measure: () => {
      turns.push(name);
      return Promise.resolve(figures[next++]);
    },
    close: () => void turns.push(`${name} closes`),
  };
}

describe("turns", () => {
  it("measure everyone once without counting, then every other round backwards", async () => {
    const turns: string[] = [];
    const contestants = [
      scripted("a", [99, 1, 2, 3], turns),
      scripted("b", [98, 4, 5, 6], turns),
    ];
    expect(await alternate(contestants, 3)).toEqual([[1, 2, 3], [4, 5, 6]]);
    expect(turns.join("")).toBe("ba" + "ab" + "ba" + "ab");
  });

  it("compare figures of the same round", () => {
    // Both slow down alike: the ratio does not move.
    const drifting = ratios([100, 50, 25], [50, 25, 12.5], "higher");
    expect(drifting).toEqual({ median: 2, low: 2, high: 2 });
    expect(ratios([1, 2], [3, 8], "lower")).toEqual({ median: 3.5, low: 3.25, high: 3.75 });
  });

  it("tell the interquartile range as a share of the median", () => {
    expect(spread({ median: 4, low: 3, high: 5 })).toBe(0.5);
  });

  it("repeat work until the time is over", async () => {
    let clock = 0, runs = 0;
    const work = () => {
      clock += 30;
      runs += 1;
    };
    // Four runs of 30 ms are the first to fill a tenth of a second.
    expect(await secondsPerRun(work, 0.1, () => clock)).toBeCloseTo(0.03, 12);
    expect(runs).toBe(4);
    expect(await secondsPerRun(work, 0, () => clock)).toBeCloseTo(0.03, 12);
    expect(runs).toBe(5);
  });
});

/** A case of scripted contestants against one peer. */
function scriptedCase(turns: string[], peer: () => Promise<Contestant>): Case {
  return {
    name: "work",
    unit: "images/s",
    better: "higher",
    details: {},
    ours: () => Promise.resolve(scripted("ours", [0, 30, 40, 50], turns)),
    peers: [{ name: "other", target: { kind: "ratio", least: 2 }, open: peer }],
  };
}

describe("a case", () => {
  const interpreter = { path: "python", versions: {} };

  it("makes one row for each peer and closes everyone", async () => {
    const turns: string[] = [];
    const one = scriptedCase(
      turns,
      () => Promise.resolve(scripted("peer", [0, 10, 20, 40], turns)),
    );
    const [row] = await measureCase(one, { ...options(), rounds: 3, interpreter });
    expect(row.ours).toEqual({
      about: "ours",
      samples: [30, 40, 50],
      median: 40,
      low: 35,
      high: 45,
    });
    expect(row.peer?.median).toBe(20);
    expect(row.ratio?.median).toBe(2);
    expect(reaches(row)).toBe(true);
    expect(reaches({ ...row, target: { kind: "share", most: 0.4 } })).toBe(false);
    expect(reaches({ ...row, target: { kind: "figure", most: 39 } })).toBe(false);
    expect(turns.slice(-2)).toEqual(["ours closes", "peer closes"]);
  });

  it("keeps to its own number of rounds, and adds what opening found out", async () => {
    const turns: string[] = [];
    const ours = {
      ...scripted("ours", [0, 30, 40, 50], turns),
      details: { largestDifferenceOfLogits: 0.5 },
    };
    const peer = () => Promise.resolve(scripted("peer", [0, 10, 20, 40], turns));
    const one = {
      ...scriptedCase(turns, peer),
      details: { images: 4 },
      mostRounds: 2,
      ours: () => Promise.resolve(ours),
    };
    const [row] = await measureCase(one, { ...options(), rounds: 3, interpreter });
    expect(row.rounds).toBe(2);
    expect(row.ours.samples).toEqual([30, 40]);
    expect(row.details).toEqual({ images: 4, largestDifferenceOfLogits: 0.5 });
    const [fewer] = await measureCase({ ...one, mostRounds: 9 }, { ...options(), rounds: 1 });
    expect(fewer.rounds).toBe(1);
  });

  it("closes what was opened when another does not open", async () => {
    const turns: string[] = [];
    const one = scriptedCase(turns, () => Promise.reject(new Error("no such peer")));
    await expect(measureCase(one, { ...options(), interpreter })).rejects.toThrow("no such peer");
    expect(turns).toEqual(["ours closes"]);
  });

  it("leaves peers and ratios out where there is no interpreter", async () => {
    const one = scriptedCase([], () => Promise.reject(new Error("must not be opened")));
    const [row] = await measureCase(one, { ...options(), rounds: 3 });
    expect(row.peer).toBeUndefined();
    expect(reaches(row)).toBeUndefined();
  });
});

/** A peer that answers as this JavaScript, of the request `r`, says. */
function scriptedPeer(answer: string): PeerProcess {
  const script = `require("node:readline").createInterface({ input: process.stdin })` +
    `.on("line", (line) => { const r = JSON.parse(line); ${answer} });`;
  const runtime = process.versions.deno ? ["eval", "--ext=cjs"] : ["-e"];
  return new PeerProcess("scripted", [process.execPath, ...runtime, script]);
}

describe("a peer process", () => {
  it("answers requests one after the other", async () => {
    const peer = scriptedPeer("console.log(JSON.stringify({ result: r.n * 2 }))");
    expect(await peer.request({ n: 2 })).toBe(4);
    expect(await peer.request({ n: 5 })).toBe(10);
    await peer.close();
  });

  it("reports its own errors, and its end, with what it said last", async () => {
    const peer = scriptedPeer(
      'if (r.n) console.log(JSON.stringify({ error: "no memory" })); ' +
        'else { console.error("worn out"); process.exitCode = 3; process.stdin.destroy(); }',
    );
    await expect(peer.request({ n: 1 })).rejects.toThrow("The peer scripted failed: no memory");
    await expect(peer.request({ n: 0 })).rejects.toThrow(/status 3 \(worn out\)/);
    await expect(peer.request({ n: 1 })).rejects.toThrow("status 3");
    await peer.close();
  });

  it("that does not exist rejects", async () => {
    const peer = new PeerProcess("absent", [join(folder, "no-such-python")]);
    await expect(peer.request({})).rejects.toMatchObject({ code: "addon-failed" });
  });
});

const found = findPeers();

describe("a peer in PyTorch", () => {
  const missing = "missing" in found;
  it.skipIf(missing)(
    `tries its ways once, and the close ones again${missing ? ": skipped, it is missing" : ""}`,
    async () => {
      if (!("interpreter" in found)) return;
      const trials: Trials = { "2": { "all in one call": 1e-6, "16 calls": 1 } };
      const parameters = { side: 8, matrices: 4, images: 4 };
      const peer = await openPeer(found.interpreter, "rank", options(), parameters, trials);
      try {
        expect(peer.about).toBe("all in one call");
        expect(await peer.measure()).toBeGreaterThan(0);
        // The other one had no hope at another size, so that it was left out.
        expect(Object.keys(peer.tried!)).toEqual(["all in one call"]);
        expect(trials["4"]).toEqual(peer.tried);
      } finally {
        await peer.close();
      }
      // At the same size both are known: nothing is tried, the better one is measured.
      trials["4"] = { "all in one call": 2, "16 calls": 1 };
      const again = await openPeer(found.interpreter, "rank", options(), parameters, trials);
      try {
        expect(again.about).toBe("16 calls");
        expect(again.tried).toEqual({ "all in one call": 2, "16 calls": 1 });
        expect(await again.measure()).toBeGreaterThan(0);
      } finally {
        await again.close();
      }
    },
  );

  it.skipIf(missing)(
    `builds both networks with as many parameters${missing ? ": skipped, it is missing" : ""}`,
    () => {
      if (!("interpreter" in found)) return;
      const code = "import sys; sys.path.insert(0, sys.argv[1]); from resnet import resnet\n" +
        "for name in sys.argv[2:]: print(sum(p.numel() for p in resnet(name).parameters()))";
      const names = ["resnet50", "resnet56"];
      const folder = dirname(peerScript("resnet.py"));
      const { stdout, stderr } = spawnSync(
        found.interpreter.path,
        ["-c", code, folder, ...names],
        { encoding: "utf8" },
      );
      const counts = names.map((name) => costOf(createModel(name, { classes: 10 })).parameters);
      expect(stdout.trim().split("\n").map(Number), stderr).toEqual(counts);
    },
  );
});

describe("the works", () => {
  it("are both networks in every precision, with the targets asked for", () => {
    const targets = { small: { f32: 1.3, bf16: 1.7 }, large: { bf16: 1.2 } };
    const works = workloads({ quick: false }, targets);
    const least = (title: string, dtype: string) =>
      works.find(({ network, precision }) => network.title === title && precision.dtype === dtype)!
        .least;
    expect(least("ResNet-56", "f32")).toBe(1.3);
    expect(least("ResNet-50", "f32")).toBeUndefined();
    const dtypes = works.map(({ precision }) => precision.dtype);
    expect(dtypes.filter((dtype) => dtype === "f32").length).toBe(3);
    if (!dtypes.includes("bf16")) return;
    expect(least("ResNet-56", "bf16")).toBe(1.7);
    expect(least("ResNet-50", "bf16")).toBe(1.2);
  });

  it("ask of fast f32 what is asked of an f32-grade mode, against PyTorch in f32", () => {
    for (const benchmark of [inference, step]) {
      const cases = benchmark.cases({ ...options(), quick: false }) as Case[];
      const fast = cases.filter(({ details }) => details.dtype === "f32-fast");
      expect(fast.map(({ details }) => details.network)).toEqual([
        "ResNet-56",
        "ResNet-56",
        "ResNet-50",
      ]);
      expect(fast[0].peers[0].target).toEqual({ kind: "ratio", least: 2.5 });
      expect(fast[2].peers[0].target).toBeUndefined();
      expect(fast[0].operations!.dtype).toBe("f32");
    }
  });

  it("tell how far a precision's logits are from those in f32", async () => {
    const { graph } = networkOf({ quick: true });
    expect(await errorOf(graph, 2, { dtype: "f32", threads: 1 })).toBe(0);
    const error = await errorOf(graph, 2, { dtype: "bf16", threads: 1 });
    // bf16 has 8 bits; a few layers of it stay within some of its steps.
    expect(error).toBeGreaterThan(1e-5);
    expect(error).toBeLessThan(0.05);
  });
});

describe("options", () => {
  const parse = async (...args: string[]): Promise<BenchCommand> => {
    const seen: BenchCommand[] = [];
    await withOptions(args, (command) => {
      seen.push(command);
      return Promise.resolve();
    });
    return seen[0];
  };

  it("compare where PyTorch is there, unless told otherwise", async () => {
    expect(await parse()).toMatchObject({ names: [], threads: 2, quick: false, peers: undefined });
    expect(await parse("rank", "step", "--peers")).toMatchObject({
      names: ["rank", "step"],
      peers: true,
    });
    expect(await parse("--no-peers", "--threads", "3")).toMatchObject({ peers: false, threads: 3 });
  });

  it("refuse what makes no sense in one sentence", async () => {
    await expect(parse("--threads", "0")).rejects.toThrow(/^Expected --threads to be a whole/);
    await expect(parse("--nonsense")).rejects.toThrow("unknown option");
  });
});

/** Benchmarks whose contestants are processes that run TypeScript, which Node 20 does not. */
const NEEDS_DENO = ["start", "memory"];

describe("every benchmark", () => {
  for (const benchmark of BENCHMARKS) {
    const skipped = NEEDS_DENO.includes(benchmark.name) && !process.versions.deno;
    it.skipIf(skipped)(`${benchmark.name} runs at a tiny size`, async () => {
      const rows: Row[] = [];
      for (const one of await benchmark.cases(options())) {
        rows.push(...await measureCase(one, options()));
      }
      expect(rows.length).toBeGreaterThan(0);
      for (const { ours, name } of rows) {
        expect(name).not.toBe("");
        expect(ours.samples.length).toBe(1);
        expect(ours.median).toBeGreaterThan(0);
        expect(Number.isFinite(ours.median)).toBe(true);
      }
    });
  }

  it("is written with what it depends on, and as a table", async () => {
    const row = (await measureCase(scriptedCase([], () => Promise.reject()), options()))[0];
    const result: BenchmarkResult = {
      schema: 1,
      benchmark: "scripted",
      date: "2030-01-02T03:04:05.000Z",
      ...provenance(),
      threads: 1,
      rounds: 1,
      quick: true,
      rows: [row],
    };
    const path = await writeResult(join(folder, "results"), result);
    expect(path).toBe(join(folder, "results", "2030-01-02-scripted.json"));
    const stored = JSON.parse(await readFile(path, "utf8"));
    expect(stored.rows[0].ours.samples).toEqual([30]);
    expect(stored.machine.cores).toBeGreaterThan(0);
    expect(stored.versions.addon).toMatch(/^[0-9a-f]+/);
    const [heads, , line] = resultTable([result]).split("\n");
    expect(heads).toContain("ratio");
    expect(line).toContain("30 images/s");
  });
});

describe("the profile", () => {
  it("accounts for every instruction of inference and of the step", async () => {
    const profiles = await profileNetworks(options());
    const [inference, step] = profiles;
    expect(inference.title).toContain("inference ResNet-8 f32");
    const macs = inference.instructions.reduce((sum, one) => sum + one.macs, 0);
    // The cost model counts the graph, the profile what became of it: they agree on 4 images.
    expect(macs).toBe(4 * networkOf({ quick: true }).macs);
    // Every convolution twice more on the way back, the first without gradient of the pictures.
    const first = step.instructions.find(({ op }) => op === "convolution")!.macs;
    expect(step.instructions.reduce((sum, one) => sum + one.macs, 0)).toBe(3 * macs - first);
    expect(step.instructions.every(({ milliseconds }) => milliseconds > 0)).toBe(true);

    const table = profileTable(step, 5).split("\n");
    expect(table.filter((line) => line.startsWith("convolution_backward_weights ")).length)
      .toBeGreaterThan(0);
    const summary = summaryOf(step, 5);
    const shares = summary.operations.reduce((sum, { share }) => sum + share, 0);
    expect(shares).toBeCloseTo(1, 10);
    const counts = summary.operations.reduce((sum, { count }) => sum + count, 0);
    expect(counts).toBe(step.instructions.length);
    expect(summary.instructions.length).toBe(5);
    const { gflops, milliseconds } = summaryOf(inference).operations
      .find(({ op }) => op === "convolution")!;
    const convolutions = inference.instructions.filter(({ op }) => op === "convolution");
    const flops = 2 * convolutions.reduce((sum, one) => sum + one.macs, 0);
    expect(gflops! * 1e6 * milliseconds / flops).toBeCloseTo(1, 6);

    const date = "2030-01-02T03:04:05.000Z";
    const stored = JSON.parse(profileText({
      schema: 1,
      benchmark: "profile",
      date,
      ...provenance(),
      quick: true,
      profiles: profiles.map((one) => summaryOf(one, 5)),
    }));
    expect(stored.profiles.length).toBe(profiles.length);
    expect(stored.profiles.map(({ title }: { title: string }) => title))
      .toContain(`training step ResNet-50 ${precisions().at(-1)!.dtype}, batch 2`);
    expect(stored.profiles[1].operations[0].share).toBeCloseTo(summary.operations[0].share, 3);

    const { traceEvents } = traceOf(profiles) as { traceEvents: { ph: string; dur?: number }[] };
    const events = profiles.reduce((sum, { instructions }) => sum + instructions.length, 0);
    expect(traceEvents.filter(({ ph }) => ph === "X").length).toBe(events);
  });
});
