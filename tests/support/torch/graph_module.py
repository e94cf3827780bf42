"""A PyTorch module of any graph of secateur's, from the graph in a safetensors file's metadata.

Layers become modules of their names, parameters and all; what has no sizes of its own is a call. So
cutting the module as a plan says tests the plan and apply_plan.py on every way that channels couple.
"""

import json
import struct

import torch
from torch import nn
from torch.nn import functional


def read_graph(path):
    """The graph without its tensors: name, input, output, nodes."""
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(size))["__metadata__"]["secateur.graph"])


class ChannelMap(nn.Module):
    """Output channel k is input channel source[k], or zero. Slices and shuffles keep their meaning
    at other widths, as torch.chunk and channel_shuffle do."""

    def __init__(self, source, channels):
        super().__init__()
        self.source, self.channels = source, channels

    def current(self, channels):
        source, first, share = self.source, self.source[0], channels / self.channels
        if channels == self.channels:
            return source
        if source == list(range(first, first + len(source))):
            start, count = round(first * share), round(len(source) * share)
            return list(range(start, start + count))
        for groups in range(2, self.channels):
            if self.channels % groups == 0 and source == shuffle(self.channels, groups):
                return shuffle(channels, groups)
        return source

    def forward(self, x):
        padded = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
        return padded[:, self.current(x.shape[1])]  # -1 is the channel of zeros


def shuffle(channels, groups):
    return [c % groups * (channels // groups) + c // groups for c in range(channels)]


def activation(kind, alpha, beta):
    default = {"hard_sigmoid": (1 / 6, 0.5), "hard_swish": (1 / 6, 0.5), "leaky_relu": (0.01, 0),
               "clip": (None, None), "elu": (1, 0)}.get(kind, (0, 0))
    a = default[0] if alpha is None else alpha
    b = default[1] if beta is None else beta
    return {
        "sigmoid": torch.sigmoid,
        "silu": functional.silu,
        "hard_sigmoid": lambda x: (a * x + b).clamp(0, 1),
        "hard_swish": lambda x: x * (a * x + b).clamp(0, 1),
        "gelu": functional.gelu,
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "leaky_relu": lambda x: functional.leaky_relu(x, a),
        "clip": lambda x: x.clamp(a, b),
        "tanh": torch.tanh,
        "elu": lambda x: functional.elu(x, a),
    }[kind]


def symmetric(padding):
    top, left, bottom, right = padding
    assert (top, left) == (bottom, right), padding
    return top, left


def average(node, x):
    return functional.avg_pool2d(x, node["kernel"], node["stride"], symmetric(node["padding"]),
                                 count_include_pad=node["countPadding"])


def largest(node, x):
    return functional.max_pool2d(x, node["kernel"], node["stride"], symmetric(node["padding"]))


def sliced(node, x):
    rows, columns = (slice(*each) for each in zip(node["starts"], node["ends"], node["strides"]))
    return x[:, :, rows, columns]


def scaled(node, a, b):
    rank = max(a.dim(), b.dim())
    a, b = (x if x.dim() == rank else x[:, :, None, None] for x in (a, b))
    return a * b


def resized(node, x):
    assert node["coordinates"] == "half_pixel"
    if node["mode"] == "linear":
        return functional.interpolate(x, node["size"], mode="bilinear", align_corners=False)
    return functional.interpolate(x, node["size"], mode="nearest-exact")


def over_channels(function):
    """Applies what works on the last axis to the channels."""
    return lambda node, x: function(node, x.movedim(1, -1)).movedim(-1, 1)


CALLS = {
    "relu": lambda node, x: torch.relu(x),
    "activation": lambda node, x: activation(node["kind"], node.get("alpha"), node.get("beta"))(x),
    "add": lambda node, a, b: a + b,
    "multiply": scaled,
    "concat": lambda node, *xs: torch.cat(xs, 1),
    "max_pool": largest,
    "average_pool": average,
    "global_average_pool": lambda node, x: x.mean((2, 3), keepdim=True),
    "pad": lambda node, x: functional.pad(x, [node["padding"][i] for i in (1, 3, 0, 2)]),
    "slice": sliced,
    "flatten": lambda node, x: x.flatten(1),
    "resize": resized,
    "softmax": over_channels(lambda node, x: x.softmax(-1)),
    "local_response_norm": lambda node, x: functional.local_response_norm(
        x, node["size"], node["alpha"], node["beta"], node["bias"]),
}


def module_of(node, sizes, channels):
    """The layer of a node; `sizes` are its tensors' shapes by name, `channels` those it reads."""
    op = node["op"]
    if op == "channel_map":
        return ChannelMap(node["from"], channels)
    if op == "linear":
        out, into = sizes[node["weight"]]
        return nn.Linear(into, out, "bias" in node)
    if op == "batch_norm":
        count, = sizes[node["scale"]]
        kind = nn.BatchNorm2d if node["picture"] else nn.BatchNorm1d
        return kind(count, node["epsilon"])
    if op == "layer_norm":
        return nn.LayerNorm(sizes[node["scale"]], node["epsilon"])
    if op == "prelu":
        return nn.PReLU(*sizes[node["slope"]])
    common = {"kernel_size": node["kernel"], "stride": node["stride"], "bias": "bias" in node,
              "padding": symmetric(node["padding"]), "dilation": node["dilation"],
              "groups": node["groups"]}
    first, second = sizes[node["weight"]][:2]
    if op == "convolution":
        return nn.Conv2d(channels, first, **common)
    return nn.ConvTranspose2d(first, second * node["groups"],
                              output_padding=node["outputPadding"], **common)


# Fields that name parameters, and what PyTorch calls them.
PARAMETERS = {"weight": "weight", "bias": "bias", "scale": "weight", "offset": "bias",
              "mean": "running_mean", "variance": "running_var", "slope": "weight"}
LAYERS = ("convolution", "transposed_convolution", "linear", "batch_norm", "layer_norm", "prelu",
          "channel_map")


class GraphModule(nn.Module):
    """Every layer of the graph in the file is a module of its name, shared ones share tensors."""

    def __init__(self, path, tensors):
        super().__init__()
        graph = read_graph(path)
        self.order, self.source, self.answer = graph["nodes"], graph["input"]["name"], graph["output"]
        sizes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        shapes = {self.source: graph["input"]["shape"]}
        # Named by the first layer that reads them.
        homes = {}
        for node in self.order:
            shape = shapes[node["inputs"][0]]
            node["picture"] = len(shape) == 3
            if node["op"] in LAYERS:
                self.place(node, module_of(node, sizes, shape[0]), tensors, homes)
            x = [torch.zeros(2, *shapes[value]) for value in node["inputs"]]
            with torch.no_grad():
                shapes[node["output"]] = list(self.eval().compute(node, x).shape[1:])

    def place(self, node, layer, tensors, homes):
        for field, own in PARAMETERS.items():
            name = node.get(field)
            if not isinstance(name, str):
                continue
            kept = homes.setdefault(name, getattr(layer, own))
            kept.data = tensors[name].clone()
            setattr(layer, own, kept)
        *path, last = node["name"].split(".")
        parent = self
        for each in path:
            if not hasattr(parent, each):
                parent.add_module(each, nn.Module())
            parent = getattr(parent, each)
        parent.add_module(last, layer)

    def compute(self, node, inputs):
        if node["op"] not in LAYERS:
            return CALLS[node["op"]](node, *inputs)
        layer = self.get_submodule(node["name"])
        if node["op"] == "layer_norm" and node["picture"]:
            return layer(inputs[0].movedim(1, -1)).movedim(-1, 1)
        return layer(inputs[0])

    def forward(self, x):
        values = {self.source: x}
        for node in self.order:
            values[node["output"]] = self.compute(node, [values[name] for name in node["inputs"]])
        return values[self.answer]
