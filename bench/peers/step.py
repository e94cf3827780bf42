"""Images a second through training steps of a ResNet, in the fastest of PyTorch's ways."""

import torch
from contest import Contestant, best_of, seconds_per_run
from resnet import labels, pictures, resnet
from torch.nn import functional


def stepper(parameters, channels_last=True, autocast=False, compiled=False):
    """A function that takes one step: SGD with Nesterov momentum and weight decay."""
    images, classes = parameters["images"], parameters["classes"]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = resnet(parameters["network"], classes).train().to(memory_format=layout)
    x = pictures(images, parameters["side"]).contiguous(memory_format=layout)
    y = labels(images, classes)
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


def configurations(parameters):
    """Name to a function that builds the work. What is not worth compiling comes first."""
    thorough = not parameters["quick"]
    found = {
        "f32 eager, channels-last": lambda: stepper(parameters),
        "f32 eager": lambda: stepper(parameters, channels_last=False),
    }
    if thorough:
        found["f32 compiled"] = lambda: stepper(parameters, compiled=True)
    if parameters["dtype"] == "bf16" and parameters["bf16"]:
        found["bf16 autocast, channels-last"] = lambda: stepper(parameters, autocast=True)
    if parameters["dtype"] == "bf16" and parameters["fast"]:
        found["bf16 autocast"] = lambda: stepper(parameters, channels_last=False, autocast=True)
        if thorough:
            found["bf16 autocast, compiled"] = lambda: stepper(
                parameters, autocast=True, compiled=True
            )
    return found


def contestant(parameters):
    images = parameters["images"]
    name, work, tried = best_of(configurations(parameters), parameters, images)
    return Contestant(name, lambda: images / seconds_per_run(work, parameters["seconds"]), tried)
