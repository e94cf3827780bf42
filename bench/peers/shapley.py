"""Coalitions evaluated a second, over one permutation of every inner layer of a ResNet.

The straightforward loop: for every coalition the gated network runs on the calibration pictures
and its loss is taken. Cached: what lies before the gate runs once a layer.
"""

import time

import torch
from contest import Contestant, best_of
from resnet import ResNet, labels, pictures
from torch import nn
from torch.nn import functional


class Suffix(nn.Module):
    """From the gate of one block to the logits."""

    def __init__(self, network, layer):
        super().__init__()
        self.block = network.blocks[layer]
        self.rest = network.blocks[layer + 1:]
        self.network = network

    def forward(self, y, x, gates):
        return self.network.head(self.rest(self.block.outer(y * gates, x)))


class Whole(nn.Module):
    """The network with a gate in one block."""

    def __init__(self, network, layer):
        super().__init__()
        self.before = network.blocks[:layer]
        self.suffix = Suffix(network, layer)
        self.network = network

    def forward(self, x, gates):
        x = self.before(self.network.stem(x))
        return self.suffix(self.suffix.block.inner(x), x, gates)


class Loop:
    """Evaluates coalitions of one layer in one configuration."""

    def __init__(self, parameters, network, layer, players, dtype, frozen):
        self.cached = parameters["cached"]
        self.count = parameters["evaluations"]
        images = parameters["images"]
        self.x = pictures(images).to(dtype).contiguous(memory_format=torch.channels_last)
        self.y = labels(images)
        self.gates = [
            (torch.rand(1, players, 1, 1) < 0.5).to(dtype) for _ in range(self.count)
        ]
        self.network, self.layer = network, layer
        module = (Suffix if self.cached else Whole)(network, layer).eval()
        if frozen:
            with torch.no_grad():
                module = torch.jit.freeze(torch.jit.trace(module, self.inputs(self.gates[0])))
        self.module = module

    def prefix(self):
        x = self.network.blocks[: self.layer](self.network.stem(self.x))
        return self.network.blocks[self.layer].inner(x), x

    def inputs(self, gates):
        return (*self.prefix(), gates) if self.cached else (self.x, gates)

    def __call__(self):
        """The value of every coalition."""
        with torch.inference_mode():
            before = self.prefix() if self.cached else (self.x,)
            return [
                -functional.cross_entropy(self.module(*before, gates).float(), self.y).item()
                for gates in self.gates
            ]


def contestant(parameters):
    network = ResNet(parameters["depth"]).eval().to(memory_format=torch.channels_last)
    networks = {"f32": (network, torch.float32)}
    if parameters["dtype"] == "bf16" and parameters["amx"]:
        torch.jit.enable_onednn_fusion(True)
        half = ResNet(parameters["depth"]).eval().to(torch.bfloat16)
        networks["bf16"] = (half.to(memory_format=torch.channels_last), torch.bfloat16)
    layers = list(zip(parameters["layers"], parameters["players"]))

    def build(dtype, frozen, layer, players):
        return Loop(parameters, *(networks[dtype][:1]), layer, players, networks[dtype][1], frozen)

    middle = layers[len(layers) // 2]
    ways = {
        f"{dtype} {'frozen' if frozen else 'eager'}, channels-last": (dtype, frozen)
        for dtype in networks for frozen in (False, True)
    }
    name, _, tried = best_of({
        way: lambda chosen=chosen: build(*chosen, *middle) for way, chosen in ways.items()
    })
    loops = [build(*ways[name], *layer) for layer in layers]
    for loop in loops:
        for _ in range(2):
            loop()

    def measure():
        seconds = 0
        for loop, evaluations in zip(loops, parameters["perPermutation"]):
            started = time.perf_counter()
            loop()
            seconds += (time.perf_counter() - started) / loop.count * evaluations
        return sum(parameters["perPermutation"]) / seconds

    return Contestant(name, measure, tried)
