"""Cuts PyTorch models as their runs' apply_plan.py does, and writes what they compute then.

    python apply_plans.py CASE...

Every CASE is a folder with apply_plan.py, case.json, pictures.safetensors, original.safetensors and
pruned.safetensors. Into it go the logits, f32, of the cut model (cut.bin) and of the same model with
pruned weights (pruned.bin), and what a second cut is refused with (again.txt); or error.txt.
"""

import importlib.util
import json
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "fixtures" / "models")]


class Shortcut(torch.nn.Module):
    """Option A: every second row and column, zero channels on both sides."""

    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def forward(self, x):
        return torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))


def cifar_resnet(depth, classes, named):
    """A CIFAR ResNet by the customary names, whose shortcuts are modules or not."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, source, out):
            super().__init__()
            stride = 1 if source == out else 2
            self.conv1 = nn.Conv2d(source, out, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(out)
            self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(out)
            shortcut = Shortcut((out - source) // 2) if stride == 2 else nn.Sequential()
            if named:
                self.shortcut = shortcut
            else:
                self.unnamed = [shortcut]

        def forward(self, x):
            shortcut = self.shortcut if hasattr(self, "shortcut") else self.unnamed[0]
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + shortcut(x))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            source = 16
            for stage, out in enumerate((16, 32, 64), 1):
                blocks = []
                for _ in range((depth - 2) // 6):
                    blocks.append(Block(source, out))
                    source = out
                self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            self.linear = nn.Linear(source, classes)

        def forward(self, x):
            x = torch.relu(self.bn1(self.conv1(x)))
            return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))

    return ResNet()


def model_of(case, folder, tensors):
    name = case["model"]
    if name == "graph":
        from graph_module import GraphModule

        return GraphModule(folder / "original.safetensors", tensors)
    if name.startswith("resnet") and case.get("shortcuts"):
        return cifar_resnet(int(name.removeprefix("resnet")), 10, case["shortcuts"] == "named")
    from make import build

    return build(name, 10, case.get("narrower", 1))


def imported(path):
    spec = importlib.util.spec_from_file_location("apply_plan", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def logits(model, x):
    with torch.no_grad():
        return model.eval()(x).numpy().tobytes()


def run(folder):
    case = json.loads((folder / "case.json").read_text())
    plan = imported(folder / "apply_plan.py")
    x = plan.read_safetensors(folder / "pictures.safetensors")["inputs"]
    tensors = plan.read_safetensors(folder / "original.safetensors")
    model = model_of(case, folder, tensors)
    if case.get("wrapped"):
        model = torch.nn.DataParallel(model)
    plan.load(model, folder / "original.safetensors")
    before = {name: id(each) for name, each in model.named_parameters()}
    assert plan.cut(model) is model
    assert {name: id(each) for name, each in model.named_parameters()} == before
    (folder / "cut.bin").write_bytes(logits(model, x))
    plan.load(model, folder / "pruned.safetensors")
    (folder / "pruned.bin").write_bytes(logits(model, x))
    train_a_step(model, x)
    try:
        plan.cut(model)
    except ValueError as refused:
        (folder / "again.txt").write_text(str(refused))


def train_a_step(model, x):
    """Gradients reach every parameter, which a step changes without failing."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    model.train()(x).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.shape == parameter.shape, name
    optimizer.step()


def main():
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        folder = pathlib.Path(name)
        try:
            run(folder)
        except Exception as failure:  # each is a result for the test to look at
            (folder / "error.txt").write_text(f"{type(failure).__name__}: {failure}")


main()
