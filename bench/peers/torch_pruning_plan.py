"""What Torch-Pruning (Fang et al., arXiv 2301.12900) cuts: which original channels stay.

    python torch_pruning_plan.py --model resnet56 --weights FILE --criterion group-l2 --out PLAN

Its own pruner chooses and cuts, at the smallest pruning ratio that takes the asked share of the
multiply-accumulates away; ranked within layers, where one ratio more takes a channel of every layer
at once, only as many layers as it needs, evenly spread, get it. Which channels went is read from the
groups it yields, round after round, and held against the weights of the network it leaves.
bench/experiments/peer_plan.ts reads PLAN.
"""

import argparse
import copy
import json
from importlib.metadata import version

import torch
import torch_pruning
from torch import nn
from torch.nn import functional
from trained import pictures, public_names, trained

IMPORTANCE = torch_pruning.importance
CRITERIA = {
    "group-l1": lambda: IMPORTANCE.GroupMagnitudeImportance(p=1),
    "group-l2": lambda: IMPORTANCE.GroupMagnitudeImportance(p=2),
    "taylor": IMPORTANCE.GroupTaylorImportance,
    "fpgm": IMPORTANCE.FPGMImportance,
    "bn-scale": IMPORTANCE.BNScaleImportance,
    "lamp": IMPORTANCE.LAMPImportance,
    "random": IMPORTANCE.RandomImportance,
}
# Pruning ratios are tried in steps of one channel of all that may go, or smaller ones: so many.
LEAST_STEPS = 512
BATCH = 64


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--criterion", choices=CRITERIA, default="group-l2")
    parser.add_argument("--ranking", choices=("local", "global"), default="global")
    parser.add_argument("--scope", choices=("inner", "all"), default="inner")
    parser.add_argument("--cut-flops", type=float, default=0.455)
    parser.add_argument("--rounds", type=int, default=1, help="gradients are taken anew in each")
    parser.add_argument("--pictures", help="for taylor: a CIFAR-10 folder or a safetensors file")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", required=True)
    chosen = parser.parse_args()
    if (chosen.criterion == "taylor") != (chosen.pictures is not None):
        parser.error("expected --pictures with --criterion taylor, and only with it")
    return chosen


def costs(model, example):
    """Torch-Pruning's own count, and of it the multiply-accumulates of convolutions and linears."""
    flops, parameters, by_layer, _ = torch_pruning.utils.count_ops_and_params(
        model, example, layer_wise=True
    )
    macs = 0
    for layer, counted in by_layer.items():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            products = layer.weight[0].numel()
            # An output counts its products, and one more for its bias.
            macs += round(counted * products / (products + (layer.bias is not None)))
    return {"macs": macs, "flops": int(flops), "parameters": int(parameters)}


def take_gradients(model, drawn):
    """The gradient of the mean loss, left in the parameters."""
    model.zero_grad()
    inputs, labels = drawn
    for x, y in zip(inputs.split(BATCH), labels.split(BATCH)):
        (functional.cross_entropy(model(x), y, reduction="sum") / len(labels)).backward()


def copy_gradients(source, target):
    for own, other in zip(target.parameters(), source.parameters()):
        own.grad = other.grad.clone()


def layers_of_streams(model, example):
    """Layers whose output channels an addition couples with another layer's."""
    graph = torch_pruning.DependencyGraph().build_dependency(model, example)
    streams = []
    for group in graph.get_all_groups():
        if any("AddBackward" in dep.target.name for dep, _ in group):
            streams += [
                dep.target.module for dep, _ in group
                if isinstance(dep.target.module, nn.Conv2d)
                and graph.is_out_channel_pruning_fn(dep.handler)
            ]
    return streams


class Channels:
    """The original numbers of the channels that every layer still has, out and in."""

    def __init__(self, model):
        self.original = {
            name: layer.weight.detach().clone() for name, layer in layers_of(model).items()
        }
        self.out = {name: list(range(len(weight))) for name, weight in self.original.items()}
        self.into = {
            name: list(range(weight.shape[1])) for name, weight in self.original.items()
        }

    def remove(self, group, graph, names):
        """Takes out what a group of Torch-Pruning's is about to cut."""
        for dep, positions in group:
            layer, gone = dep.target.module, set(positions)
            if layer not in names:
                continue
            out = graph.is_out_channel_pruning_fn(dep.handler)
            if not out and isinstance(layer, nn.Conv2d) and layer.groups > 1:
                continue  # depthwise: its weight has no axis for what comes in
            side = self.out if out else self.into
            kept = side[names[layer]]
            side[names[layer]] = [at for place, at in enumerate(kept) if place not in gone]

    def check(self, model):
        """That the network left has exactly the original's weights of these channels."""
        for name, layer in layers_of(model).items():
            expected = self.original[name][self.out[name]][:, self.into[name]]
            if not torch.equal(layer.weight, expected):
                raise SystemExit(f"the channels noted of {name} are not those that were kept")


def layers_of(model):
    return {
        name: layer for name, layer in model.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    }


def evenly(items, count):
    """`count` of the items, evenly spread."""
    return [
        item for index, item in enumerate(items)
        if (index + 1) * count // len(items) > index * count // len(items)
    ]


def prunable(model, example, ignored):
    """The first layer of every group that may lose channels."""
    graph = torch_pruning.DependencyGraph().build_dependency(model, example)
    return [group[0].dep.target.module for group in graph.get_all_groups(ignored)]


def prune(original, example, chosen, ratio, drawn, raised=(0.0, 0)):
    """A copy pruned by Torch-Pruning at a ratio, its cost, and the channels that stayed.

    `raised` is a second ratio and how many groups get it.
    """
    torch.manual_seed(chosen.seed)
    model = copy.deepcopy(original)
    kept = Channels(model)
    ignored = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if chosen.scope == "inner":
        ignored += layers_of_streams(model, example)
    layers = prunable(model, example, ignored)
    second, count = raised
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        CRITERIA[chosen.criterion](),
        global_pruning=chosen.ranking == "global",
        pruning_ratio=ratio,
        pruning_ratio_dict={layer: second for layer in evenly(layers, count)},
        iterative_steps=chosen.rounds,
        ignored_layers=ignored,
    )
    names = {layer: name for name, layer in layers_of(model).items()}
    for round in range(chosen.rounds):
        if drawn is not None and round == 0:
            copy_gradients(original, model)
        elif drawn is not None:
            take_gradients(model, drawn)
        for group in pruner.step(interactive=True):
            kept.remove(group, pruner.DG, names)
            group.prune()
    kept.check(model)
    return costs(model, example), kept, pruner.initial_total_channels, len(layers)


def smallest(last, first_below, attempt, most):
    """The smallest number up to `last` whose attempt meets the budget, it, and the one before it."""
    low, high, found, below = 0, last, None, first_below
    while high - low > 1 or found is None:
        middle = high if high - low == 1 else (low + high) // 2
        tried = attempt(middle)
        if tried[0]["macs"] <= most:
            high, found = middle, tried
        elif middle == last:
            return None
        else:
            low, below = middle, tried
    return high, found, below


def search(original, example, chosen, drawn):
    """What is kept at the smallest ratio, to a step, that meets the budget, and at which."""
    if drawn is not None:
        take_gradients(original, drawn)  # the same in the first round of every ratio
    before = costs(original, example)
    most = (1 - chosen.cut_flops) * before["macs"]
    whole = prune(original, example, chosen, 0.0, drawn)
    steps, groups = max(whole[2], LEAST_STEPS), whole[3]
    at = lambda step: prune(original, example, chosen, step / steps, drawn)
    result = smallest(steps - 1, whole, at, most)
    if result is None:
        raise SystemExit(f"Torch-Pruning cannot cut {chosen.cut_flops} of {chosen.model} so")
    step, found, below = result
    ratios = {"ratio": step / steps}
    if chosen.ranking == "local":
        low, high = (step - 1) / steps, step / steps
        partly = lambda count: prune(original, example, chosen, low, drawn, (high, count))
        count, found, below = smallest(groups, below, partly, most)
        ratios = {"ratio": low, "raised": {"ratio": high, "groups": count, "of": groups}}
    cost = {"before": before, "after": found[0], "below": below[0]}
    return ratios, cost, found[1]


def main():
    chosen = options()
    torch.set_num_threads(chosen.threads)
    model, shape = trained(chosen.model, chosen.weights)
    if chosen.scope == "all" and chosen.model.startswith("resnet"):
        raise SystemExit(
            "Torch-Pruning 1.6.1 couples a channel before an option-A shortcut with that of the same "
            "number behind it, not with the one that the padding makes of it: use --scope inner"
        )
    example = torch.zeros(1, *shape)
    drawn = pictures(chosen.pictures, chosen.images, chosen.seed) if chosen.pictures else None
    ratios, cost, kept = search(model, example, chosen, drawn)
    public = public_names(model)
    plan = {
        "versions": {"torch-pruning": version("torch-pruning"), "torch": torch.__version__},
        "model": chosen.model,
        "criterion": chosen.criterion,
        "ranking": chosen.ranking,
        "scope": chosen.scope,
        "rounds": chosen.rounds,
        "seed": chosen.seed,
        **({"images": len(drawn[1])} if drawn else {}),
        "cutFlops": chosen.cut_flops,
        "pruning": ratios,
        "cost": cost,
        "layers": [
            {"name": public[name], "channels": len(kept.original[name]), "kept": out}
            for name, out in kept.out.items()
        ],
    }
    with open(chosen.out, "w", encoding="utf-8") as file:
        json.dump(plan, file)
    gone = 1 - cost["after"]["macs"] / cost["before"]["macs"]
    print(f"{chosen.criterion}, {chosen.ranking}, {chosen.scope}: {100 * gone:.2f}% of the MACs gone")


if __name__ == "__main__":
    main()
