"""Floating-point operations a second in a large square matrix product: what this machine can do."""

import torch
from contest import Contestant, seconds_per_run

SIDE, QUICK_SIDE = 2048, 256


def contestant(parameters):
    side = QUICK_SIDE if parameters["quick"] else SIDE
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[parameters["dtype"]]
    a, b = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    out = torch.empty(side, side, dtype=dtype)
    operations = 2 * side**3

    def measure():
        with torch.inference_mode():
            return operations / seconds_per_run(
                lambda: torch.mm(a, b, out=out), parameters["seconds"]
            )

    return Contestant(f"torch.mm, {parameters['dtype']} {side}x{side}", measure)
