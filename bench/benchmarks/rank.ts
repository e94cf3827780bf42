import { Session } from "../../src/native/session.ts";
import type { Program } from "../../src/program/program.ts";
import { RandomStream } from "../../src/random.ts";
import {
  type Benchmark,
  type BenchmarkOptions,
  type Case,
  type Contestant,
  secondsPerRun,
} from "../contestant.ts";
import { openPeer } from "../peers.ts";

/** Channels of a picture: the vector units take that many maps at once. */
const CHANNELS = 16;

/** A program of one rank instruction over pictures [side, side, CHANNELS]. */
function rankProgram(side: number, images: number): Program {
  const bytes = images * side * side * CHANNELS * 4;
  return {
    values: [
      {
        name: "maps",
        dtype: "f32",
        shape: [side, side, CHANNELS],
        images,
        arena: "feeds",
        offset: 0,
      },
      { name: "ranks", dtype: "f32", shape: [CHANNELS], images, arena: "activations", offset: 0 },
    ],
    arenas: {
      weights: 0,
      state: 0,
      feeds: bytes,
      activations: Math.ceil(images * CHANNELS * 4 / 64) * 64,
      slice: 0,
    },
    instructions: [{ op: "rank", inputs: [0], outputs: [1], ints: [], floats: [], layer: "rank" }],
    entries: [{ name: "ranks", first: 0, count: 1, images, slice: 1 }],
  };
}

/** Feature maps after a ReLU: half of the cells are zero. */
function rectifiedNoise(length: number): Float32Array {
  const random = new RandomStream(0, "bench maps");
  const noise = Float32Array.from({ length: 65521 }, () => Math.max(0, random.normal()));
  return Float32Array.from({ length }, (_, i) => noise[i % noise.length]);
}

function openOurs(side: number, images: number, options: BenchmarkOptions): Contestant {
  const { threads, device, seconds } = options;
  const session = Session.open(rankProgram(side, images), {
    threads,
    ...(device === undefined ? {} : { device }),
  });
  session.write("maps", rectifiedNoise(images * side * side * CHANNELS));
  const run = async () => {
    await session.run("ranks", { fetch: ["ranks"] });
  };
  return {
    about: "bidiagonalisation and one Sturm count, many maps in the lanes",
    measure: async () => images * CHANNELS / await secondsPerRun(run, seconds),
    close: () => session.dispose(),
  };
}

/** Pictures of each size, so that one run takes tens of milliseconds on either side. */
const PICTURES: Readonly<Record<number, number>> = { 8: 1024, 16: 512, 32: 128, 56: 32, 112: 4 };

function caseOf(side: number, images: number, options: BenchmarkOptions): Case {
  const matrices = images * CHANNELS;
  return {
    name: `rank of ${side}x${side} maps`,
    unit: "matrices/s",
    better: "higher",
    details: { side, matrices },
    ours: () => Promise.resolve(openOurs(side, images, options)),
    peers: [{
      name: "torch.linalg.matrix_rank",
      target: { kind: "ratio", least: side <= 32 ? 30 : 3 },
      open: (interpreter) => openPeer(interpreter, "rank", options, { side, matrices }),
    }],
  };
}

export const rank: Benchmark = {
  name: "rank",
  about: "numerical ranks of feature maps",
  cases: (options) =>
    Object.entries(PICTURES).map(([side, images]) =>
      caseOf(Number(side), options.quick ? 1 : images, options)
    ),
};
