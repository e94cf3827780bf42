/** The loss at the end of an entry, and its feeds. */

import type { Draft, DraftInstruction } from "./draft.ts";
import { present } from "./lower/lowering.ts";
import { imageTypeOf, type Precision } from "./precision.ts";
import type { MatchLossOptions, StepLossOptions } from "./requests.ts";

/** A loss and where it finds what it compares logits with. */
export interface Loss {
  readonly instruction: DraftInstruction;
  readonly loss: string;
  readonly feeds: {
    readonly labels: string;
    readonly teacher?: string;
    readonly otherLabels?: string;
    readonly labelShares?: string;
  };
}

/** Declares labels, teacher and loss and returns the instruction that reads logits. */
export function lossOf(
  draft: Draft,
  entry: string,
  images: number,
  logits: string,
  options: StepLossOptions,
  dlogits?: string,
): Loss {
  const feed = (name: string, dtype: "i32" | "f32") =>
    draft.value({ name: `${entry}:${name}`, dtype, shape: [1], images, place: "feeds" });
  const labels = feed("labels", "i32");
  const mixed = options.mixed
    ? { otherLabels: feed("other_labels", "i32"), labelShares: feed("label_shares", "f32") }
    : {};
  const loss = draft.value({
    name: `${entry}:loss`,
    dtype: "f32",
    shape: [1],
    images,
    place: "activations",
  });
  const distill = options.distill ?? 0;
  const teacher = distill === 0
    ? undefined
    : draft.value({ ...draft.get(logits), name: `${entry}:teacher`, place: "feeds" });
  const instruction: DraftInstruction = {
    op: "softmax_cross_entropy",
    inputs: present({
      logits,
      labels,
      teacher,
      other_labels: mixed.otherLabels,
      label_shares: mixed.labelShares,
    }),
    outputs: present({ loss, dlogits }),
    attributes: {
      smoothing: options.smoothing,
      distill,
      temperature: options.temperature ?? 1,
      gradient_scale: 1 / images,
    },
    layer: "loss",
  };
  return { instruction, loss, feeds: { labels, ...mixed, ...present({ teacher }) } };
}

/** Losses at the end of a step: instructions, the sum of them, feeds, and gradients of outputs. */
export interface StepLosses {
  readonly instructions: readonly DraftInstruction[];
  readonly loss: string;
  readonly feeds: Loss["feeds"] | { readonly wanted: ReadonlyMap<string, string> };
  readonly seeds: readonly { readonly value: string; readonly gradient: string }[];
}

/** The gradient of a value with respect to an entry's loss. */
function gradientOf(draft: Draft, entry: string, value: string, name: string, dtype: Precision) {
  return draft.value({
    ...draft.get(value),
    name: `${entry}:grad/${name}`,
    dtype: imageTypeOf(dtype),
    place: "activations",
  });
}

/** Cross entropy of logits, with its gradient. */
export function classLosses(
  draft: Draft,
  entry: string,
  images: number,
  logits: string,
  options: StepLossOptions,
  precision: Precision,
): StepLosses {
  const gradient = gradientOf(draft, entry, logits, "logits", precision);
  const { instruction, loss, feeds } = lossOf(draft, entry, images, logits, options, gradient);
  return { instructions: [instruction], loss, feeds, seeds: [{ value: logits, gradient }] };
}

/** Squared errors of outputs, each added to those before it, with their gradients. */
export function matchLosses(
  draft: Draft,
  entry: string,
  images: number,
  outputs: ReadonlyMap<string, string>,
  { scales }: MatchLossOptions,
  precision: Precision,
): StepLosses {
  const instructions: DraftInstruction[] = [];
  const wanted = new Map<string, string>();
  const seeds: { value: string; gradient: string }[] = [];
  let previous: string | undefined;
  for (const [output, scale] of scales) {
    const value = outputs.get(output)!;
    // One value under two names counts once.
    if (seeds.some((seed) => seed.value === value)) continue;
    const feed = draft.value({
      ...draft.get(value),
      name: `${entry}:wanted/${output}`,
      place: "feeds",
    });
    const dx = gradientOf(draft, entry, value, `output/${output}`, precision);
    const loss = draft.value({
      name: `${entry}:loss/${output}`,
      dtype: "f32",
      shape: [1],
      images,
      place: "activations",
    });
    instructions.push({
      op: "squared_error",
      inputs: present({ output: value, wanted: feed, previous }),
      outputs: { loss, dx },
      attributes: { scale, gradient_scale: 1 / images },
      layer: "loss",
    });
    wanted.set(output, feed);
    seeds.push({ value, gradient: dx });
    previous = loss;
  }
  return { instructions, loss: previous!, feeds: { wanted }, seeds };
}
