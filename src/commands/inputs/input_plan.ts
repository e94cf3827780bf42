/** From options and a model's file to how pictures become its inputs. */

import {
  DEFAULT_CONTRACT,
  described,
  GREY_CONTRACT,
  type InputContract,
  PRESETS,
} from "../../data/contract.ts";
import { type ChannelOrder, inputChannels } from "../../data/dataset.ts";
import { type ClassNames, readClassNames } from "../../data/sources/labels.ts";
import { SecateurError } from "../../errors.ts";
import type { Extent } from "../../data/pictures/geometry.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Console } from "../terminal/console.ts";
import { longFlag, type OptionValues } from "../options/parse.ts";
import type { DATA_OPTIONS } from "../options/shared.ts";

export type DataValues = OptionValues<typeof DATA_OPTIONS>;

/** How pictures become inputs, and the class names that were asked for or that the model has. */
export interface InputPlan {
  readonly contract: InputContract;
  /** Size of the pictures, where the model's file says it. */
  readonly extent?: Extent;
  readonly names?: {
    readonly classes: ClassNames;
    /** Where they are from, for sentences. */
    readonly from: string;
    /** Asked for; else the model's own, which give way where the data knows other names. */
    readonly asked: boolean;
  };
}

/** What is known of a model before its pictures are. */
export interface KnownModel {
  readonly source: string;
  readonly contract?: InputContract;
  /** Of files that bring their own. */
  readonly graph?: Pick<Graph, "input">;
}

const FIELDS = ["resize", "crop", "mean", "std", "channels"] as const;

const invalid = (sentence: string) => new SecateurError("option-invalid", sentence);

/**
 * The order of the colours: as asked, as the file says, or grey for a model of one channel. Throws
 * "option-invalid" for an order that its input cannot have.
 */
function orderFor({ channels }: DataValues, known: KnownModel | undefined): ChannelOrder {
  const taken = known?.graph?.input.shape[0];
  const order = channels ?? known?.contract?.channels ?? (taken === 1 ? "grey" : "rgb");
  if (taken === undefined || taken === inputChannels({ channels: order })) return order;
  if (channels === undefined) return order; // what the model takes is no picture, which is said later
  throw invalid(
    `Expected --channels for pictures of ${taken} channel${taken === 1 ? "" : "s"}, which ` +
      `${known!.source} takes, got ${channels}; leave it out, or choose ` +
      `${taken === 1 ? "grey" : "rgb or bgr"}.`,
  );
}

/** One figure for each colour of an order. Throws "option-invalid" for three where grey has one. */
function perColour(figures: readonly number[], option: string, order: ChannelOrder) {
  if (order !== "grey") {
    const [red, green = red, blue = red] = figures;
    return [red, green, blue] as const;
  }
  if (figures.length === 1) return [figures[0]] as const;
  throw invalid(
    `Expected one number for ${option} of grey pictures, got ${
      figures.join(",")
    }; give one number ` +
      `for --mean and one for --std.`,
  );
}

/** What the options say, --preset first and single options over it. */
function askedContract(values: DataValues, order: ChannelOrder): Partial<InputContract> {
  const { preset, resize, crop, mean, std, channels } = values;
  if ((mean === undefined) !== (std === undefined)) {
    throw invalid("Expected --mean and --std together; give both, or neither.");
  }
  if (preset !== undefined && order === "grey" && mean === undefined) {
    throw invalid(
      `Expected --mean and --std beside --preset ${preset}, whose figures are of three colours, for ` +
        `grey pictures; give one number for each, such as --mean 0.5 --std 0.5.`,
    );
  }
  const statistics = mean === undefined || std === undefined
    ? {}
    : { mean: perColour(mean, "--mean", order), std: perColour(std, "--std", order) };
  const single = { resize, crop, channels };
  const given = Object.entries(single).filter(([, value]) => value !== undefined);
  const start = preset === undefined
    ? {}
    : { ...PRESETS[preset], ...(order === "grey" ? { channels: order } : {}) };
  return { ...start, ...statistics, ...Object.fromEntries(given) };
}

/** Throws "option-invalid" for a crop that no scaled picture can hold. */
function requireCrop({ resize, crop }: InputContract): void {
  if (resize === undefined || crop === undefined || crop <= resize) return;
  throw invalid(
    `Expected --crop of at most --resize, got --crop ${crop} of pictures whose shorter side is ` +
      `scaled to ${resize}; choose a smaller crop or a larger size.`,
  );
}

/**
 * How pictures become inputs: as the options say, else as the model's file says, else by default.
 * Says so when the file decides, and when options contradict it.
 * @throws SecateurError `option-invalid`, and what reading a labels file throws.
 */
export async function planInput(
  values: DataValues,
  known: KnownModel | undefined,
  console: Pick<Console, "text">,
): Promise<InputPlan> {
  const plan = await plannedInput(values, known, console);
  const [, height, width] = known?.graph?.input.shape ?? [];
  return height === undefined || width === undefined
    ? plan
    : { ...plan, extent: { height, width } };
}

async function plannedInput(
  values: DataValues,
  known: KnownModel | undefined,
  console: Pick<Console, "text">,
): Promise<InputPlan> {
  const order = orderFor(values, known);
  const asked = askedContract(values, order);
  const stored = known?.contract;
  const start = stored ?? (order === "grey" ? GREY_CONTRACT : DEFAULT_CONTRACT);
  const { labels: storedLabels, ...storedInput } = start;
  const contract: InputContract = { ...storedInput, ...asked };
  requireCrop(contract);
  if (known !== undefined && stored !== undefined) sayStored(known.source, stored, asked, console);
  if (known !== undefined && stored === undefined && order === "grey" && asked.mean === undefined) {
    console.text(
      `${known.source} takes one channel: pictures become grey, with mean ${
        contract.mean[0]
      } and ` +
        `deviation ${contract.std[0]} unless --mean and --std say otherwise.`,
    );
  }
  if (values.labels !== undefined) {
    const classes = await readClassNames(values.labels);
    return { contract, names: { classes, from: values.labels, asked: true } };
  }
  if (known === undefined || storedLabels === undefined) return { contract };
  const classes = storedLabels.map((name) => [name]);
  return { contract, names: { classes, from: known.source, asked: false } };
}

/** Says what a model's file asks of pictures, and which options ask for something else. */
function sayStored(
  source: string,
  stored: InputContract,
  asked: Partial<InputContract>,
  console: Pick<Console, "text">,
): void {
  const other = FIELDS.filter((field) =>
    asked[field] !== undefined && String(asked[field]) !== String(stored[field])
  );
  console.text(`${source} was made for pictures prepared so: ${described(stored)}.`);
  if (other.length === 0) return;
  const what = other.map((field) =>
    `${longFlag(field)} ${asked[field]} in place of ${stored[field] ?? "none"}`
  );
  console.text(`The options win over it: ${what.join(", ")}.`);
}
