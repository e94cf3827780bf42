/** A checkpoint's names as a model has them: without what the scripts that trained it put around. */

import { escaped } from "../formats/bytes.ts";
import type { StateDict } from "../tensor.ts";

/** Parts of names that say that a module holds a moving average of another's weights. */
const AVERAGED = /(^|[._])(ema|avg|averaged?|swa|shadow|teacher)([._]|$)/i;

/** Tensors under the names of a model, and what was chosen for that, as sentences. */
export interface NamedWeights {
  readonly weights: StateDict;
  readonly said: readonly string[];
}

/** Prefixes under which all names of a model are held; "" where they are held as they are. */
function prefixesOf(names: readonly string[], weights: StateDict): string[] {
  const [first] = names;
  if (first === undefined) return [];
  const candidates = [...weights.keys()].flatMap((name) =>
    name === first ? [""] : name.endsWith(`.${first}`) ? [name.slice(0, -first.length)] : []
  );
  return candidates.filter((prefix) => names.every((name) => weights.has(prefix + name)));
}

/**
 * The tensors of a model of these parameters among others: those under one prefix ("model.", "net.",
 * "backbone."), of several the averaged ones. Where none holds them all the weights stay as they are.
 */
export function namedFor(names: Iterable<string>, weights: StateDict): NamedWeights {
  const prefixes = prefixesOf([...names], weights);
  if (prefixes.length === 0 || prefixes.includes("")) return { weights, said: [] };
  const averaged = prefixes.find((prefix) => AVERAGED.test(prefix));
  const shortest = prefixes.reduce((best, each) => each.length < best.length ? each : best);
  const taken = averaged ?? shortest;
  const under = [...weights].filter(([name]) => name.startsWith(taken));
  const others = prefixes.filter((prefix) => prefix !== taken).map((prefix) => escaped(prefix));
  const left = [...weights.keys()].filter((name) =>
    !prefixes.some((prefix) => name.startsWith(prefix))
  );
  const beside = [
    ...(others.length > 0 ? [`the same weights under ${others.join(", ")}`] : []),
    ...(left.length > 0 ? [`${left.length} other tensors (such as ${escaped(left[0])})`] : []),
  ];
  const rest = beside.length === 0 ? "" : `; left out: ${beside.join(" and ")}`;
  return {
    weights: new Map(under.map(([name, tensor]) => [name.slice(taken.length), tensor])),
    said: [`The weights under "${escaped(taken)}" are taken${rest}.`],
  };
}
