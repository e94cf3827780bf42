/** Reading PyTorch checkpoints: values against what PyTorch reads, and files that are refused. */

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { graphOf, readSource } from "../../src/commands/inputs/model.ts";
import { SecateurError } from "../../src/errors.ts";
import { readCheckpoint, readWeights } from "../../src/formats/checkpoint.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import { modelsOf } from "../../src/models/advice.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { createModel } from "../../src/models/models.ts";
import { namedFor } from "../../src/models/names.ts";
import { type StateDict, zeros } from "../../src/tensor.ts";
import { dataFolder } from "../support/data.ts";

const fixtures = fileURLToPath(new URL("../fixtures/formats/", import.meta.url));

const folder = mkdtempSync(join(tmpdir(), "secateur-torch-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Expected = Record<string, Record<string, { shape: number[]; values: (number | string)[] }>>;
const expected: Expected = JSON.parse(readFileSync(join(fixtures, "expected.json"), "utf8"));

function plain(state: StateDict): Expected[string] {
  const special = new Map([[NaN, "nan"], [Infinity, "inf"], [-Infinity, "-inf"]]);
  return Object.fromEntries(
    [...state].map(([name, { shape, data }]) => [
      name,
      { shape: [...shape], values: [...data].map((value) => special.get(value) ?? value) },
    ]),
  );
}

/** Values computed here in another order than PyTorch does: to a few units of the last place. */
function expectClose(found: Expected[string], tensors: Expected[string]): void {
  expect(Object.keys(found).sort()).toEqual(Object.keys(tensors).sort());
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    expect(found[name].shape).toEqual(shape);
    values.forEach((value, i) => {
      const difference = Math.abs(Number(found[name].values[i]) - Number(value));
      expect(difference, name).toBeLessThan(2e-6 * Math.max(1, Math.abs(Number(value))));
    });
  }
}

/** SHA-256 over names, shapes and f32 bytes, in the order of the names. */
function digest(state: StateDict): string {
  const hash = createHash("sha256");
  for (const name of [...state.keys()].sort()) {
    const { shape, data } = state.get(name)!;
    hash.update(`${name} ${JSON.stringify(shape)}\n`);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest("hex");
}

async function refusal(path: string): Promise<SecateurError> {
  const outcome = await readWeights(path).catch((thrown: unknown) => thrown);
  if (!(outcome instanceof SecateurError)) throw new Error("expected a coded error");
  return outcome;
}

describe("readWeights", () => {
  it("has fixtures to read", () => {
    expect(Object.keys(expected).length).toBeGreaterThanOrEqual(12);
  });

  for (const [file, tensors] of Object.entries(expected)) {
    it(`reads ${file} as PyTorch does`, async () => {
      const state = await readWeights(join(fixtures, file));
      if (file.includes("norm")) expectClose(plain(state), tensors);
      else expect(plain(state)).toEqual(tensors);
      // The reference writer of safetensors reorders its tensors by alignment; weights put together stand elsewhere.
      const ordered = file.endsWith(".pt") && !/script-(masks|.*norm)/.test(file);
      if (ordered) expect([...state.keys()]).toEqual(Object.keys(tensors));
    });
  }

  it("keeps negative zero and gives every tensor its own memory", async () => {
    const state = await readWeights(join(fixtures, "zip-dtypes.pt"));
    for (const name of ["torch.float64", "torch.float32", "torch.float16", "torch.bfloat16"]) {
      expect(Object.is(state.get(name)!.data[3], -0)).toBe(true);
    }
    const shared = await readWeights(join(fixtures, "zip-strides.pt"));
    const buffers = new Set([...shared.values()].map((tensor) => tensor.data.buffer));
    expect(buffers.size).toBe(shared.size);
  });

  // Digests computed with PyTorch 2.13 (torch.load) and safetensors 0.8 over the same bytes.
  const real = [
    [
      "resnet20-12fca82f.th",
      97,
      "c3c90b2b1feb2843b52516670c55be84aafbbb7015e467ac8ce1e07b86dd101c",
    ],
    [
      "resnet56-4bfd9763.th",
      277,
      "040620ea45a269b64a9ffa9243b638dee481c0bbeea9e124556f6fb02336b4c5",
    ],
    [
      "resnet56-cifar10-jpeg.safetensors",
      277,
      "12ce8855813bad87e56d9a7f060a5df86e7d80f9dd04ca97e1a436b26fa211ea",
    ],
  ] as const;
  for (const [file, count, sum] of real) {
    it.skipIf(dataFolder() === undefined)(`reads the real ${file} to the bit`, async () => {
      const state = await readWeights(join(dataFolder()!, "weights", file));
      expect(state.size).toBe(count);
      expect(state.get("conv1.weight")?.shape).toEqual([16, 3, 3, 3]);
      expect(state.get("layer3.0.conv1.weight")?.shape).toEqual([64, 32, 3, 3]);
      expect(state.get("linear.bias")?.shape).toEqual([10]);
      expect(digest(state)).toBe(sum);
    });
  }
});

describe("readWeights refuses", () => {
  const unsafe: [string, RegExp][] = [
    ["os-system", /"(posix|nt)\.system"/],
    ["eval", /"(__builtin__|builtins)\.eval"/],
    ["exec", /"(__builtin__|builtins)\.exec"/],
    ["getattr", /"(__builtin__|builtins)\.getattr"/],
    ["nested", /"(posix|nt)\.system"/],
    ["module", /"torch\.nn\.modules\.linear\.Linear"/],
  ];
  for (const [name, asked] of unsafe) {
    for (const form of ["zip", "legacy"]) {
      it(`hostile-${name}-${form}.pt, naming what it asks for`, async () => {
        const error = await refusal(join(fixtures, `hostile-${name}-${form}.pt`));
        expect(error.code).toBe("format-unsafe");
        expect(error.message).toMatch(asked);
        expect(error.message).toContain("torch.save(model.state_dict(), path)");
      });
    }
  }

  const others: [string, string, RegExp][] = [
    ["hostile-plain.pkl", "format-unsafe", /"posix\.system"/],
    ["hostile-float8-zip.pt", "format-unsafe", /torch/],
    ["pickle-plain.pkl", "format-unknown", /Python pickle of something else/],
    ["no-weights.pt", "format-unknown", /a dict of 2 entries \("epoch", "scores"\)/],
    ["zip-compressed.pt", "format-unknown", /data\.pkl" is compressed/],
    ["zip-other.npz", "format-unknown", /zip archive without its data\.pkl/],
    ["torchscript.pt", "format-unknown", /TorchScript program/],
    ["float8.safetensors", "format-unknown", /F8_E5M2/],
    ["make.py", "format-unknown", /but this is neither/],
    ["absent.pt", "file-missing", /no such file/],
    ["make.py/absent.pt", "file-missing", /no such file/],
    [".", "file-unreadable", /this is a folder/],
    ["/dev/zero", "file-unreadable", /not a regular file/],
  ];
  for (const [file, code, finding] of others) {
    it(`${file} with a sentence`, async () => {
      const path = file.startsWith("/") ? file : join(fixtures, file);
      const error = await refusal(path);
      expect(error.code).toBe(code);
      expect(error.message.startsWith(path)).toBe(true);
      expect(error.message).toMatch(finding);
      expect(error.message.endsWith(".")).toBe(true);
    });
  }
});

describe("what is made of a checkpoint is said", () => {
  const SAID: readonly (readonly [string, readonly RegExp[]])[] = [
    ["script-averaged.pt", [
      /^The averaged weights under "model_ema" are taken, not the raw ones under "model"\.$/,
      /averages over 1 steps of training/,
    ]],
    ["script-averaged-alone.pt", [/averages over 1 steps of training/]],
    ["script-masks.pt", [/^Pruning masks were multiplied into 2 of its weights\.$/]],
    ["script-weight-norm.pt", [/^Weight norm was worked into 2 of its weights\.$/]],
    ["script-spectral-norm-new.pt", [/^Spectral norm was worked into 2 of its weights\.$/]],
    ["script-compiled.pt", []],
    ["zip-training.pt", []],
  ];
  it.each(SAID)("of %s", async (file, sentences) => {
    const { said } = await readCheckpoint(join(fixtures, file));
    expect(said.length).toBe(sentences.length);
    said.forEach((sentence, i) => expect(sentence).toMatch(sentences[i]));
  });

  it("of one part of several under prefixes, the averaged one first", async () => {
    const { weights } = await readCheckpoint(join(fixtures, "script-lightning.pt"));
    const names = ["0.weight", "0.bias", "2.weight"];
    const taken = namedFor(names, weights);
    expect([...taken.weights.keys()]).toContain("2.weight");
    expect(taken.said).toEqual([
      'The weights under "model." are taken; left out: 1 other tensors (such as criterion.weight).',
    ]);
    const both = new Map([...weights].flatMap(([name, tensor]) => [
      [name, tensor] as const,
      [`ema_${name}`, { ...tensor, data: tensor.data.map((value) => value + 1) }] as const,
    ]));
    const averaged = namedFor(names, both);
    expect(averaged.said[0]).toMatch(
      /^The weights under "ema_model\." are taken; left out: the same/,
    );
    expect(averaged.weights.get("0.bias")!.data[0])
      .toBe(Math.fround(weights.get("model.0.bias")!.data[0] + 1));
    expect(namedFor(["absent"], weights)).toEqual({ weights, said: [] });
  });
});

describe("weights that do not fit are told what would help", () => {
  const weightsOf = (name: string, classes: number) =>
    new Map(createModel(name, { classes }).parameters);

  it("the model that they are of, where one is known", () => {
    expect(modelsOf(weightsOf("resnet20", 100))).toEqual(["resnet20"]);
    const bind = () =>
      bindWeights(createModel("resnet56", { classes: 10 }), weightsOf("resnet20", 10), "w");
    expect(bind).toThrow(/they are those of resnet20, so give --model resnet20\.$/);
  });

  it("that model too where the file has what only training used, or names of old", () => {
    const trained = weightsOf("googlenet", 7).set("aux1.fc1.weight", zeros([1]));
    expect(modelsOf(trained)).toEqual(["googlenet"]);
    const old = [...weightsOf("densenet121", 7)].map(([name, tensor]) =>
      [name.replace(/(denselayer\d+\.(?:norm|conv))([12])/, "$1.$2"), tensor] as const
    );
    expect(modelsOf(new Map(old))).toEqual(["densenet121"]);
  });

  it("data of as many classes, where only those differ", () => {
    const bind = () =>
      bindWeights(createModel("resnet20", { classes: 10 }), weightsOf("resnet20", 7), "w");
    expect(bind).toThrow(/it tells 7 classes apart, so choose data of as many\.$/);
  });

  it("an ONNX file, where no known model would", () => {
    const foreign = new Map([["stem.weight", { shape: [1], data: Float32Array.of(1) }]]);
    const bind = () => bindWeights(createModel("resnet20", { classes: 10 }), foreign, "w");
    expect(bind).toThrow(/no model known by name has them, so give the network as an ONNX file/);
    const graph = { ...createModel("resnet20", { classes: 10 }), name: "main" };
    expect(() => bindWeights(graph, foreign, "w")).toThrow(/not of the same network/);
  });

  it("without any model", async () => {
    const path = join(folder, "wrapped.safetensors");
    const wrapped = [...weightsOf("resnet8", 4)].map(([name, tensor]) =>
      [`net.${name}`, tensor] as const
    );
    await writeSafetensors(path, new Map(wrapped));
    const said: string[] = [];
    const read = (model: string | undefined) =>
      readSource({ model, weights: path }, { text: (line) => void said.push(line) });
    await expect(read(undefined)).rejects.toThrow(
      /they are those of resnet8: give --model resnet8\.$/,
    );
    const source = await read("resnet8");
    expect(said).toEqual([`${path}: The weights under "net." are taken.`]);
    expect(graphOf(source, { classes: 4, shape: [3, 32, 32] }).parameters.get("conv1.weight"))
      .toBeDefined();
  });
});
