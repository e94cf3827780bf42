"""Cuts a PyTorch model as a run of secateur did. Needs torch alone.

    from apply_plan import cut, load

    model = torchvision.models.resnet18(weights="DEFAULT")  # the model that was pruned
    cut(model)                                              # in place: fewer channels, same weights
    load(model, "pruned.safetensors")                       # the repaired and fine-tuned weights

Make the optimiser, and wrap the model for several devices, afterwards. A checkpoint alone is cut by

    python apply_plan.py CHECKPOINT OUT
"""

import json
import struct
import sys

import torch
from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
COUNTER = "num_batches_tracked"  # of batch norm: no part of what is computed

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}
LONGEST_HEADER = 2**24
CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")


def cut(model, plan=None):
    """Removes the channels that the plan removes, in place; returns the model.

    Parameters stay the objects they are, with less in them. All is checked before anything is cut:
    raises ValueError where the model is not the one that was pruned, or has what cannot be cut.
    """
    plan = PLAN if plan is None else plan
    tensors = _tensors(model)
    prefix = _prefix(tensors, plan)
    parts = _checked(tensors, plan, prefix)
    maps = _maps(model, plan, prefix)
    for tensor, axis, kept in parts:
        tensor.data = tensor.data.index_select(axis, kept.to(tensor.device))
        tensor.grad = None
    touched = {id(tensor) for tensor, _, _ in parts}
    for module in model.modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(id(tensor) in touched for tensor in own):
            _tell(module)
    for parent, name, replacement in maps:
        setattr(parent, name, replacement)
    return model


def load(model, path):
    """Loads a safetensors file, such as pruned.safetensors, into a model that was cut.

    Raises ValueError where names or shapes are not the model's; nothing is loaded then.
    """
    stored = read_safetensors(path)
    tensors = _tensors(model)
    first = next(iter(stored), "")
    prefix = _common_prefix(tensors, first, stored)
    if prefix is None:
        raise ValueError(f"expected the tensors of {path} in the model, but it has no {first}")
    for name, tensor in stored.items():
        found, wanted = list(tensors[prefix + name].shape), list(tensor.shape)
        if found != wanted:
            raise ValueError(
                f"expected {prefix + name} of shape {wanted}, as in {path}, but the model's is "
                f"{found}; cut the model first"
            )
    # Layers that share a tensor have it by several names, of which a file may have one.
    inside = {id(tensors[prefix + name]) for name in stored}
    left = [
        name for name, tensor in tensors.items()
        if id(tensor) not in inside and not name.endswith(COUNTER)
    ]
    if left:
        raise ValueError(f"expected all of the model in {path}, but it lacks {_some(left)}")
    with torch.no_grad():
        for name, tensor in stored.items():
            tensors[prefix + name].copy_(tensor)
    return model


def cut_state_dict(tensors, plan=None):
    """A state dict with only what stays of every tensor that the plan names."""
    plan = PLAN if plan is None else plan
    result = dict(tensors)
    prefix = _prefix(result, plan)
    for part in plan["parameters"]:
        name = prefix + part["name"]
        _check_extent(name, result[name], part)
    for part in plan["parameters"]:
        name = prefix + part["name"]
        kept = torch.tensor(part["kept"], device=result[name].device)
        result[name] = result[name].index_select(part["axis"], kept)
    return result


def read_safetensors(path):
    """Tensors by name (huggingface.co/docs/safetensors, "Format"), on the CPU."""
    with open(path, "rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else LONGEST_HEADER + 1
        if size > LONGEST_HEADER:
            raise ValueError(f"expected a safetensors file at {path}, but it does not begin as one")
        header, data = json.loads(file.read(size)), bytearray(file.read())
    tensors = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        begin, end = about["data_offsets"]
        if end > len(data):
            raise ValueError(f"expected {end} bytes of tensors in {path}, but there are {len(data)}")
        dtype, shape = DTYPES[about["dtype"]], about["shape"]
        flat = torch.frombuffer(data, dtype=dtype, count=(end - begin) // dtype.itemsize,
                                offset=begin) if end > begin else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(shape).clone()
    return tensors


class RemappedChannels(nn.Module):
    """A module that rearranges or pads channels, between what stays of them on either side.

    It sees its input as it was before the cut, zero where channels are gone, and of its output the
    channels that stay are taken.
    """

    def __init__(self, module, channels, kept_in, kept_out):
        super().__init__()
        self.module, self.channels = module, channels
        self.register_buffer("kept_in", torch.tensor(kept_in), persistent=False)
        self.register_buffer("kept_out", torch.tensor(kept_out), persistent=False)

    def forward(self, x):
        whole = x.new_zeros(x.shape[0], self.channels, *x.shape[2:])
        return self.module(whole.index_copy(1, self.kept_in, x)).index_select(1, self.kept_out)


def _tensors(model):
    """The parameters and buffers themselves, by every name they have in a state dict."""
    return {
        name: tensor for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, torch.Tensor)
    }


def _some(names):
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _common_prefix(tensors, first, names):
    """What stands before names in the model, such as `module.`; None where there is no such thing."""
    prefixes = [name[:-len(first)] for name in tensors if name == first or name.endswith("." + first)]
    return next((each for each in prefixes if all(each + name in tensors for name in names)), None)


def _prefix(tensors, plan):
    names = [part["name"] for part in plan["parameters"]]
    prefix = _common_prefix(tensors, names[0], names) if names else ""
    if prefix is None:
        missing = [name for name in names if name not in tensors] or names
        raise ValueError(
            f"expected the tensors of {plan['model']}, which the plan cuts, but there is no "
            f"{_some(missing)}; give the model that was pruned, with the names its file had (an "
            f"ONNX export that folds batch norm makes names of its own)"
        )
    return prefix


def _check_extent(name, tensor, part):
    axis, extent = part["axis"], part["extent"]
    found = tensor.shape[axis] if axis < tensor.dim() else None
    if found != extent:
        state = "it was cut already" if found == len(part["kept"]) else "it is another model's"
        raise ValueError(
            f"expected {name} with {extent} along axis {axis}, but its shape is "
            f"{list(tensor.shape)}: {state}"
        )


def _checked(tensors, plan, prefix):
    """(tensor, axis, kept) of every part of the plan, each tensor and axis once."""
    parts = {}
    for part in plan["parameters"]:
        name = prefix + part["name"]
        _check_extent(name, tensors[name], part)
        parts[id(tensors[name]), part["axis"]] = (
            tensors[name], part["axis"], torch.tensor(part["kept"])
        )
    return list(parts.values())


def _tell(module):
    """Brings what a module says of its sizes in line with its tensors."""
    if isinstance(module, CONVOLUTIONS):
        rows, per_group = module.weight.shape[:2]
        if 1 < module.groups == module.in_channels:  # depthwise: every channel is a group
            module.groups = rows // (module.out_channels // module.in_channels)
        module.in_channels, module.out_channels = per_group * module.groups, rows
    elif isinstance(module, TRANSPOSED):
        rows, per_group = module.weight.shape[:2]
        if 1 < module.groups == module.in_channels:
            module.groups = rows
        module.in_channels, module.out_channels = rows, per_group * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, NORMS):
        sized = module.weight if module.weight is not None else module.running_mean
        module.num_features = sized.shape[0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.shape[0]


def _keeps_meaning(part):
    """Whether the operation that a map is, such as a split, does the same at the new widths."""
    before, after = part["from"], part["cut"]
    channels, left = part["channels"], len(part["keptIn"])
    slice_before, slice_after = before[0] / channels, after[0] / left
    if before == list(range(before[0], before[0] + len(before))):
        return (
            after == list(range(after[0], after[0] + len(after)))
            and slice_before == slice_after and len(before) / channels == len(after) / left
        )
    for groups in range(2, channels):
        if channels % groups == 0 and before == _shuffle(channels, groups):
            return left % groups == 0 and after == _shuffle(left, groups)
    return False


def _shuffle(channels, groups):
    return [c % groups * (channels // groups) + c // groups for c in range(channels)]


def _dotted(name):
    """layer2.0.shortcut.Pad of /layer2/layer2.0/shortcut/Pad, as ONNX exports of PyTorch have it."""
    path = []
    for each in name.strip("/").split("/"):
        if path and each.startswith(path[-1] + "."):
            path.pop()
        path.append(each)
    return ".".join(path)


def _module(model, name):
    """(parent, last name, module), or None where the model has no module of that name."""
    *path, last = name.split(".")
    parent = model
    for each in path:
        parent = getattr(parent, each, None)
    module = getattr(parent, last, None)
    return (parent, last, module) if isinstance(module, nn.Module) else None


def _maps(model, plan, prefix):
    """Replacements of the modules that pad or rearrange channels: (parent, name, module)."""
    replaced = []
    for part in plan["maps"]:
        pads = -1 in part["from"]
        if not pads and _keeps_meaning(part):
            continue
        name = prefix + _dotted(part["name"])
        # The padding may be a part of the module: layer2.0.shortcut.pad of layer2.0.shortcut.
        names = [name, name.rpartition(".")[0]] if pads else [name]
        found = next(filter(None, (_module(model, each) for each in names)), None)
        if found is None or next(found[2].parameters(), None) is not None:
            raise ValueError(
                f"expected a module {' or '.join(filter(None, names))} that does what "
                f"{part['name']} did to channels and nothing else, because the plan changes that, "
                f"but the model has none: give it one, or prune anew and keep whole what passes "
                f"there: {' '.join('--keep ' + group for group in part['groups'])}"
            )
        parent, last, module = found
        channels, kept_in, kept_out = part["channels"], part["keptIn"], part["keptOut"]
        replacement = RemappedChannels(module, channels, kept_in, kept_out)
        replaced.append((parent, last, replacement.to(next(model.parameters()).device)))
    return replaced


def _read_checkpoint(path):
    """The tensors of a checkpoint, alone or under a customary key."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    while any(isinstance(saved.get(key), dict) for key in CHECKPOINT_KEYS):
        saved = next(saved[key] for key in CHECKPOINT_KEYS if isinstance(saved.get(key), dict))
    return {name: value for name, value in saved.items() if isinstance(value, torch.Tensor)}


def _main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    checkpoint, out = sys.argv[1:]
    try:
        torch.save(cut_state_dict(_read_checkpoint(checkpoint)), out)
    except (OSError, ValueError) as refused:
        raise SystemExit(str(refused)) from refused


# What the run decided: plan.json.
PLAN = json.loads(r"""{}""")

if __name__ == "__main__":
    _main()
