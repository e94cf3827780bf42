"""The ResNets of secateur's benchmarks (He et al., arXiv 1512.03385): CIFAR's and ResNet-50."""

import torch
from torch import nn
from torch.nn import functional


class CifarBlock(nn.Module):
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


class Bottleneck(nn.Module):
    """Three convolutions, the stride in the 3 x 3 one, and a projection where shapes change."""

    def __init__(self, source, width, stride):
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(source, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(
            nn.Conv2d(source, out, 1, stride, bias=False), nn.BatchNorm2d(out)
        ) if source != out or stride > 1 else nn.Identity()

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += self.downsample(x)
        return self.relu(y)


class ResNet(nn.Module):
    """A stem, stages of blocks, and a linear classifier of their mean."""

    def __init__(self, stem, stages, classes):
        """`stages` lists (block, its channels out, its other channels, count, first stride)."""
        super().__init__()
        source = stem[0].out_channels
        blocks = []
        for block, out, width, count, stride in stages:
            for index in range(count):
                blocks.append(block(source, width, stride if index == 0 else 1))
                source = out
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(source, classes)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))

    def head(self, x):
        return self.linear(x.mean((2, 3)))


def cifar_resnet(depth, classes):
    """Three stages of (depth - 2) / 6 blocks (section 4.2)."""
    stem = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
    )
    stages = [
        (CifarBlock, width, width, (depth - 2) // 6, 1 if width == 16 else 2)
        for width in (16, 32, 64)
    ]
    return ResNet(stem, stages, classes)


def resnet50(classes):
    """Four stages of bottlenecks (table 1)."""
    stem = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    )
    stages = [
        (Bottleneck, 4 * width, width, count, 1 if width == 64 else 2)
        for width, count in ((64, 3), (128, 4), (256, 6), (512, 3))
    ]
    return ResNet(stem, stages, classes)


def resnet(name, classes=10):
    """A network by secateur's name for it: "resnet50", or "resnet" and the depth of CIFAR's."""
    if name == "resnet50":
        return resnet50(classes)
    return cifar_resnet(int(name.removeprefix("resnet")), classes)


def pictures(images, side=32):
    return torch.randn(images, 3, side, side)


def labels(images, classes=10):
    return torch.arange(images) % classes
