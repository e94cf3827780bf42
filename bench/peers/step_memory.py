"""Prints the peak resident size of three training steps, less that with pictures and weights.

    python step_memory.py NETWORK IMAGES THREADS DTYPE
"""

import json
import sys

import torch
from resnet import labels, pictures, resnet
from torch.nn import functional


def kernel_figure(name):
    """A figure of the kernel's about this process, in bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) * 1024


network = sys.argv[1]
images, threads = map(int, sys.argv[2:4])
torch.set_num_threads(threads)
model = resnet(network).train().to(memory_format=torch.channels_last)
x = pictures(images).contiguous(memory_format=torch.channels_last)
y = labels(images)
optimizer = torch.optim.SGD(
    model.parameters(), 1e-4, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
)
before = kernel_figure("VmRSS")
for _ in range(3):
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=sys.argv[4] == "bf16"):
        loss = functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
print(json.dumps({"bytes": kernel_figure("VmHWM") - before}), flush=True)
