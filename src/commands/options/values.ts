/**
 * What options take, as zod schemas from the command line's text to typed values. Their messages
 * complete the sentence "Expected --option to be ...".
 */

import { z } from "zod";

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Text that is a decimal number for which `holds`. */
function numeric(message: string, holds: (value: number) => boolean) {
  return z.string(message)
    .refine((text) => NUMBER.test(text) && holds(Number(text)), message)
    .transform(Number);
}

/** A whole number within bounds. */
export function whole(least: number, most: number) {
  const message = `a whole number from ${least} to ${most}`;
  return numeric(message, (value) => Number.isInteger(value) && value >= least && value <= most);
}

/** Length of a side of pictures, in pixels. */
export const side = () => whole(8, 4096);

/** [channels, height, width], from "3x224x224". */
export function pictureShape() {
  const message = "channels, height and width, such as 3x224x224";
  return z.string(message)
    .regex(/^[1-9]\d{0,4}x[1-9]\d{0,4}x[1-9]\d{0,4}$/, message)
    .transform((text) => text.split("x").map(Number));
}

/** Where to compute. */
export function deviceChoice() {
  const message = "auto, cpu, cuda or cuda:NUMBER";
  return z.string(message).regex(/^(auto|cpu|cuda(:\d{1,3})?)$/, message);
}

/** A number within bounds. */
export function between(least: number, most: number) {
  return numeric(`a number from ${least} to ${most}`, (value) => value >= least && value <= most);
}

/** A number above zero, up to `most`. */
export function positive(most: number) {
  const message = `a number above 0, at most ${most}`;
  return numeric(message, (value) => value > 0 && value <= most);
}

/** A share strictly between nothing and all, as "45.5%" or "0.455". */
export function share() {
  const message = "a share between 0 and 1, such as 45.5% or 0.455";
  const valueOf = (text: string) =>
    text.endsWith("%") ? Number(text.slice(0, -1)) / 100 : Number(text);
  const isShare = (text: string) => {
    const value = valueOf(text);
    return NUMBER.test(text.replace(/%$/, "")) && value > 0 && value < 1;
  };
  return z.string(message).refine(isShare, message).transform(valueOf);
}

/** A share of something up to the whole of it, or "all". */
export function shareOrAll() {
  const message = "a share above 0, at most 1, or all";
  return z.string(message).transform((given, context): number | "all" => {
    const value = Number(given);
    if (given === "all") return "all";
    if (NUMBER.test(given) && value > 0 && value <= 1) return value;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  });
}

/** Several texts, from an option given several times. */
export function texts(what: string) {
  return z.array(text(what)).optional();
}

/** Shares by name, from "NAME=0.3" given several times. */
export function sharesByName() {
  const message = "a name and a share between 0 and 1, such as layer1.*=0.3";
  const one = z.string(message).transform((given, context) => {
    const at = given.lastIndexOf("=");
    const parsed = share().safeParse(given.slice(at + 1));
    if (at > 0 && parsed.success) return [given.slice(0, at), parsed.data] as const;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  });
  return z.array(one).transform((pairs) => Object.fromEntries(pairs)).optional();
}

/** One of a few words. */
export function oneOf<const Words extends readonly [string, ...string[]]>(...words: Words) {
  return z.enum(words, `one of ${words.join(", ")}`);
}

/** One of a few words; `retired` says what became of others. */
export function oneOfInstead<const Words extends readonly [string, ...string[]]>(
  words: Words,
  retired: Readonly<Record<string, string>>,
) {
  const message = `one of ${words.join(", ")}`;
  return z.enum(words, {
    error: ({ input }) => {
      const instead = typeof input === "string" && Object.hasOwn(retired, input)
        ? ` (${retired[input]})`
        : "";
      return message + instead;
    },
  });
}

/** What an ONNX model's first axis is: a name that leaves it open, or a number of images. */
export function batchAxis() {
  const message = "a name such as N, which leaves the batch open, or a whole number from 1 to 4096";
  const valid = (text: string) =>
    /^\d+$/.test(text)
      ? Number(text) >= 1 && Number(text) <= 4096
      : /^[A-Za-z_]\w{0,63}$/.test(text);
  return z.string(message).refine(valid, message)
    .transform((text): string | number => /^\d+$/.test(text) ? Number(text) : text);
}

/** Any text that is not empty, such as a path. */
export function text(what: string) {
  return z.string(what).min(1, what);
}

/** A number for each colour, as "0.485,0.456,0.406", or one for all. */
export function perColour(least: number, most: number) {
  const message = `one number or three from ${least} to ${most}, such as 0.5 or 0.485,0.456,0.406`;
  const parts = (value: string) => value.split(",").map((part) => part.trim());
  return z.string(message).refine((value) => {
    const numbers = parts(value);
    return [1, 3].includes(numbers.length) &&
      numbers.every((part) => NUMBER.test(part) && Number(part) >= least && Number(part) <= most);
  }, message).transform((value) => parts(value).map(Number));
}

/** An option that is given or not. */
export function flag() {
  return z.boolean().default(false);
}

/** An option that takes something away: --no-name. */
export function unlessRefused() {
  return z.boolean().default(true);
}

const UNITS: Readonly<Record<string, number>> = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };

/** Bytes, as "500MB" or "2GB". */
export function byteSize() {
  const message = "a size such as 500MB or 2GB";
  return z.string(message).transform((given, context) => {
    const found = /^(\d+\.?\d*)\s*([kmgt]?)b?$/i.exec(given.trim());
    if (found !== null) return Number(found[1]) * UNITS[found[2].toLowerCase()];
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  });
}
