/**
 * The input contract: how a picture becomes what a model was trained on. Kept with models, so that
 * whoever reads one later need not be told again.
 */
import { z } from "zod";
import { SecateurError } from "../errors.ts";
import { quoted } from "../formats/bytes.ts";
import {
  type ChannelOrder,
  inputChannels,
  type Normalisation,
  normalisations,
  type PerColour,
} from "./dataset.ts";
import type { Framing } from "./pictures/geometry.ts";

export interface InputContract extends Framing {
  /** Of pixels scaled to [0, 1]: red, green, blue, whatever the order of the input; or of grey. */
  readonly mean: PerColour;
  readonly std: PerColour;
  readonly channels: ChannelOrder;
  /** Class by index, where known. */
  readonly labels?: readonly string[];
}

/** What holds where nothing else is said. */
export const DEFAULT_CONTRACT: InputContract = { ...normalisations.imagenet, channels: "rgb" };

/** The same for models that take one channel. */
export const GREY_CONTRACT: InputContract = { ...normalisations.grey, channels: "grey" };

/** Contracts by name: how ImageNet classifiers are evaluated, and CIFAR-10's own statistics. */
export const PRESETS: Readonly<Record<"imagenet" | "cifar", InputContract>> = {
  imagenet: { resize: 256, crop: 224, ...normalisations.imagenet, channels: "rgb" },
  cifar: { resize: 32, crop: 32, ...normalisations.cifar, channels: "rgb" },
};

/** Under which a contract is kept in the metadata of models. */
export const CONTRACT_KEY = "secateur.input";

const side = z.int().min(1).max(65536);
const colours = (least: number, most: number) => {
  const figure = z.number().min(least).max(most);
  return z.union([z.tuple([figure, figure, figure]), z.tuple([figure])]);
};

const stored = z.strictObject({
  resize: side.optional(),
  crop: side.optional(),
  mean: colours(0, 1),
  std: colours(0.001, 10),
  channels: z.enum(["rgb", "bgr", "grey"]),
  labels: z.array(z.string().min(1).max(1000)).min(1).max(1_000_000).optional(),
}).refine(
  (contract) => [contract.mean, contract.std].every((of) => of.length === inputChannels(contract)),
  { message: "a mean and a deviation for each of its channels", path: ["mean"] },
);

/** Metadata that keeps a contract. */
export function contractMetadata(contract: InputContract): Record<string, string> {
  return { [CONTRACT_KEY]: JSON.stringify(stored.parse(contract)) };
}

/**
 * The contract in a model's metadata, if it holds one.
 * @throws SecateurError `format-corrupt` for one that is none; `source` names the file.
 */
export function storedContract(
  text: string | undefined,
  source: string,
): InputContract | undefined {
  if (text === undefined) return undefined;
  const json = z.string().transform((value, context) => {
    try {
      return JSON.parse(value) as unknown;
    } catch {
      context.addIssue({ code: "custom", message: "not JSON" });
      return z.NEVER;
    }
  });
  const parsed = json.pipe(stored).safeParse(text);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue.path.map(String).join(".") || "top";
  throw new SecateurError(
    "format-corrupt",
    `${source}: the input contract in its metadata is none at ${quoted(where)} ` +
      `(${quoted(issue.message)}); write the model again.`,
  );
}

/** The part of a contract that turns bytes into inputs. */
export function normalisationOf({ mean, std, channels }: InputContract): Normalisation {
  return { mean, std, ...(channels === "rgb" ? {} : { channels }) };
}

/** "resize 256, crop 224, mean 0.485, 0.456, 0.406, ...": a contract without its labels. */
export function described({ resize, crop, mean, std, channels, labels }: InputContract): string {
  return [
    ...(resize === undefined ? [] : [`resize ${resize}`]),
    ...(crop === undefined ? [] : [`crop ${crop}`]),
    `mean ${mean.join(", ")}`,
    `std ${std.join(", ")}`,
    channels,
    ...(labels === undefined ? [] : [`${labels.length} labels`]),
  ].join("; ");
}
