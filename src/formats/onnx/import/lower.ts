/** Layers of values that were put off. */

import { Refusal } from "../read/array.ts";
import { activationOfPart } from "./expressions.ts";
import { emitAffine } from "./affine.ts";
import type { Importer } from "./importer.ts";
import type { FeatureValue } from "./features.ts";
import type { PendingValue } from "./pending.ts";
import { recognised } from "./recognise.ts";
import type { OnnxNode } from "../read/reader.ts";

/** Imports a node by itself; throws a Refusal where that cannot be. */
export type ImportAlone = (importer: Importer, node: OnnxNode) => void;

/**
 * Makes the layers of a value: a scaling, an activation that its nodes are together, or else what
 * its last node is by itself.
 */
export function lowered(
  importer: Importer,
  value: PendingValue,
  importAlone: ImportAlone,
): FeatureValue {
  const { node, base } = value;
  if (value.form === "moment") {
    throw new Refusal("computes a step of a layer norm that does not follow");
  }
  if (value.affine !== undefined) return emitAffine(importer, node, base, value.affine);
  if (value.depth > 1 && value.samples !== undefined) {
    const whole = recognised(value.samples);
    const part = whole === undefined ? activationOfPart(importer, value) : undefined;
    const activation = whole ?? part?.activation;
    if (activation !== undefined) {
      const of = part?.of ?? base;
      const x = of.kind === "pending" ? importer.force(of) : of;
      return importer.emitLike(node, x, { ...activation, inputs: [x.name] });
    }
  }
  importAlone(importer, node);
  const made = importer.values.get(node.outputs[0]);
  if (made?.kind === "feature") return made;
  throw new Refusal("");
}
