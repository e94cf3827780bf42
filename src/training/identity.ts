/** What decides a training run's result, so that a checkpoint is known for its own or another's. */

import { createHash } from "node:crypto";
import { digestOfPictures } from "../data/digest.ts";
import { digestOfGraph } from "../graph/digest.ts";
import type { Graph } from "../graph/graph.ts";
import { resolveDtype } from "../native/loaded_model.ts";
import { describeDevice } from "../native/session.ts";
import type { TrainOptions } from "./options.ts";

/**
 * By what people call it. The number of epochs does not belong to it, nor the warm-up that goes with it: a
 * run may be given more of them and goes on.
 */
export type Identity = Readonly<Record<string, string | number | boolean>>;

/** Identity of a run; takes in every picture and weight, so ask once. */
export function identityOf(graph: Graph, options: TrainOptions): Identity {
  const { validation, distillation, optimizer, matching } = options;
  return {
    "starting weights": digestOfGraph(graph),
    "training pictures": digestOfPictures(options.data),
    "held-out pictures": validation ? digestOfPictures(validation) : "none",
    "preparation of pictures": JSON.stringify(options.normalisation),
    teacher: distillation ? digestOfGraph(distillation.teacher) : "none",
    ...(matching ? { "matched model": digestOfGraph(matching.original) } : {}),
    "share of the teacher": distillation?.share ?? 0,
    temperature: distillation?.temperature ?? 1,
    optimizer: optimizer.kind,
    momentum: optimizer.momentum ?? 0.9,
    "weight decay": optimizer.weightDecay,
    "decay of batch norm and biases": optimizer.decayNormAndBias ?? false,
    "learning rate": options.learningRate,
    "largest gradient": options.clip ?? "none",
    "rate probe": options.probe ?? false,
    "moving average": options.average ?? "none",
    "batch size": options.batch,
    "label smoothing": options.smoothing ?? 0,
    mixup: options.mixing?.mixup ?? "none",
    cutmix: options.mixing?.cutmix ?? "none",
    augmentation: options.augment ?? false,
    shuffling: options.shuffle ?? true,
    seed: options.seed,
    type: resolveDtype(options.dtype, options.device),
    ...(options.device ? { device: describeDevice(options.device) } : {}),
    slice: options.slice ?? "chosen",
  };
}

/** The digest of an identity. */
export function fingerprintOf(identity: Identity): string {
  return createHash("sha256").update(JSON.stringify(identity)).digest("hex");
}

/** A digest says nothing to people; figures and names do. */
const isDigest = (value: unknown) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);

/** What is another, in words: "another seed (3, now 4), other training pictures". */
export function differences(before: Identity, now: Identity): string {
  const names = Object.keys({ ...before, ...now });
  return names.filter((name) => before[name] !== now[name]).map((name) => {
    const figures =
      isDigest(before[name]) || isDigest(now[name]) || name === "preparation of pictures"
        ? ""
        : ` (${before[name] ?? "none"}, now ${now[name] ?? "none"})`;
    return `${name.endsWith("s") ? "other" : "another"} ${name}${figures}`;
  }).join(", ");
}
