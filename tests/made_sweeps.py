"""Folders of images as a person's own sweep may be, for tests of what reads them."""

import json

import numpy as np
from PIL import Image

from fcl.optics import FOCUS_DISTANCES_MM

DISTANCES = FOCUS_DISTANCES_MM.tolist()


def sweep(folder, images, names="slice_{:02}.png", **about):
    folder.mkdir(exist_ok=True, parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / names.format(number))
    if about:
        (folder / "stack.json").write_text(json.dumps(about))
    return folder


def pictures(count=49, size=(80, 100), dtype=np.uint16, top=900, seed=0):
    return np.random.default_rng(seed).integers(0, top, (count, *size)).astype(dtype)
