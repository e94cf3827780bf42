"""Coalitions evaluated a second, over one permutation of every inner layer of a ResNet.

The straightforward loop: for every coalition the gated network runs on the calibration pictures
and its loss is taken. Cached: what lies before the gate has run before, and is not measured.
"""

import time

import torch
from contest import Contestant, best_of
from freeze import WAYS
from resnet import labels, pictures, resnet
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

    def __init__(self, parameters, network, dtype, way, layer, players):
        self.count = parameters["evaluations"]
        images = parameters["images"]
        x = pictures(images).to(dtype).contiguous(memory_format=torch.channels_last)
        self.y = labels(images)
        self.gates = [
            (torch.rand(1, players, 1, 1) < 0.5).to(dtype) for _ in range(self.count)
        ]
        with torch.inference_mode():
            self.before = self.prefix(network, layer, x) if parameters["cached"] else (x,)
        module = (Suffix if parameters["cached"] else Whole)(network, layer).eval()
        if way in WAYS:
            before = [value.clone() for value in self.before]
            module = WAYS[way](module, *before, self.gates[0])
        self.module = module

    @staticmethod
    def prefix(network, layer, x):
        x = network.blocks[:layer](network.stem(x))
        return network.blocks[layer].inner(x), x

    def __call__(self):
        """The value of every coalition."""
        with torch.inference_mode():
            return [
                -functional.cross_entropy(self.module(*self.before, gates).float(), self.y).item()
                for gates in self.gates
            ]


def contestant(parameters):
    def network(dtype):
        made = resnet(parameters["network"]).eval().to(dtype)
        return made.to(memory_format=torch.channels_last), dtype

    networks = {"f32": network(torch.float32)}
    if parameters["dtype"] == "bf16" and parameters["bf16"]:
        networks["bf16"] = network(torch.bfloat16)
    layers = list(zip(parameters["layers"], parameters["players"]))

    def build(choice, layer):
        dtype, way = choice
        return Loop(parameters, *networks[dtype], way, *layer)

    middle = layers[len(layers) // 2]
    choices = {
        f"{dtype} {way}, channels-last": (dtype, way)
        for dtype in networks for way in (*WAYS, "eager")
    }
    name, _, tried = best_of(
        {name: lambda choice=choice: build(choice, middle) for name, choice in choices.items()},
        parameters,
        parameters["evaluations"],
    )
    loops = [build(choices[name], layer) for layer in layers]
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
