import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { costOf } from "../../src/graph/cost.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { adaptiveAveragePool } from "../../src/models/layers.ts";
import { createModel } from "../../src/models/models.ts";
import { type StateDict, zeros } from "../../src/tensor.ts";
import { evaluateGraph } from "../oracle/graph.ts";
import { differenceFrom, readReferences } from "../support/model_reference.ts";

const { architectures, forward } = await readReferences();

describe("models by name", () => {
  it.each(Object.entries(architectures))("%s is torchvision's", (name, expected) => {
    const graph = createModel(name, { classes: name === "densenet40" ? 10 : 1000 });
    const { parameters, macs } = costOf(graph);
    expect(parameters).toBe(expected.parameters);
    expect(Math.abs(macs / expected.macs - 1)).toBeLessThan(0.005);
    expect(graph.parameters.size).toBe(expected.tensors);
    const lines = [...graph.parameters].map(([key, { shape }]) => `${key} ${shape.join("x")}\n`);
    const digest = createHash("sha256").update(lines.sort().join("")).digest("hex");
    expect(digest).toBe(expected.digest);
  });

  it.each(forward.map((each) => [each.model, each] as const))(
    "%s computes what PyTorch does",
    async (_name, reference) => {
      expect(await differenceFrom(reference)).toBeLessThan(1e-4);
    },
  );

  it("are initialised from the seed", () => {
    const weights = (seed: number) =>
      createModel("resnet8", { classes: 10, seed }).parameters.get("conv1.weight")!.data;
    expect(weights(1)).toEqual(weights(1));
    expect(weights(1)).not.toEqual(weights(2));
    const variance = weights(1).reduce((sum, x) => sum + x * x, 0) / weights(1).length;
    expect(variance * 27 / 2).toBeGreaterThan(0.7);
    expect(variance * 27 / 2).toBeLessThan(1.3);
  });
});

describe("binding published checkpoints", () => {
  const stateOf = (name: string): StateDict =>
    new Map([...createModel(name, { classes: 7 }).parameters].map(([key, { shape }]) => {
      return [key, zeros(shape)];
    }));

  it("ignores GoogLeNet's auxiliary classifiers, and nobody else's", () => {
    const auxiliary = ["aux1.fc1.weight", "aux2.conv.bn.num_batches_tracked"] as const;
    const extended = (name: string) => {
      const weights = stateOf(name);
      for (const key of auxiliary) weights.set(key, zeros([1]));
      return bindWeights(createModel(name, { classes: 7 }), weights, "file");
    };
    const bound = extended("googlenet");
    expect(bound.parameters.size).toBe(architectures.googlenet.tensors);
    expect(() => extended("resnet18")).toThrow(/does not have \(aux1\.fc1\.weight\)/);
  });

  it("knows DenseNet's old names", () => {
    const old: StateDict = new Map();
    for (const [key, tensor] of stateOf("densenet121")) {
      old.set(key.replace(/(denselayer\d+\.)(norm|conv)([12])/, "$1$2.$3"), tensor);
    }
    expect(old.has("features.denseblock1.denselayer1.norm.1.weight")).toBe(true);
    const graph = createModel("densenet121", { classes: 7 });
    const bound = bindWeights(graph, old, "file");
    expect([...bound.parameters.keys()]).toEqual([...graph.parameters.keys()]);
  });
});

describe("maximum pooling that rounds up", () => {
  it("has PyTorch's windows", () => {
    for (let extent = 1; extent <= 12; extent++) {
      for (
        const [kernel, stride, padding] of [[3, 2, 0], [2, 2, 0], [3, 2, 1], [2, 3, 1], [3, 1, 1]]
      ) {
        const builder = new GraphBuilder("ceil", [1, extent, extent]);
        const pooled = builder.maxPool("pool", builder.input, kernel, stride, padding, true);
        let windows = Math.ceil((extent + 2 * padding - kernel) / stride) + 1;
        if ((windows - 1) * stride >= extent + padding) windows -= 1;
        expect(builder.shape(pooled), `${extent} ${kernel} ${stride} ${padding}`)
          .toEqual([1, windows, windows]);
      }
    }
  });
});

/** AdaptiveAvgPool2d by its definition, of one channel. */
function adaptiveMeans(cells: Float64Array, height: number, width: number, size: number) {
  const window = (i: number, extent: number) =>
    [Math.floor(i * extent / size), Math.ceil((i + 1) * extent / size)] as const;
  return Float64Array.from({ length: size * size }, (_, at) => {
    const [top, bottom] = window(Math.floor(at / size), height);
    const [left, right] = window(at % size, width);
    let sum = 0;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) sum += cells[y * width + x];
    }
    return sum / (bottom - top) / (right - left);
  });
}

describe("adaptive average pooling", () => {
  it.each([[7, 7], [1, 1], [2, 1], [14, 8], [8, 2], [7, 2], [21, 15]])(
    "of %i x %i cells to 7 x 7",
    (height, width) => {
      const builder = new GraphBuilder("adaptive", [1, height, width]);
      const pooled = adaptiveAveragePool(builder, "pool", builder.input, 7);
      const graph = builder.finish(builder.relu("end", pooled));
      const cells = Float64Array.from({ length: height * width }, (_, i) => 1 + (i * i) % 11);
      const found = evaluateGraph(graph, cells).get(graph.outputs[0])!;
      adaptiveMeans(cells, height, width, 7).forEach((mean, i) => {
        expect(found[i]).toBeCloseTo(mean, 10);
      });
    },
  );

  it("says which pictures it cannot take", () => {
    expect(() => createModel("vgg16_bn", { classes: 10, shape: [3, 192, 192] }))
      .toThrow(/average 6x6 cells to 7x7/);
    expect(() => createModel("vgg16_bn", { classes: 10, shape: [3, 16, 16] }))
      .toThrow(/average 0x0 cells to 7x7/);
  });
});
