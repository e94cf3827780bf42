/** Which units take the same time at the same widths. */

import type { Node, Shape } from "../graph/graph.ts";
import type { Unit } from "./units.ts";

/** What nodes are called, what they read by name, and what follows from widths. */
const LEFT_OUT = new Set(["name", "inputs", "output", "groups", "from", "epsilon", "momentum"]);

/** Words that say what is computed; other strings are names of parameters. */
const WORDS = new Set(["op", "kind", "mode", "coordinates", "rounding"]);

function describeNode(node: Node): string {
  const told = Object.entries(node).filter(([key, value]) =>
    !LEFT_OUT.has(key) && (typeof value !== "string" || WORDS.has(key))
  );
  return JSON.stringify(Object.fromEntries(told));
}

/** How a convolution's channels are connected, whatever their number. */
function connection(node: Node, input: Shape): string {
  if (!("groups" in node) || node.groups === 1) return "";
  return node.groups === input[0] ? "depthwise" : "grouped";
}

/** All but widths: operators, kernels, strides and extents. The same before and after a cut. */
export function geometryOf(unit: Unit, shapes: ReadonlyMap<string, Shape>): string {
  const inputs = unit.inputs.map((value) => shapes.get(value)!.slice(1).join("x"));
  const connected = connection(unit.nodes[0], shapes.get(unit.inputs[0])!);
  return [...unit.nodes.map(describeNode), connected, inputs.join(" ")].join(" ");
}

/** The geometry and full widths: units alike in this are measured once. */
export function measuredKey(
  unit: Unit,
  shapes: ReadonlyMap<string, Shape>,
  isPicture: (value: string) => boolean,
  isAnswer: (value: string) => boolean,
): string {
  const [first] = unit.nodes;
  const widths = unit.inputs.map((value) =>
    `${shapes.get(value)![0]}${isPicture(value) ? "!" : ""}`
  );
  const written = `${shapes.get(unit.output)![0]}${isAnswer(unit.output) ? "!" : ""}`;
  const groups = "groups" in first ? first.groups : "";
  const zeros = "from" in first ? first.from.filter((from) => from < 0).length : "";
  return `${geometryOf(unit, shapes)} ${widths.join("+")}>${written} ${groups} ${zeros}`;
}
