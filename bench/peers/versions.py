"""Prints the versions of what the peers use, as JSON; fails where something is missing."""

import json
import platform

import numpy
import PIL
import torch

print(json.dumps({
    "python": platform.python_version(),
    "torch": torch.__version__,
    "numpy": numpy.__version__,
    "pillow": PIL.__version__,
}))
