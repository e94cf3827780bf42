/**
 * Python objects that training scripts keep beside the weights: settings, dates, paths, NumPy's
 * numbers. They stand for nothing here: what a pickle calls or sets on them is passed over, and
 * nothing of it is ever executed.
 */

import { PyCallable } from "./pickle_values.ts";

/** Modules and names of settings and plain values; a name that ends in "." is a whole package. */
const INERT: readonly string[] = [
  "argparse.Namespace",
  "types.SimpleNamespace",
  ...["pathlib.", "datetime.", "decimal.", "fractions.", "uuid.", "enum."],
  ...["numpy.", "omegaconf.", "yacs.", "easydict.", "addict.", "ml_collections.", "munch."],
  ...["pytorch_lightning.", "lightning.", "lightning_fabric.", "timm.", "mmengine.", "mmcv."],
  ...["hydra.", "fvcore.", "detectron2.config."],
  // Settings of a script's own.
  "__main__.",
  // What older pickles write by name: sets, bytes, plain types.
  ...["builtins.", "__builtin__."].flatMap((module) =>
    [
      ...["set", "frozenset", "slice", "range", "complex", "bytearray", "list", "dict", "tuple"],
      ...["int", "float", "str", "bool", "object"],
    ].map((name) => module + name)
  ),
  ...["_codecs.encode", "copyreg._reconstructor", "copy_reg._reconstructor"],
  "torch.optim.swa_utils.",
];

/** An object that is passed over, and whatever a pickle makes of it. */
export class PyInert extends PyCallable {
  constructor(name: string) {
    super(name, () => new PyInert(name));
  }
}

/** The object that a name stands for, if it is one to be passed over. */
export function inertObject(qualifiedName: string): PyInert | undefined {
  const plain = /^[\w.]{1,200}$/.test(qualifiedName);
  const known = INERT.some((name) =>
    name.endsWith(".") ? qualifiedName.startsWith(name) : qualifiedName === name
  );
  return plain && known ? new PyInert(qualifiedName) : undefined;
}
