"""Prints the versions of what the peers use, as JSON; fails where something is missing."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version

import numpy
import PIL
import torch

versions = {
    "python": platform.python_version(),
    "torch": torch.__version__,
    "numpy": numpy.__version__,
    "pillow": PIL.__version__,
}
# The comparisons of speed do without these.
for package in ("torchvision", "torch-pruning"):
    try:
        versions[package] = version(package)
    except PackageNotFoundError:
        pass
print(json.dumps(versions))
