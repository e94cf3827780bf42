"""Images a second from a folder of JPEG files to augmented batches: DataLoader and Pillow."""

import pathlib
import random
import time

import numpy
import torch
from contest import Contestant
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

PAD = 4


class Pictures(Dataset):
    """train/<class>/*.jpg, shifted by up to four pixels and mirrored."""

    def __init__(self, folder, mean, std):
        classes = sorted(path for path in pathlib.Path(folder).iterdir() if path.is_dir())
        self.files = [
            (str(file), label) for label, path in enumerate(classes)
            for file in sorted(path.glob("*.jpg"))
        ]
        self.mean = torch.tensor(mean).view(3, 1, 1)
        self.std = torch.tensor(std).view(3, 1, 1)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        file, label = self.files[index]
        with Image.open(file) as image:
            pixels = numpy.array(image.convert("RGB"))
        x = torch.from_numpy(pixels).permute(2, 0, 1)
        height, width = x.shape[1:]
        x = functional.pad(x, (PAD, PAD, PAD, PAD))
        top, left = random.randint(0, 2 * PAD), random.randint(0, 2 * PAD)
        x = x[:, top: top + height, left: left + width]
        if random.random() < 0.5:
            x = x.flip(2)
        return (x.float() / 255 - self.mean) / self.std, label


def contestant(parameters):
    pictures = Pictures(parameters["folder"], parameters["mean"], parameters["std"])
    workers = parameters["workers"]
    loader = DataLoader(
        pictures, parameters["batch"], shuffle=True, num_workers=workers, persistent_workers=True
    )

    def measure():
        started = time.perf_counter()
        count = sum(len(labels) for _, labels in loader)
        return count / (time.perf_counter() - started)

    return Contestant(f"{workers} workers that persist", measure)
