"""Ten training steps of ResNet-20 in PyTorch, for tests/training/peer.test.ts to follow.

    python bench/peers/resnet_losses.py DATA > tests/fixtures/training/resnet20_losses.json

DATA is the folder with weights/resnet20-12fca82f.th and cifar10-lossless-slice/. The steps take the
first 1,280 training pictures in file order, 128 a step, not augmented; SGD with Nesterov momentum
0.9, learning rate 0.01 throughout, weight decay 1e-4 on every parameter, f32. The same steps in f64
show how far rounding alone moves the losses.
"""

import json
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional

BATCH, STEPS = 128, 10
RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two convolutions and an option-A shortcut (He et al., arXiv 1512.03385, section 3.3)."""

    def __init__(self, source, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(source, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride, self.extra = stride, (out - source) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return functional.relu(y + functional.pad(shortcut, (0, 0, 0, 0, self.extra, self.extra)))


class ResNet20(nn.Module):
    """Three stages of three blocks; names as in the checkpoint."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self.stage(16, 16, 1)
        self.layer2 = self.stage(16, 32, 2)
        self.layer3 = self.stage(32, 64, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def stage(source, out, stride):
        return nn.Sequential(Block(source, out, stride), Block(out, out, 1), Block(out, out, 1))

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def pictures(folder, count):
    """The first pictures of the training files, normalised [count, 3, 32, 32], and their labels."""
    files = sorted(folder.glob("data_batch_*.bin"))
    records = torch.cat([
        torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8).view(-1, 3073)
        for file in files
    ])[:count]
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std, records[:, 0].long()


def losses(weights, images, labels, dtype):
    """Mean loss of every step, and the loss on the last batch with running statistics after it."""
    model = ResNet20()
    model.load_state_dict(weights)
    model.to(dtype).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY
    )
    found = []
    for step in range(STEPS):
        part = slice(step * BATCH, (step + 1) * BATCH)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images[part].to(dtype)), labels[part])
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    with torch.no_grad():
        after = functional.cross_entropy(model.eval()(images[part].to(dtype)), labels[part])
    return {"losses": found, "after": after.item()}


def main():
    data = pathlib.Path(sys.argv[1])
    checkpoint = torch.load(data / "weights/resnet20-12fca82f.th", "cpu", weights_only=True)
    weights = {
        name.removeprefix("module."): tensor for name, tensor in checkpoint["state_dict"].items()
    }
    folder = data / "cifar10-lossless-slice/cifar-10-batches-bin"
    images, labels = pictures(folder, BATCH * STEPS)
    torch.manual_seed(0)
    result = {
        "script": "bench/peers/resnet_losses.py",
        "torch": torch.__version__,
        "batch": BATCH,
        "learningRate": RATE,
        "momentum": MOMENTUM,
        "weightDecay": DECAY,
        "f32": losses(weights, images, labels, torch.float32),
        "f64": losses(weights, images, labels, torch.float64),
    }
    print(json.dumps(result, indent=2))


main()
