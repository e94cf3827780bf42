"""The CIFAR ResNet of secateur's benchmarks (He et al., arXiv 1512.03385, section 4.2)."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions and an option-A shortcut."""

    def __init__(self, source, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(source, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride, self.extra = stride, (out - source) // 2

    def inner(self, x):
        """What the block's players gate."""
        return functional.relu(self.bn1(self.conv1(x)))

    def outer(self, y, x):
        """The rest of the block: y is what inner made of x."""
        if self.extra > 0 or self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, self.extra, self.extra))
        return functional.relu(self.bn2(self.conv2(y)) + x)

    def forward(self, x):
        return self.outer(self.inner(x), x)


class ResNet(nn.Module):
    """Three stages of (depth - 2) / 6 blocks."""

    def __init__(self, depth, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks, source = [], 16
        for stage, out in enumerate((16, 32, 64)):
            for block in range((depth - 2) // 6):
                blocks.append(Block(source, out, 2 if stage > 0 and block == 0 else 1))
                source = out
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))

    def stem(self, x):
        return functional.relu(self.bn1(self.conv1(x)))

    def head(self, x):
        return self.linear(x.mean((2, 3)))


def pictures(images):
    return torch.randn(images, 3, 32, 32)


def labels(images, classes=10):
    return torch.arange(images) % classes
