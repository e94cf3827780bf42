"""Images a second through a ResNet, in the fastest of PyTorch's ways."""

import copy

import torch
from contest import Contestant, best_of, seconds_per_run
from resnet import ResNet, pictures

CHANNELS_LAST = torch.channels_last


def runner(model, images, autocast=False):
    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return model(images)
    return run


def frozen(model, images):
    with torch.no_grad():
        return torch.jit.freeze(torch.jit.trace(model, images))


def optimized(model, images):
    with torch.no_grad():
        return torch.jit.optimize_for_inference(torch.jit.trace(model, images))


def compiled(model):
    from torch._inductor import config

    config.freezing = True
    return torch.compile(model)


def configurations(model, images, dtype, thorough):
    """Name to a function that builds the work, for one dtype of weights and pictures."""

    def last(module):
        return copy.deepcopy(module).to(memory_format=CHANNELS_LAST)

    model = model.to(dtype)
    x = images.to(dtype)
    x_last = x.contiguous(memory_format=CHANNELS_LAST)
    name = "bf16" if dtype == torch.bfloat16 else "f32"
    found = {
        f"{name} eager, channels-last": lambda: runner(last(model), x_last),
        f"{name} frozen": lambda: runner(frozen(model, x), x),
        f"{name} frozen, channels-last": lambda: runner(frozen(last(model), x_last), x_last),
        f"{name} optimised for inference": lambda: runner(optimized(model, x), x),
        f"{name} optimised for inference, channels-last":
            lambda: runner(optimized(last(model), x_last), x_last),
    }
    if dtype == torch.float32:
        found["f32 eager"] = lambda: runner(model, x)
    if thorough:
        found[f"{name} compiled, channels-last"] = lambda: runner(compiled(last(model)), x_last)
    return found


def contestant(parameters):
    images = pictures(parameters["images"])
    thorough = not parameters["quick"]
    model = ResNet(parameters["depth"]).eval()
    found = configurations(model, images, torch.float32, thorough)
    if parameters["dtype"] == "bf16" and parameters["amx"]:
        torch.jit.enable_onednn_fusion(True)
        images_last = images.contiguous(memory_format=CHANNELS_LAST)
        found["bf16 autocast, channels-last"] = lambda: runner(
            copy.deepcopy(model).to(memory_format=CHANNELS_LAST), images_last, True
        )
        found |= configurations(copy.deepcopy(model), images, torch.bfloat16, thorough)
    name, work, tried = best_of(found)
    return Contestant(
        name, lambda: len(images) / seconds_per_run(work, parameters["seconds"]), tried
    )
