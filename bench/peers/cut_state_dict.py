"""Cuts a PyTorch checkpoint as a plan.json says, with PyTorch alone.

    python cut_state_dict.py CHECKPOINT PLAN OUT

The plan lists, for every parameter that loses any, the indices that stay along an axis; all other
tensors stay as they are. OUT is a state dict for the model with as many channels as were kept.
"""

import json
import sys

import torch

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")
PARALLEL = "module."


def read_state_dict(path):
    """The state dict of a checkpoint, alone or under a customary key, without `module.`."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    while any(isinstance(saved.get(key), dict) for key in WRAPPERS):
        saved = next(saved[key] for key in WRAPPERS if isinstance(saved.get(key), dict))
    tensors = {name: value for name, value in saved.items() if isinstance(value, torch.Tensor)}
    if all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): value for name, value in tensors.items()}
    return tensors


def cut(tensors, plan):
    """The tensors with only the kept indices along every axis that the plan names."""
    result = dict(tensors)
    for part in plan["parameters"]:
        name, axis, kept = part["name"], part["axis"], part["kept"]
        if name not in result:
            raise SystemExit(f"Expected {name}, which the plan cuts, but the checkpoint lacks it.")
        result[name] = result[name].index_select(axis, torch.tensor(kept))
    return result


def main():
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    checkpoint, plan_file, out = sys.argv[1:]
    with open(plan_file, encoding="utf-8") as file:
        plan = json.load(file)
    torch.save(cut(read_state_dict(checkpoint), plan), out)


if __name__ == "__main__":
    main()
