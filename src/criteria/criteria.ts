/** All criteria by name; `reversed-` before a name turns its order around, which should be the worst. */

import { bnScale } from "./bn_scale.ts";
import { chip } from "./chip.ts";
import { elimination } from "./elimination.ts";
import { fpgm } from "./fpgm.ts";
import { hrank } from "./hrank.ts";
import { l1, l2 } from "./norms.ts";
import { random } from "./random.ts";
import type { CriterionContext, Ranking } from "./ranking.ts";
import { taylor } from "./taylor.ts";

/** Criteria besides Shapley values, which have settings of their own. */
const CRITERIA = {
  elimination,
  taylor,
  "bn-scale": bnScale,
  fpgm,
  hrank,
  chip,
  l1,
  l2,
  random,
} as const;

type Plain = keyof typeof CRITERIA;

export const BASE_CRITERIA = ["shapley", ...Object.keys(CRITERIA) as Plain[]] as const;
export type BaseCriterion = typeof BASE_CRITERIA[number];
/** What decides which channels go. */
export type Criterion = BaseCriterion | `reversed-${BaseCriterion}`;

export const CRITERION_NAMES: readonly Criterion[] = BASE_CRITERIA.flatMap((
  name,
): Criterion[] => [name, `reversed-${name}`]);

/** A criterion's own name, and whether its order is turned around. */
export function parseCriterion(name: Criterion): { base: BaseCriterion; reversed: boolean } {
  const reversed = name.startsWith("reversed-");
  return { base: (reversed ? name.slice("reversed-".length) : name) as BaseCriterion, reversed };
}

/** The last to go first. */
export function reverse({ order, scores, ...rest }: Ranking): Ranking {
  return { ...rest, order: order.toReversed(), scores: scores.map((score) => -score) };
}

/** Ranks every group by a criterion; `shapley` is how the caller has Shapley values estimated. */
export async function rank(
  name: Criterion,
  context: CriterionContext,
  shapley: (context: CriterionContext) => Promise<Ranking[]>,
): Promise<Ranking[]> {
  const { base, reversed } = parseCriterion(name);
  const rankings = await (base === "shapley" ? shapley : CRITERIA[base])(context);
  return reversed ? rankings.map(reverse) : rankings;
}
