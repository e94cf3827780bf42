/**
 * Gates and taps. A gate multiplies the channels of a graph value by rows fed in, so that a masked
 * channel is zero for everything after it. A tap reduces a graph value to what statistics need.
 * Both go in before fusion, which keeps the values they read.
 */

import { SecateurError } from "../../errors.ts";
import type { Draft, DraftInstruction } from "../draft.ts";
import type { Lowered } from "../lower/lower.ts";
import type { LoweredValue } from "../lower/lowering.ts";

/** A graph value to gate. */
export interface GateSite {
  readonly value: string;
  /** Sites of one feed share their rows; the value's own name by default. */
  readonly feed?: string;
}

/** Instructions with gates, and the feed of each label: f32 [rows, channels]. */
export interface Gated {
  readonly instructions: readonly DraftInstruction[];
  readonly feeds: ReadonlyMap<string, string>;
}

function lowered(values: ReadonlyMap<string, LoweredValue>, name: string): LoweredValue {
  const value = values.get(name);
  if (value !== undefined && !value.flattened) return value;
  throw new SecateurError(
    "program-invalid",
    value === undefined
      ? `There is no value ${name} to instrument in this graph.`
      : `${name} is a flattened picture; instrument the picture before it.`,
  );
}

/** Declares the rows that gates of a label read. */
export function gatesFeed(
  draft: Draft,
  entry: string,
  label: string,
  rows: number,
  channels: number,
): string {
  return draft.value({
    name: `${entry}:gates/${label}`,
    dtype: "f32",
    shape: [rows, channels],
    images: 0,
    place: "feeds",
  });
}

/**
 * Inserts a gate after each site, before all of its readers, with one row of gates for the whole
 * batch; coalitions.ts stacks several. Throws "program-invalid" for a value the graph lacks.
 */
export function insertGates(
  draft: Draft,
  entry: string,
  graph: Lowered,
  sites: readonly GateSite[],
): Gated {
  const feeds = new Map<string, string>();
  const gated = new Map<string, { readonly label: string; readonly layer: string }>();
  for (const site of sites) {
    const { name, channels } = lowered(graph.values, site.value);
    const label = site.feed ?? site.value;
    feeds.set(label, gatesFeed(draft, entry, label, 1, channels));
    gated.set(name, { label, layer: site.value });
  }
  const after = (name: string) => gated.has(name) ? `${name}:gated` : name;
  const gatesAfter = (names: readonly string[]) =>
    names.flatMap((name): DraftInstruction[] => {
      const site = gated.get(name);
      if (site === undefined) return [];
      const y = draft.value({ ...draft.get(name), place: "activations", name: after(name) });
      const inputs = { x: name, gates: feeds.get(site.label)! };
      return [{ op: "gate", inputs, outputs: { y }, attributes: {}, layer: site.layer }];
    });
  const instructions = graph.instructions.flatMap((instruction) => {
    const inputs = Object.fromEntries(
      Object.entries(instruction.inputs).map(([key, name]) => [key, after(name)]),
    );
    return [{ ...instruction, inputs }, ...gatesAfter(Object.values(instruction.outputs))];
  });
  return { instructions: [...gatesAfter([graph.images]), ...instructions], feeds };
}

/** Taps to insert, by graph value. */
export interface Taps {
  /** Numerical rank of each channel's map: f32 [channels] per image. */
  readonly ranks?: readonly string[];
  /** Mean of each channel's map: f32 [channels] per image. */
  readonly means?: readonly string[];
}

/** Where taps leave their results, by graph value. */
export interface Tapped {
  readonly instructions: readonly DraftInstruction[];
  readonly ranks: ReadonlyMap<string, string>;
  readonly means: ReadonlyMap<string, string>;
}

/** The taps of an entry, to run after the instructions they read from. */
export function tap(draft: Draft, entry: string, graph: Lowered, taps: Taps): Tapped {
  const instructions: DraftInstruction[] = [];
  const result = (prefix: string, value: string, source: LoweredValue) => {
    const { images } = draft.get(source.name);
    const name = `${entry}:${prefix}/${value}`;
    const shape = [source.channels];
    return draft.value({ name, dtype: "f32", shape, images, place: "activations" });
  };
  const ranks = new Map((taps.ranks ?? []).map((value) => {
    const x = lowered(graph.values, value);
    const out = result("rank", value, x);
    const [inputs, outputs] = [{ x: x.name }, { ranks: out }];
    instructions.push({ op: "rank", inputs, outputs, attributes: {}, layer: value });
    return [value, out];
  }));
  const means = new Map((taps.means ?? []).map((value) => {
    const x = lowered(graph.values, value);
    const out = result("mean", value, x);
    instructions.push(...meanOf(draft, entry, value, x, out));
    return [value, out];
  }));
  return { instructions, ranks, means };
}

/** The mean over height and width in f32, whatever type the value has. */
function meanOf(
  draft: Draft,
  entry: string,
  layer: string,
  x: LoweredValue,
  out: string,
): DraftInstruction[] {
  const source = draft.get(x.name);
  const instructions: DraftInstruction[] = [];
  let wide = x.name;
  if (source.dtype !== "f32") {
    wide = draft.value({
      ...source,
      name: `${entry}:f32/${layer}`,
      dtype: "f32",
      place: "activations",
    });
    const [inputs, outputs] = [{ x: x.name }, { y: wide }];
    instructions.push({ op: "cast", inputs, outputs, attributes: {}, layer });
  }
  instructions.push({
    op: "average_pool",
    inputs: { x: wide },
    outputs: { y: out },
    attributes: {
      in_height: x.height,
      in_width: x.width,
      channels: x.channels,
      out_height: 1,
      out_width: 1,
      kernel_height: x.height,
      kernel_width: x.width,
      stride_height: 1,
      stride_width: 1,
      pad_top: 0,
      pad_left: 0,
      count_padding: 0,
    },
    layer,
  });
  return instructions;
}

/**
 * Moves gates behind pools that read them alone: max(g x) = g max(x) for g >= 0 and means are
 * linear, so pools need not run once per coalition.
 */
export function sinkGates(
  draft: Draft,
  instructions: readonly DraftInstruction[],
): DraftInstruction[] {
  const out: DraftInstruction[] = [];
  for (const instruction of instructions) {
    const source = out.findIndex(({ outputs }) => outputs.y === instruction.inputs.x);
    const pools = instruction.op === "max_pool" || instruction.op === "average_pool";
    const alone = instructions.filter(({ inputs }) =>
      Object.values(inputs).includes(instruction.inputs.x)
    ).length === 1;
    if (!pools || !alone || out[source]?.op !== "gate") {
      out.push(instruction);
      continue;
    }
    const [gate] = out.splice(source, 1);
    const { y } = instruction.outputs;
    const ungated = draft.value({ ...draft.get(y), name: `${y}:ungated` });
    out.push({
      ...instruction,
      inputs: { x: gate.inputs.x },
      outputs: { ...instruction.outputs, y: ungated },
    });
    out.push({ ...gate, inputs: { ...gate.inputs, x: ungated }, outputs: { y } });
  }
  return out;
}
