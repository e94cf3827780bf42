// What must hold of pruning whatever the network: thousands of random ones. More of them, and others:
// SECATEUR_GRAPHS=50000 SECATEUR_FIRST_GRAPH=100000.

import process from "node:process";
import { describe, expect, it } from "vitest";
import { oddGraph } from "../support/graphs/odd.ts";
import { expectPrunable } from "../support/graphs/prunable.ts";
import { tappedGraph } from "../support/graphs/tapped.ts";

const count = Number(process.env.SECATEUR_GRAPHS ?? 2000);
const start = Number(process.env.SECATEUR_FIRST_GRAPH ?? 0);
const EACH = Math.min(500, count);

const KINDS = [
  { kind: "every kind", graphOf: oddGraph, least: 0.9 },
  // Taps pin what they are on: fewer have anything left to cut.
  { kind: "several outputs", graphOf: tappedGraph, least: 0.7 },
];

for (const { kind, graphOf, least } of KINDS) {
  describe(`random networks of ${kind}`, () => {
    for (let first = start; first < start + count; first += EACH) {
      it(`${first} to ${first + EACH - 1} are cut as they are masked, for what was predicted`, () => {
        let cuts = 0, changed = 0, met = 0, refused = 0;
        for (let seed = first; seed < first + EACH; seed++) {
          const result = expectPrunable(seed, graphOf(seed));
          cuts += result.cut ? 1 : 0;
          changed += result.changed ? 1 : 0;
          met += result.met;
          refused += result.refused;
        }
        // Equality proves nothing where the cut does not matter, as behind saturated activations.
        expect(cuts).toBeGreaterThan(least * EACH);
        expect(changed).toBeGreaterThan(0.97 * cuts);
        // Budgets are met for most, and refused for some.
        expect(met).toBeGreaterThan(0.3 * least * EACH);
        expect(refused).toBeGreaterThan(0);
      });
    }
  });
}
