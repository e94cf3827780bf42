"""Images a second through a ResNet, in the fastest of PyTorch's ways."""

import copy

import torch
from contest import Contestant, best_of, seconds_per_run
from freeze import WAYS
from resnet import pictures, resnet

CHANNELS_LAST = torch.channels_last


def runner(model, images, autocast=False):
    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return model(images)
    return run


def compiled(model):
    from torch._inductor import config

    config.freezing = True
    return torch.compile(model)


def configurations(model, images, dtype, thorough):
    """Name to a function that builds the work, for one type of weights and pictures."""

    def last(module):
        return copy.deepcopy(module).to(memory_format=CHANNELS_LAST)

    model = model.to(dtype)
    x = images.to(dtype)
    x_last = x.contiguous(memory_format=CHANNELS_LAST)
    name = "bf16" if dtype == torch.bfloat16 else "f32"
    found = {}
    for way, prepare in WAYS.items():
        found[f"{name} {way}, channels-last"] = lambda prepare=prepare: runner(
            prepare(last(model), x_last), x_last
        )
        found[f"{name} {way}"] = lambda prepare=prepare: runner(prepare(model, x), x)
    found[f"{name} eager, channels-last"] = lambda: runner(last(model), x_last)
    if dtype == torch.float32:
        found["f32 eager"] = lambda: runner(model, x)
    if thorough:
        found[f"{name} compiled, channels-last"] = lambda: runner(compiled(last(model)), x_last)
    return found


def bf16_configurations(model, images, parameters):
    """All that may pay where the processor multiplies bf16 faster than f32, else one of each kind."""
    images_last = images.contiguous(memory_format=CHANNELS_LAST)
    thorough = parameters["fast"] and not parameters["quick"]
    found = configurations(copy.deepcopy(model), images, torch.bfloat16, thorough)
    if not parameters["fast"]:
        found = {"bf16 frozen, fused, channels-last": found["bf16 frozen, fused, channels-last"]}
    found["bf16 autocast, channels-last"] = lambda: runner(
        copy.deepcopy(model).to(memory_format=CHANNELS_LAST), images_last, True
    )
    return found


def contestant(parameters):
    images = pictures(parameters["images"], parameters["side"])
    model = resnet(parameters["network"], parameters["classes"]).eval()
    found = configurations(model, images, torch.float32, not parameters["quick"])
    if parameters["dtype"] == "bf16" and parameters["bf16"]:
        found |= bf16_configurations(model, images, parameters)
    name, work, tried = best_of(found, parameters, len(images))
    return Contestant(
        name, lambda: len(images) / seconds_per_run(work, parameters["seconds"]), tried
    )
