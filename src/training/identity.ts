/** What decides a training run's result, so that a checkpoint is known for its own or another's. */

import { createHash } from "node:crypto";
import { contentOf, type PictureSet } from "../data/dataset.ts";
import type { Graph } from "../graph/graph.ts";
import { resolveDtype } from "../native/loaded_model.ts";
import type { TrainOptions } from "./options.ts";

/**
 * By what people call it. Neither the number of epochs nor the warm-up belongs to it: a run may be given
 * more of them and goes on.
 */
export type Identity = Readonly<Record<string, string | number | boolean>>;

const digest = () => createHash("sha256");

function digestOfGraph(graph: Graph): string {
  const hash = digest().update(JSON.stringify(graph.nodes));
  for (const [name, { data }] of graph.parameters) {
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest("hex");
}

function digestOfPictures(pictures: PictureSet): string {
  const { name, count, classes } = pictures;
  return digest().update(JSON.stringify([name, count, classes]))
    .update(contentOf(pictures)).update(pictures.labels).digest("hex");
}

/** Identity of a run; takes in every picture and weight, so ask once. */
export function identityOf(graph: Graph, options: TrainOptions): Identity {
  const { validation, distillation, optimizer } = options;
  return {
    "starting weights": digestOfGraph(graph),
    "training pictures": digestOfPictures(options.data),
    "held-out pictures": validation ? digestOfPictures(validation) : "none",
    "preparation of pictures": JSON.stringify(options.normalisation),
    teacher: distillation ? digestOfGraph(distillation.teacher) : "none",
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
    augmentation: options.augment ?? false,
    shuffling: options.shuffle ?? true,
    seed: options.seed,
    type: resolveDtype(options.dtype),
    slice: options.slice ?? "chosen",
  };
}

/** The digest of an identity. */
export function fingerprintOf(identity: Identity): string {
  return digest().update(JSON.stringify(identity)).digest("hex");
}

/** A digest says nothing to people; figures and names do. */
const isDigest = (value: unknown) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);

/** What is another, in words: "another seed (3, now 4), other training pictures". */
export function differences(before: Identity, now: Identity): string {
  return Object.keys(now).filter((name) => before[name] !== now[name]).map((name) => {
    const figures =
      isDigest(before[name]) || isDigest(now[name]) || name === "preparation of pictures"
        ? ""
        : ` (${before[name]}, now ${now[name]})`;
    return `${name.endsWith("s") ? "other" : "another"} ${name}${figures}`;
  }).join(", ");
}
