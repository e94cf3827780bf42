/** --keep and --max-ratio: which groups they mean, and what they do to the cut. */

import { describe, expect, it } from "vitest";
import { solveShares } from "../../src/ratios/shares.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { createModel } from "../../src/models/models.ts";
import { constrainedGroups } from "../../src/pruning/constraints.ts";
import { planOf } from "../../src/pruning/plan.ts";

const graph = createModel("resnet20", { classes: 10 });
const all = { scope: "all", cap: 0.9 } as const;
const names = (groups: readonly { readonly name: string }[]) => groups.map(({ name }) => name);

describe("groups that stay", () => {
  it("are all but those named by a group, a layer of theirs, or a pattern", () => {
    const groups = prunableGroups(graph, "all");
    const free = constrainedGroups(graph, all);
    expect(names(free.groups)).toEqual(names(groups));
    expect(free.caps).toEqual(groups.map(() => 0.9));
    expect(free.constraints).toEqual({ keep: [], maxRatio: {} });

    const keep = (...keep: string[]) => constrainedGroups(graph, { ...all, keep }).constraints.keep;
    expect(keep("layer1.0.conv1")).toEqual(["layer1.0.conv1"]);
    // A batch norm stands for the convolution before it, a convolution for its stream.
    expect(keep("layer2.1.bn1")).toEqual(["layer2.1.conv1"]);
    expect(keep("layer1.2.conv2")).toEqual(["conv1"]);
    expect(keep("layer?.0.conv1")).toEqual(["layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1"]);
    expect(keep("layer1.0.conv1", "layer3.2.*").length).toBe(3);
    // Dots are dots, and what is pinned already needs no keeping.
    expect(() => keep("layer1x0xconv1")).toThrow(
      /"layer1x0xconv1".*nearest name is "layer1\.0\.conv1"/,
    );
    expect(keep("linear")).toEqual([]);
  });

  it("are named by the nearest name on a typo", () => {
    const attempt = () => constrainedGroups(graph, { ...all, maxRatio: { "layer2.0.con1": 0.2 } });
    expect(attempt).toThrow(/--max-ratio.*"layer2\.0\.con1".*"layer2\.0\.conv1".*inspect/);
    const attemptAll = () => constrainedGroups(graph, { ...all, keep: ["*"] });
    expect(attemptAll).toThrow(/--keep leaves none/);
  });
});

describe("largest shares", () => {
  it("hold for every group a name means, the smallest where several do", () => {
    const maxRatio = { "layer1.*": 0.5, "layer1.0.*": 0.25, "layer3.0.conv1": 0.95 };
    const { groups, caps, constraints } = constrainedGroups(graph, { ...all, maxRatio });
    const cap = (name: string) => caps[names(groups).indexOf(name)];
    expect([cap("layer1.0.conv1"), cap("layer1.1.conv1"), cap("layer2.0.conv1")])
      .toEqual([0.25, 0.5, 0.9]);
    expect(cap("layer3.0.conv1")).toBe(0.95);
    expect(constraints.maxRatio["layer1.0.conv1"]).toBe(0.25);
    const kept = solveShares(graph, groups, groups.map(() => 1), {
      budget: { kind: "flops", cut: 0.6 },
      caps,
    }).kept;
    groups.forEach((group, i) => {
      expect(kept[i]).toBeGreaterThanOrEqual(Math.floor(group.players.length * (1 - caps[i])));
    });
    expect(kept[names(groups).indexOf("layer1.0.conv1")]).toBe(12);
    expect(planOf(graph, [], constraints).constraints).toEqual(constraints);
  });
});
