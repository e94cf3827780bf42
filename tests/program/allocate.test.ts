import { describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import { allocate, place } from "../../src/program/memory/allocate.ts";
import { Draft, type DraftEntry, type DraftInstruction } from "../../src/program/draft.ts";
import { bytesOf, type Program } from "../../src/program/program.ts";
import { verify } from "../../src/program/verify.ts";
import { RandomStream } from "../../src/random.ts";
import { compilePlain } from "../support/compiled.ts";
import { memoryProblems } from "../support/memory_oracle.ts";
import { randomGraph } from "../support/graphs/random.ts";

/** An entry of random instructions; only their places matter, not what they compute. */
function randomEntry(draft: Draft, name: string, random: RandomStream): DraftEntry {
  const images = 1 + random.integer(9);
  const slice = 1 + random.integer(images);
  const shapes = [[16], [1, 2, 5], [3, 3, 4]];
  const value = (label: string, place: "activations" | "state" | "feeds", extents: number[]) =>
    draft.value({
      name: `${name}/${label}`,
      dtype: "f32",
      shape: extents,
      images: place === "state" ? 0 : images,
      place,
    });
  const available = [value("images", "feeds", shapes[random.integer(3)])];
  const statistics: string[] = [value("given", "state", [4])];
  const instructions: DraftInstruction[] = [];
  const pick = <T>(list: readonly T[]) => list[random.integer(list.length)];
  // Mostly recent values, so that lives end.
  const recent = () => pick(available.slice(-1 - random.integer(6)));
  const count = 5 + random.integer(25);
  for (let i = 0; i < count; i++) {
    const layer = `${i}`;
    const x = recent();
    const like = [...draft.get(x).shape];
    const y = () => value(`v${i}`, "activations", like);
    const kind = random.integer(6);
    if (kind === 0) {
      const out = value(`v${i}`, "activations", pick(shapes));
      instructions.push({ op: "cast", inputs: { x }, outputs: { y: out }, attributes: {}, layer });
    } else if (kind === 1) {
      const mean = value(`s${i}`, "state", [4]), inverse = value(`t${i}`, "state", [4]);
      const [given] = statistics;
      instructions.push({
        op: "batch_norm_statistics",
        inputs: { x, momentum: given, running_mean: given, running_variance: given },
        outputs: { mean, inverse_deviation: inverse, running_mean: given, running_variance: given },
        attributes: { epsilon: 1 },
        layer,
      });
      statistics.push(mean);
      continue;
    } else if (kind === 2) {
      const scale = pick(statistics);
      const inputs = { x, mean: scale, inverse_deviation: scale, scale, offset: scale };
      const attributes = { relu: 0 };
      instructions.push({ op: "batch_norm_apply", inputs, outputs: { y: y() }, attributes, layer });
    } else if (kind === 3) {
      instructions.push({ op: "relu", inputs: { x }, outputs: { y: y() }, attributes: {}, layer });
    } else {
      const b = available.findLast((other) => other !== x && same(draft, other, x)) ?? x;
      const attributes = { relu: 0 };
      instructions.push({ op: "add", inputs: { a: x, b }, outputs: { y: y() }, attributes, layer });
    }
    available.push(`${name}/v${i}`);
  }
  const keep = new Set(available.filter((v) => v !== available[0] && random.integer(8) === 0));
  return { name, images, slice, instructions, keep };
}

function same(draft: Draft, a: string, b: string): boolean {
  return draft.get(a).shape.join() === draft.get(b).shape.join();
}

const bytesTaken = (program: Program) => program.arenas.activations + program.arenas.slice;

describe("allocate", () => {
  it("never lets a value be overwritten before its last read, on any thread", () => {
    let shared = 0;
    for (let seed = 0; seed < 150; seed++) {
      const random = new RandomStream(seed, "allocate");
      const draft = new Draft();
      const entries = ["a", "b"].map((name) => randomEntry(draft, name, random));
      const program = allocate(draft, entries);
      const keep = new Map(entries.map((entry) => [entry.name, entry.keep]));
      verify(program, new Set(["a/given", "b/given"]), keep);
      expect(memoryProblems(program, ["a", "b", "a"], random, keep)).toEqual([]);
      const slices = new Map(entries.map((entry) => [entry.name, entry.slice]));
      const apart = program.values.reduce((sum, value) => {
        const transient = value.arena === "activations" || value.arena === "slice";
        return sum + (transient ? bytesOf(value, slices.get(value.name[0])!) : 0);
      }, 0);
      if (bytesTaken(program) < apart) shared++;
    }
    // Most programs must reuse memory, or the test above shows nothing.
    expect(shared).toBeGreaterThan(100);
  });

  it("places random requests without overlap and near the lower bound", () => {
    const random = new RandomStream(7, "place");
    for (let round = 0; round < 100; round++) {
      const requests = Array.from({ length: 1 + random.integer(30) }, () => {
        const first = random.integer(20);
        return { bytes: 1 + random.integer(1000), first, last: first + random.integer(8) };
      });
      const { offsets, bytes } = place(requests);
      let peak = 0;
      for (let time = 0; time < 30; time++) {
        const alive = requests.flatMap((request, i) =>
          request.first <= time && time <= request.last
            ? [{ from: offsets[i], to: offsets[i] + request.bytes }]
            : []
        ).sort((a, b) => a.from - b.from);
        for (let i = 1; i < alive.length; i++) {
          expect(alive[i].from).toBeGreaterThanOrEqual(alive[i - 1].to);
        }
        peak = Math.max(peak, alive.reduce((sum, { from, to }) => sum + to - from, 0));
      }
      expect(bytes % 64).toBe(0);
      expect(bytes).toBeLessThan(2 * peak + 64 * requests.length);
    }
  });

  it("holds for every entry of random networks", () => {
    for (let seed = 0; seed < 8; seed++) {
      const graph = randomGraph(seed);
      const groups = prunableGroups(graph, "all").slice(0, 3);
      const { program, entries } = compilePlain(graph, [
        { kind: "forward", name: "forward", images: 9, loss: { smoothing: 0.1 } },
        {
          kind: "step",
          name: "step",
          images: 6,
          loss: { smoothing: 0.1, distill: 0.5, temperature: 2 },
          optimizer: { kind: "sgd", weightDecay: 1e-4 },
        },
        { kind: "statistics", name: "statistics", images: 5 },
        ...groups.map((group, index) => ({
          kind: "coalitions" as const,
          name: `game${index}`,
          images: 3,
          coalitions: [4, 2],
          gates: group.sites.map((value) => ({ value })),
          loss: { smoothing: 0 },
        })),
      ], { slice: 2 });
      const games = groups.flatMap((_, index) => [
        `game${index}/prefix`,
        `game${index}/suffix/4`,
        "forward",
        "step",
        `game${index}/suffix/2`,
      ]);
      const keep = new Map(
        [...entries.values()].map(({ name, logits, loss }) => [
          name,
          new Set([logits, loss].filter((value) => value !== undefined)),
        ]),
      );
      const order = ["prepare", "forward", "step", "statistics", ...games];
      const random = new RandomStream(seed, "order");
      expect(memoryProblems(program, order, random, keep)).toEqual([]);
    }
  });
});

describe("verify", () => {
  const graph = randomGraph(3, 2);
  const { program, constants } = compilePlain(graph, [{
    kind: "step",
    name: "step",
    images: 8,
    loss: { smoothing: 0 },
    optimizer: { kind: "sgd", weightDecay: 0 },
  }], { slice: 2 });

  const given = new Set(constants.keys());
  const moved = (from: number, offset: number): Program => ({
    ...program,
    values: program.values.map((value, i) => i === from ? { ...value, offset } : value),
  });

  it("refuses state that nothing wrote", () => {
    const { first, count } = program.entries.find(({ name }) => name === "step")!;
    const packing = program.instructions.findIndex(({ op }, at) =>
      at >= first && op === "pack_convolution"
    );
    expect(packing).toBe(first);
    const entries = program.entries.map((entry) =>
      entry.name === "step" ? { ...entry, first: first + 1, count: count - 1 } : entry
    );
    expect(() => verify({ ...program, entries }, given, new Map())).toThrow("not written");
  });

  it("refuses places that are outside or overlap", () => {
    verify(program, given, new Map());
    const activations = program.values.flatMap((value, i) =>
      value.arena === "activations" ? [i] : []
    );
    const [first] = activations;
    expect(() => verify(moved(first, 1 << 30), given, new Map())).toThrow("lies at bytes");
    expect(() => verify(moved(first, program.values[first].offset + 4), given, new Map()))
      .toThrow("multiples of 64");
    const random = new RandomStream(1, "moved");
    let refused = 0;
    for (let attempt = 0; attempt < 100; attempt++) {
      const from = activations[random.integer(activations.length)];
      const onto = activations[random.integer(activations.length)];
      const broken = moved(from, program.values[onto].offset);
      // What breaks in one interleaving must be refused; what is refused may break in another.
      if (memoryProblems(broken, ["step"], random).length === 0) continue;
      refused++;
      expect(() => verify(broken, given, new Map()), program.values[from].name).toThrow();
    }
    expect(refused).toBeGreaterThan(25);
  });
});
