"""A miniature of the public data set in its real layout and file formats, written by the tests themselves."""

import io
import tarfile
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import Image
from scipy import ndimage

SIZE = (256, 96)  # rows, columns of a raw image; the real ones have 2016 x 756
VIEW = "center"


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", compress_level=1)
    return file.getvalue()


def exr(path: Path, **channels: np.ndarray) -> None:
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {name: array.copy() for name, array in channels.items()}) as file:
        file.write(str(path))


def texture(size=SIZE, seed=0):
    """Counts of a smooth random pattern between 100 and 1000, most of them above what 8 bits hold."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 1.5)
    return (550 + 450 * np.tanh(noise / noise.std())).round().astype(np.uint16)


def frames(size=SIZE, seed=0, shift=3, axis=0):
    """index -> (left, right) at the far end, the middle and the near end: the left image moves from +shift to -shift."""
    base = texture(size, seed)
    by = {0: shift, 24: 0, 48: -shift}
    return {index: (np.roll(base, by[index], axis), base) for index in by}


def write_capture(
    folder: Path,
    name: str,
    size=SIZE,
    seed=0,
    shift=3,
    axis=0,
    depth=None,
    confidence=None,
    pictures=None,
    kinds=("raw", "pd"),
) -> None:
    """One capture below `folder` (a train or test folder). The slices 1 .. 23 are as 0, 25 .. 47 as 24."""
    pictures = pictures or frames(size, seed, shift, axis)
    encoded = {index: [png(view) for view in views] for index, views in pictures.items()}
    for index in range(49):
        for side, data in zip(("left", "right"), encoded[max(known for known in encoded if known <= index)]):
            path = folder / f"{kinds[0]}_{side}_pd" / name / str(index) / f"result_{kinds[1]}_{side}_{VIEW}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    quarter = (size[0] // 4, size[1] // (4 if kinds[0] == "raw_up" else 2))
    maps = {
        "depth": np.full(quarter, 128, np.uint8) if depth is None else depth,
        "conf": np.ones(quarter, np.float32) if confidence is None else confidence,
    }
    for kind in maps:
        (folder / f"merged_{kind}" / name).mkdir(parents=True)
    (folder / f"merged_depth/{name}/result_merged_depth_{VIEW}.png").write_bytes(png(maps["depth"]))
    exr(folder / f"merged_conf/{name}/result_merged_conf_{VIEW}.exr", Y=maps["conf"])


def depth_map():
    """Far in the upper part of the file, near in the lower one."""
    return np.repeat(np.linspace(250, 20, SIZE[0] // 4), SIZE[1] // 2).reshape(SIZE[0] // 4, -1).astype(np.uint8)


def confidence_map():
    """Trusted but for the lower half of the file."""
    trusted = np.ones((SIZE[0] // 4, SIZE[1] // 2), np.float32)
    trusted[-SIZE[0] // 8 :] = 0.3
    return trusted


def pack(miniature, folder, reverse=False):
    folder.mkdir()
    for top in ("train1", "test"):
        paths = sorted((path for path in (miniature / top).rglob("*") if path.is_file()), reverse=reverse)
        with tarfile.open(folder / f"{top}.tar.gz", "w:gz", compresslevel=1) as tar:
            for path in paths:
                tar.add(path, path.relative_to(miniature))
    return folder
