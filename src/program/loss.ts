/** The loss at the end of an entry, and its feeds. */

import type { Draft, DraftInstruction } from "./draft.ts";
import { present } from "./lower/lowering.ts";
import type { StepLossOptions } from "./requests.ts";

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
