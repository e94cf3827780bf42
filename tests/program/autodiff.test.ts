import { describe, expect, it } from "vitest";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import type { StepRequest } from "../../src/program/compile.ts";
import { RandomStream } from "../../src/random.ts";
import { Interpreted, randomImages } from "../support/interpreted.ts";
import { blockGraph } from "../support/graphs/blocks.ts";
import { diverseGraph } from "../support/graphs/diverse.ts";
import { mapGraph } from "../support/graphs/maps.ts";
import { randomGraph } from "../support/graphs/random.ts";

const IMAGES = 3;

function step(options: Partial<StepRequest> = {}): StepRequest {
  return {
    kind: "step",
    name: "step",
    images: IMAGES,
    loss: { smoothing: 0 },
    optimizer: { kind: "sgd", weightDecay: 0 },
    ...options,
  };
}

/** A network of what random graphs lack: no batch norm, padded pools, sums before activation. */
function oddGraph(seed: number): Graph {
  const random = new RandomStream(seed, "odd");
  const builder = new GraphBuilder("odd", [2, 7, 7], seed);
  const { input } = builder;
  const a = builder.convolution("a", input, { out: 4, kernel: 3, padding: 1, bias: true });
  const b = builder.convolution("b", input, { out: 4, kernel: 1, bias: true });
  const sum = builder.relu("relu", builder.add("add", a, b));
  const overlapping = builder.maxPool("max", sum, 3, 2, 1);
  const again = builder.relu("again", builder.add("twice", overlapping, overlapping));
  const normed = builder.batchNorm("norm", again);
  const flat = builder.flatten("flatten", normed);
  const hidden = builder.linear("hidden", builder.relu("flat.relu", flat), 5);
  const activated = builder.relu("act", builder.batchNorm("features", hidden));
  const graph = builder.finish(builder.linear("out", activated, 3));
  const nodes = graph.nodes.flatMap((node): Graph["nodes"] => {
    if (node.name !== "norm") return [node];
    const window = { kernel: [2, 3], stride: [1, 1], padding: [1, 1, 0, 1] } as const;
    const [value] = node.inputs;
    return [
      {
        op: "average_pool",
        name: "average",
        inputs: [value],
        output: "average",
        ...window,
        countPadding: seed % 2 === 0,
      },
      { op: "pad", name: "pad", inputs: ["average"], output: "pad", padding: [0, 1, 1, 0] },
      {
        op: "slice",
        name: "slice",
        inputs: ["pad"],
        output: "slice",
        starts: [0, 1],
        ends: [4, 5],
        strides: [1, 1],
      },
      { ...node, inputs: ["slice"] },
    ];
  });
  const parameters = new Map(
    [...graph.parameters].map(([name, { shape, data }]) => {
      const drawn = Float32Array.from(data, (value) => value + 0.2 * random.normal());
      return [name, { shape, data: name.includes("running") ? data : drawn }];
    }),
  );
  return { ...graph, nodes, parameters };
}

/** A network of upsampling, learned slopes and everything that looks at all channels. */
function pixelGraph(seed: number): Graph {
  const builder = new GraphBuilder("pixels", [2, 5, 4], seed);
  const up = { out: 4, kernel: 3, stride: 2, padding: 1, outputPadding: 1, bias: true };
  let value = builder.transposedConvolution("up", builder.input, { ...up, groups: 2 });
  value = builder.prelu("slopes", builder.maxPool("max", value, 2, 2));
  value = builder.layerNorm("layer", value, 1e-3);
  value = builder.resize("linear", value, 2, "linear");
  value = builder.transposedConvolution("deep", value, { ...up, groups: 4 });
  const response = { size: 3, alpha: 0.4, beta: 0.75, bias: 1.5 };
  value = builder.localResponseNorm("response", value, response);
  value = builder.multiply("product", value, builder.softmax("shares", value));
  value = builder.maxPool("small", value, 4, 4);
  value = builder.resize("nearest", value, 1.6, "nearest");
  const once = builder.convolution("once", value, { out: 4, kernel: 3, padding: 1 });
  const again = builder.convolution("again", builder.activation("tanh", once, "tanh"), {
    out: 4,
    kernel: 3,
    padding: 1,
  });
  const last = builder.convolution("last", builder.activation("elu", again, "elu"), {
    out: 4,
    kernel: 3,
    padding: 1,
  });
  const graph = builder.finish(builder.linear("out", builder.flatten("flatten", last), 3));
  // One kernel for three layers.
  const nodes = graph.nodes.map((node) =>
    node.op === "convolution" ? { ...node, weight: "once.weight" } : node
  );
  const parameters = new Map(graph.parameters);
  for (const name of ["again.weight", "last.weight"]) parameters.delete(name);
  return { ...graph, nodes, parameters };
}

function meanLoss(run: Interpreted): number {
  run.runToLoss("step");
  const losses = run.value(run.entry("step").loss);
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

/** Compares a few coordinates of every parameter's gradient with central differences. */
function checkGradients(graph: Graph, request: StepRequest, seed: number): number {
  const run = new Interpreted(graph, [request], { slice: 2 });
  const random = new RandomStream(seed, "autodiff");
  const classes = graph.parameters.get(graph.nodes.at(-1)!.name + ".bias")!.shape[0];
  const labels = Array.from({ length: IMAGES }, () => random.integer(classes));
  run.feed("step", randomImages(graph, IMAGES, random), labels);
  const { feeds, optimizerState } = run.entry("step");
  if (feeds.teacher !== undefined) {
    run.write(feeds.teacher, Array.from({ length: IMAGES * classes }, () => random.normal()));
  }
  // A learning rate of zero: weights stay.
  run.write(feeds.hyper, [0, 0.9]);
  run.run("step");
  let largest = 0;
  for (const parameter of optimizerState.keys()) {
    const gradient = run.value(`grad/${parameter}`).slice();
    const weights = run.value(parameter);
    for (let sample = 0; sample < 3; sample++) {
      const at = random.integer(weights.length);
      const weight = weights[at], h = 1e-6;
      const shifted = [weight + h, weight - h].map((value) => {
        weights[at] = value;
        return meanLoss(run);
      });
      weights[at] = weight;
      const expected = (shifted[0] - shifted[1]) / (2 * h);
      const error = Math.abs(gradient[at] - expected);
      expect(error, `${graph.name} ${parameter}[${at}]: ${gradient[at]} or ${expected}`)
        .toBeLessThan(1e-6 * (1 + Math.abs(expected)));
      largest = Math.max(largest, Math.abs(expected));
    }
  }
  return largest;
}

describe("differentiate, against finite differences in f64", () => {
  it("on random networks: residual, option A, grouped, depthwise, dilated, pooled", () => {
    for (let seed = 0; seed < 8; seed++) {
      expect(checkGradients(randomGraph(seed, 3), step(), seed)).toBeGreaterThan(1e-3);
    }
  });

  it("on networks of every operator", () => {
    for (let seed = 0; seed < 8; seed++) {
      expect(checkGradients(diverseGraph(seed, 3), step(), seed)).toBeGreaterThan(1e-3);
    }
  });

  it("through upsampling, layer and response norms, softmax, and shared weights", () => {
    for (let seed = 0; seed < 3; seed++) {
      expect(checkGradients(pixelGraph(seed), step(), seed)).toBeGreaterThan(1e-3);
    }
  });

  it("through maps that are the same for all channels", () => {
    for (let seed = 0; seed < 2; seed++) {
      expect(checkGradients(mapGraph(seed, 3), step(), seed)).toBeGreaterThan(1e-3);
    }
  });

  it("through channels spread over blocks of pixels", () => {
    for (let seed = 0; seed < 2; seed++) {
      expect(checkGradients(blockGraph(seed, 3), step(), seed)).toBeGreaterThan(1e-3);
    }
  });

  it("with label smoothing and distillation", () => {
    for (const loss of [{ smoothing: 0.1 }, { smoothing: 0.1, distill: 0.7, temperature: 3 }]) {
      expect(checkGradients(randomGraph(20, 2), step({ loss }), 20)).toBeGreaterThan(1e-3);
    }
  });

  it("without batch norm, through padded pools, sums, pads, slices and flattened ReLUs", () => {
    for (let seed = 0; seed < 4; seed++) {
      expect(checkGradients(oddGraph(seed), step(), seed)).toBeGreaterThan(1e-3);
    }
  });

  it("with parameters frozen, the others' gradients are the same", () => {
    const graph = randomGraph(5, 3);
    const all = [...graph.parameters.keys()].filter((name) => !name.includes("running"));
    const frozen = new Set(all.filter((_, index) => index % 3 === 1));
    const gradients = [new Set<string>(), frozen].map((names) => {
      const run = new Interpreted(graph, [step({ frozen: names })]);
      run.feed("step", randomImages(graph, IMAGES, new RandomStream(1, "images")), [0, 1, 2]);
      run.write(run.entry("step").feeds.hyper, [0.1, 0.9]);
      run.run("step");
      for (const name of names) {
        const before = Float64Array.from(graph.parameters.get(name)!.data);
        expect(run.value(name)).toEqual(before);
      }
      return run;
    });
    for (const name of all) {
      if (frozen.has(name)) continue;
      expect(gradients[1].value(`grad/${name}`)).toEqual(gradients[0].value(`grad/${name}`));
    }
  });
});

describe("update", () => {
  it("takes Nesterov steps, with weight decay on kernels only", () => {
    const graph = oddGraph(1);
    const optimizer = { kind: "sgd", weightDecay: 0.1 } as const;
    const run = new Interpreted(graph, [step({ optimizer })]);
    run.feed("step", randomImages(graph, IMAGES, new RandomStream(2, "images")), [0, 1, 2]);
    const [rate, momentum] = [0.05, 0.8];
    run.write(run.entry("step").feeds.hyper, [rate, momentum]);
    const velocities = new Map<string, number[]>();
    for (let round = 0; round < 2; round++) {
      const before = new Map([...graph.parameters.keys()].map((name) => [
        name,
        run.value(name).slice(),
      ]));
      run.run("step");
      for (const name of run.entry("step").optimizerState.keys()) {
        const decay = graph.parameters.get(name)!.shape.length > 1 ? 0.1 : 0;
        const gradient = run.value(`grad/${name}`);
        const old = velocities.get(name) ?? Array.from(gradient, () => 0);
        const velocity = Array.from(
          gradient,
          (g, i) => momentum * old[i] + g + decay * before.get(name)![i],
        );
        velocities.set(name, velocity);
        run.value(name).forEach((weight, i) => {
          const pull = gradient[i] + decay * before.get(name)![i];
          const expected = before.get(name)![i] - rate * (pull + momentum * velocity[i]);
          expect(weight).toBeCloseTo(expected, 12);
        });
      }
    }
  });

  it("takes AdamW's bias-corrected first step", () => {
    const graph = oddGraph(1);
    const optimizer = { kind: "adamw", weightDecay: 0.1, decayNormAndBias: true } as const;
    const run = new Interpreted(graph, [step({ optimizer })]);
    run.feed("step", randomImages(graph, IMAGES, new RandomStream(2, "images")), [0, 1, 2]);
    const [rate, epsilon] = [0.05, 1e-8];
    run.write(run.entry("step").feeds.hyper, [rate, 0.9, 0.999, epsilon, 1]);
    run.run("step");
    for (const name of run.entry("step").optimizerState.keys()) {
      const gradient = run.value(`grad/${name}`);
      graph.parameters.get(name)!.data.forEach((weight, i) => {
        const direction = gradient[i] / (Math.abs(gradient[i]) + epsilon);
        const expected = weight * (1 - rate * 0.1) - rate * direction;
        expect(run.value(name)[i]).toBeCloseTo(expected, 9);
      });
    }
  });

  /** One step of plain descent, without momentum or decay, from the same weights and pictures. */
  function descend(graph: Graph, request: Partial<StepRequest>, rate: number): Interpreted {
    const run = new Interpreted(graph, [
      step({ optimizer: { kind: "sgd", weightDecay: 0 }, ...request }),
    ]);
    run.feed("step", randomImages(graph, IMAGES, new RandomStream(2, "images")), [0, 1, 2]);
    run.write(run.entry("step").feeds.hyper, [rate, 0]);
    return run;
  }

  it("shortens all gradients together to the norm asked for, and longer norms change nothing", () => {
    const graph = oddGraph(1), rate = 0.5;
    const plain = descend(graph, {}, rate);
    plain.run("step");
    const names = [...plain.entry("step").optimizerState.keys()];
    const squares = names.flatMap((name) => [...plain.value(`grad/${name}`)]).map((g) => g * g);
    const length = Math.sqrt(squares.reduce((sum, square) => sum + square, 0));
    expect(length).toBeGreaterThan(0.1);
    for (const norm of [length / 4, length * 2]) {
      const clipped = descend(
        graph,
        { optimizer: { kind: "sgd", weightDecay: 0, clip: norm } },
        rate,
      );
      clipped.run("step");
      let moved = 0;
      for (const name of names) {
        clipped.value(name).forEach((weight, i) => {
          moved += (weight - graph.parameters.get(name)!.data[i]) ** 2;
        });
      }
      expect(Math.sqrt(moved) / rate).toBeCloseTo(Math.min(norm, length), 5);
    }
  });

  it("moves the average of every parameter, running statistics too, by the pace fed in", () => {
    const graph = randomGraph(3, 3), rate = 0.1;
    const run = descend(graph, { average: true }, rate);
    const { averages, feeds } = run.entry("step");
    expect([...averages.keys()].sort()).toEqual([...graph.parameters.keys()].sort());
    for (const [parameter, average] of averages) run.write(average, run.value(parameter));
    run.write(feeds.pace, [0.25]);
    run.run("step");
    let moved = 0;
    for (const [parameter, average] of averages) {
      const before = graph.parameters.get(parameter)!.data;
      run.value(average).forEach((value, i) => {
        const after = run.value(parameter)[i];
        moved = Math.max(moved, Math.abs(after - before[i]));
        expect(value).toBeCloseTo(before[i] + 0.25 * (after - before[i]), 9);
      });
    }
    expect(moved).toBeGreaterThan(1e-3);
  });

  it("of pictures mixed of two weighs the gradients of both labels", () => {
    const graph = oddGraph(1);
    const gradients = ([[1, 0], [0, 1], [0.75, 0.25]] as const).map(([first]) => {
      const run = descend(graph, { loss: { smoothing: 0.1, mixed: true } }, 0);
      const { feeds } = run.entry("step");
      run.write(feeds.otherLabels, [1, 2, 0]);
      run.write(feeds.labelShares, [first, first, first]);
      run.run("step");
      return [...run.entry("step").optimizerState.keys()]
        .flatMap((name) => [...run.value(`grad/${name}`)]);
    });
    const [own, other, mixed] = gradients;
    expect(Math.max(...own.map((g, i) => Math.abs(g - other[i])))).toBeGreaterThan(1e-2);
    mixed.forEach((g, i) => expect(g).toBeCloseTo(0.75 * own[i] + 0.25 * other[i], 9));
  });
});
