import { describe, expect, it } from "vitest";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { createModel } from "../../src/models/models.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import type { StepRequest } from "../../src/program/compile.ts";
import { OPERATIONS } from "../../src/program/operations.ts";
import type { Program } from "../../src/program/program.ts";
import { RandomStream } from "../../src/random.ts";
import { elementCount } from "../../src/tensor.ts";
import { compilePlain } from "../support/compiled.ts";
import { diverseGraph } from "../support/graphs/diverse.ts";
import { randomGraph } from "../support/graphs/random.ts";

const IMAGES = 8;

function stepOf(recompute: boolean, images = IMAGES): StepRequest {
  const optimizer = { kind: "sgd", weightDecay: 1e-4 } as const;
  return { kind: "step", name: "step", images, loss: { smoothing: 0.1 }, optimizer, recompute };
}

/** Parameters, losses and the last gradients after some steps on noise. */
async function trained(
  graph: Graph,
  dtype: "f32" | "bf16",
  recompute: boolean,
  steps: number,
): Promise<Map<string, ArrayLike<number>>> {
  const random = new RandomStream(5, "rematerialise");
  const length = IMAGES * elementCount(graph.input.shape);
  const pictures = Float32Array.from({ length }, () => random.normal());
  const labels = Int32Array.from({ length: IMAGES }, (_, i) => i % 3);
  using model = LoadedModel.open(graph, [stepOf(recompute)], { dtype, threads: 2 });
  const { feeds, loss, optimizerState } = model.entry("step");
  const found = new Map<string, ArrayLike<number>>();
  for (let step = 0; step < steps; step++) {
    const result = await model.run("step", {
      feeds: {
        [feeds.images!]: pictures,
        [feeds.labels!]: labels,
        [feeds.hyper!]: Float32Array.of(0.05, 0.9),
      },
      fetch: [loss!],
    });
    found.set(`loss ${step}`, result[loss!]);
  }
  for (const [name, { data }] of (await model.current()).parameters) found.set(name, data);
  for (const name of optimizerState.keys()) {
    found.set(`grad/${name}`, await model.session.read(`grad/${name}`));
  }
  return found;
}

async function expectSame(graph: Graph, dtype: "f32" | "bf16", steps: number): Promise<void> {
  const kept = await trained(graph, dtype, false, steps);
  const again = await trained(graph, dtype, true, steps);
  expect([...again.keys()]).toEqual([...kept.keys()]);
  for (const [name, data] of kept) {
    const other = again.get(name)!;
    const same = data.length === other.length &&
      Array.prototype.every.call(data, (number, i) => Object.is(number, other[i]));
    expect(same, name).toBe(true);
  }
}

function program(graph: Graph, recompute: boolean, images: number): Program {
  return compilePlain(graph, [stepOf(recompute, images)]).program;
}

/** What reads values of images, by the name of the value. */
function readersOf({ values, instructions }: Program, wanted: RegExp): string[] {
  return instructions.flatMap(({ op, layer, inputs }) =>
    inputs.filter((index) => index >= 0 && wanted.test(values[index].name))
      .map((index) => `${op} ${layer} ${values[index].name} ${values[index].arena}`)
  );
}

describe("computing activations again in the backward pass", () => {
  it("changes no bit of ten training steps or their gradients", async () => {
    await expectSame(createModel("resnet8", { classes: 3 }), "f32", 10);
    await expectSame(createModel("resnet8", { classes: 3 }), "bf16", 10);
  });

  it("changes no bit in networks of every operator, joined every way", async () => {
    for (const seed of [1, 2, 3]) {
      await expectSame(diverseGraph(seed), "f32", 2);
      await expectSame(randomGraph(seed), "bf16", 2);
    }
  });

  it("takes a third off what a step of ResNet-20 keeps", () => {
    const graph = createModel("resnet20", { classes: 10 });
    const kept = program(graph, false, 64), again = program(graph, true, 64);
    expect(again.arenas.activations).toBeLessThan((2 / 3) * kept.arenas.activations);
    expect(again.arenas.slice).toBeLessThanOrEqual(kept.arenas.slice);
    expect(again.arenas.state).toBe(kept.arenas.state);
  });

  it("copies at most two instructions for a value, and none that the forward pass still needs", () => {
    for (const seed of [1, 2, 3, 4]) {
      const graph = diverseGraph(seed);
      const kept = program(graph, false, 16), again = program(graph, true, 16);
      const names = new Set(kept.values.map(({ name }) => name));
      const writers = new Map(
        again.instructions.flatMap((instruction) =>
          instruction.outputs.filter((output) => output >= 0).map((output) =>
            [again.values[output].name, instruction] as const
          )
        ),
      );
      const isCopy = (name: string) => !names.has(name);
      const depth = (name: string): number =>
        isCopy(name)
          ? 1 + writers.get(name)!.inputs.reduce(
            (sum, input) => sum + (input < 0 ? 0 : depth(again.values[input].name)),
            0,
          )
          : 0;
      for (const { name } of again.values) {
        expect(depth(name)).toBeLessThanOrEqual(2);
        if (isCopy(name)) expect(OPERATIONS[writers.get(name)!.op].kind).toBe("image");
      }
    }
  });

  it("keeps a value in the slice's memory when only the backward pass of one segment reads it", () => {
    const builder = new GraphBuilder("tiny", [3, 8, 8], 1);
    const layer = (name: string, value: string) =>
      builder.convolution(name, value, { out: 4, kernel: 3, padding: 1 });
    let value = builder.batchNorm("bn", layer("conv", builder.input));
    value = layer("next", builder.activation("act", value, "silu"));
    value = builder.relu("relu", builder.batchNorm("bn2", value));
    value = builder.flatten("flatten", builder.globalAveragePool("pool", value));
    const graph = builder.finish(builder.linear("fc", value, 3));
    expect(readersOf(program(graph, false, 16), /^step\/act/)).toEqual([
      "convolution next step/act activations",
      "convolution_backward_weights next step/act activations",
    ]);
    expect(readersOf(program(graph, true, 16), /^step\/act/)).toEqual([
      "convolution next step/act slice",
      "convolution_backward_weights next step/act#2 slice",
    ]);
  });
});
