/** The input contract: kept in metadata, and how options, files and defaults come together. */

import { describe, expect, it } from "vitest";
import { EVALUATE_OPTIONS } from "../../src/commands/options/model.ts";
import { parseOptions } from "../../src/commands/options/parse.ts";
import { planInput } from "../../src/commands/inputs/input_plan.ts";
import {
  CONTRACT_KEY,
  contractMetadata,
  DEFAULT_CONTRACT,
  type InputContract,
  PRESETS,
  storedContract,
} from "../../src/data/contract.ts";
import { FORM_KEY, formMetadata, storedForm } from "../../src/formats/onnx/form_metadata.ts";

const own: InputContract = {
  resize: 72,
  crop: 64,
  mean: [0.5, 0.4, 0.3],
  std: [0.2, 0.2, 0.2],
  channels: "bgr",
  labels: ["a", "b"],
};

/** The plan of some options for a model with a contract, and what was said. */
async function planned(raw: Record<string, unknown>, contract?: InputContract) {
  const said: string[] = [];
  const known = { source: "m.onnx", ...(contract === undefined ? {} : { contract }) };
  const console = { text: (text: string) => said.push(text) };
  const { contract: found, names } = await planInput(
    parseOptions(EVALUATE_OPTIONS, raw),
    known,
    console,
  );
  return { found, names, said };
}

describe("in a model's metadata", () => {
  it("comes back as it was", () => {
    expect(storedContract(contractMetadata(own)[CONTRACT_KEY], "m")).toEqual(own);
    expect(storedContract(undefined, "m")).toBeUndefined();
  });

  it.each(["", "{", "null", "[]", '{"mean":[0,0,0]}', JSON.stringify({ ...own, crop: 1e9 })])(
    "is refused when it is %s",
    (text) => {
      expect(() => storedContract(text, "m.onnx")).toThrow(/^m\.onnx: the input contract .*\.$/);
    },
  );
});

describe("what holds", () => {
  it("is the default, without files and options that say otherwise", async () => {
    const { found, names, said } = await planned({});
    expect(found).toEqual(DEFAULT_CONTRACT);
    expect([names, said]).toEqual([undefined, []]);
  });

  it("is what the file says, and that is said", async () => {
    const { found, names, said } = await planned({}, own);
    const { labels: _labels, ...input } = own;
    expect(found).toEqual(input);
    expect(names).toMatchObject({ classes: [["a"], ["b"]], asked: false });
    expect(said).toEqual([
      expect.stringMatching(/^m\.onnx was made for .*crop 64.*bgr; 2 labels\.$/),
    ]);
  });

  it("is what options say, single ones over the preset, with a note on contradictions", async () => {
    const { found, said } = await planned({ preset: "imagenet", crop: "160" }, own);
    expect(found).toEqual({ ...PRESETS.imagenet, crop: 160 });
    expect(said[1]).toMatch(/^The options win over it: --resize 256 in place of 72, --crop 160/);
    expect((await planned({ channels: "bgr" }, own)).said.length).toBe(1);
  });
});

describe("the form of a model's file", () => {
  it("comes back from metadata", () => {
    const activation = { op: "Softmax", node: "prob", output: "p" } as const;
    const form = { activation, inputLast: true, input: "u8", half: true } as const;
    expect(storedForm(formMetadata(form)[FORM_KEY], "m")).toEqual(form);
    expect(storedForm(undefined, "m")).toEqual({});
    expect(formMetadata({})).toEqual({});
    expect(() => storedForm('{"node":1}', "m.safetensors")).toThrow(/^m\.safetensors: expected/);
  });
});
