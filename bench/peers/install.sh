#!/bin/sh
# Installs PyTorch for the comparisons of `deno task bench`, and Torch-Pruning and torchvision for
# those of bench/experiments/peer_plan.ts, into an environment of its own.
#
#     install.sh FOLDER
#
# pip's own settings choose where packages come from; PyTorch's CPU wheels are a tenth of the size
# of the default ones and do as well (PIP_INDEX_URL).
set -eu

folder=$1
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null; then
  echo "Comparing with PyTorch needs Python 3.10 or later, but there is no $python; install it," \
    "or name one with PYTHON." >&2
  exit 1
fi
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --disable-pip-version-check \
  "torch==2.13.0" "torchvision==0.28.0" "torch-pruning==1.6.1" "numpy>=2,<3" "pillow>=12,<14"
"$folder/bin/python" "$(dirname "$0")/versions.py"
