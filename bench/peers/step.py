"""Images a second through training steps of a ResNet, in the fastest of PyTorch's ways."""

import torch
from contest import Contestant, best_of, seconds_per_run
from resnet import ResNet, labels, pictures
from torch.nn import functional


def stepper(depth, images, channels_last=True, autocast=False, compiled=False):
    """A function that takes one step: SGD with Nesterov momentum and weight decay."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = ResNet(depth).train().to(memory_format=layout)
    x, y = pictures(images).contiguous(memory_format=layout), labels(images)
    optimizer = torch.optim.SGD(
        model.parameters(), 1e-4, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
    )
    forward = torch.compile(model) if compiled else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = functional.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def contestant(parameters):
    depth, images = parameters["depth"], parameters["images"]
    found = {
        "f32 eager": lambda: stepper(depth, images, channels_last=False),
        "f32 eager, channels-last": lambda: stepper(depth, images),
    }
    bf16 = parameters["dtype"] == "bf16" and parameters["amx"]
    if bf16:
        found["bf16 autocast, channels-last"] = lambda: stepper(depth, images, autocast=True)
        found["bf16 autocast"] = lambda: stepper(depth, images, channels_last=False, autocast=True)
    if not parameters["quick"]:
        found["bf16 autocast, compiled" if bf16 else "f32 compiled"] = lambda: stepper(
            depth, images, autocast=bf16, compiled=True
        )
    name, work, tried = best_of(found)
    return Contestant(name, lambda: images / seconds_per_run(work, parameters["seconds"]), tried)
