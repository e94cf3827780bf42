"""Trained networks by secateur's names, and the labelled pictures that gradients are taken on."""

import json
import pathlib
import struct

import numpy
import torch
from resnet import cifar_resnet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 32
PARALLEL = "module."
ELEMENTS = {"F32": numpy.float32, "I32": numpy.int32, "I64": numpy.int64}


def public_names(model):
    """Names of modules here -> those of the customary state dicts: conv1, layer1.0.conv1, ..."""
    if not hasattr(model, "stem"):
        return {name: name for name, _ in model.named_modules()}
    per_stage = len(model.blocks) // 3

    def public(name):
        first, *rest = name.split(".")
        if first == "stem" and rest:
            return ("conv1", "bn1", "relu1")[int(rest[0])]
        if first == "blocks" and rest:
            index = int(rest[0])
            return ".".join([f"layer{index // per_stage + 1}", str(index % per_stage), *rest[1:]])
        return name

    return {name: public(name) for name, _ in model.named_modules()}


def state_dict(path):
    """A checkpoint's state dict, without the `module.` that DataParallel puts before names."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    tensors = saved.get("state_dict", saved)
    return {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}


def trained(name, weights):
    """(model in evaluation mode, shape of its input [channels, height, width])."""
    tensors = state_dict(weights)
    if name == "mobilenet_v2":
        from torchvision.models import mobilenet_v2

        model, side = mobilenet_v2(), 224
    elif name.startswith("resnet") and name.removeprefix("resnet") in ("20", "32", "44", "56", "110"):
        classes = tensors["linear.weight"].shape[0]
        model, side = cifar_resnet(int(name.removeprefix("resnet")), classes), SIDE
    else:
        raise SystemExit(f"expected resnet20, 32, 44, 56, 110 or mobilenet_v2, but got {name}")
    public = public_names(model)
    own = {}
    for key in model.state_dict():
        module, _, part = key.rpartition(".")
        own[key] = tensors[f"{public[module]}.{part}"] if f"{public[module]}.{part}" in tensors \
            else model.state_dict()[key]  # checkpoints of before num_batches_tracked
    model.load_state_dict(own)
    return model.eval(), (3, side, side)


def cifar_pictures(folder, count, seed):
    """`count` training pictures of CIFAR-10's binary files, normalised, and their labels."""
    files = sorted(pathlib.Path(folder).glob("data_batch_*.bin"))
    if not files:
        raise SystemExit(f"expected CIFAR-10's data_batch_*.bin in {folder}, but there are none")
    records = numpy.concatenate([
        numpy.fromfile(file, numpy.uint8).reshape(-1, 1 + 3 * SIDE * SIDE) for file in files
    ])
    drawn = numpy.random.default_rng(seed).permutation(len(records))[:count]
    labels = torch.from_numpy(records[drawn, 0].astype(numpy.int64))
    pixels = torch.from_numpy(records[drawn, 1:].reshape(-1, 3, SIDE, SIDE)).float() / 255
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    return (pixels - mean) / std, labels


def stored_pictures(path, count, seed):
    """`count` of the pictures `inputs` [n, 3, height, width], normalised, with their `labels` [n]."""
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()

    def tensor(name):
        about = header[name]
        first, last = about["data_offsets"]
        return numpy.frombuffer(data[first:last], ELEMENTS[about["dtype"]]).reshape(about["shape"])

    inputs, labels = tensor("inputs"), tensor("labels").astype(numpy.int64)
    drawn = numpy.random.default_rng(seed).permutation(len(labels))[:count]
    return torch.from_numpy(inputs[drawn].copy()), torch.from_numpy(labels[drawn])


def pictures(path, count, seed):
    """Pictures of a CIFAR-10 folder, or of a safetensors file with `inputs` and `labels`."""
    read = cifar_pictures if pathlib.Path(path).is_dir() else stored_pictures
    return read(path, count, seed)
