"""Trains until the first step is done, then says so: the same as bench/children/first_step.ts.

    python first_step.py FOLDER NETWORK IMAGES THREADS

Pictures come from one file of tensors, written by the first run.
"""

import os
import pathlib
import sys

import torch
from resnet import resnet
from torch.nn import functional

folder, network = sys.argv[1:3]
images, threads = map(int, sys.argv[3:5])
torch.set_num_threads(threads)
cached = pathlib.Path(os.environ["XDG_CACHE_HOME"]) / f"{pathlib.Path(folder).name}.pt"
if cached.exists():
    pixels, labels = torch.load(cached, mmap=True)
else:
    from data import Pictures

    pictures = Pictures(pathlib.Path(folder) / "train", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x, y = zip(*pictures)
    pixels, labels = torch.stack(x), torch.tensor(y)
    cached.parent.mkdir(parents=True, exist_ok=True)
    torch.save((pixels, labels), cached)

model = resnet(network).train().to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(
    model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
)
batch = torch.randperm(len(labels))[:images]
x = pixels[batch].contiguous(memory_format=torch.channels_last)
loss = functional.cross_entropy(model(x), labels[batch])
loss.backward()
optimizer.step()
print("the first step is done", flush=True)
