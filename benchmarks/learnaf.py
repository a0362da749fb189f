"""How fast random mini-batches of photographs are read, of the store or, where there is none, of made-up captures."""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.measure import Measurement
from companion.photographs.public import STORE, Choices
from companion.project import project_root
from fcl.crops import Crops
from fcl.learnaf.patches import store_stacks
from fcl.sampler import BatchSampler
from fcl.settings import N
from fcl.stacks import FocalStacks

SCENES, SLICES, BATCHES, ROUNDS = 32, 4, 40, 4
FRAME = (2016, 756)  # rows, columns of a raw image of the public data set
MARK = 5000  # slices per second, from memory


def made_up(folder: Path, captures: int = 2, frame: tuple[int, int] = FRAME, patch: int = 128) -> FocalStacks:
    """Stacks of captures of the real size, 300 MB each, that show noise."""
    rng, files = np.random.default_rng(0), []
    pair = rng.integers(64, 1023, (2, *frame), np.uint16)
    for number in range(captures):
        files.append(folder / f"frames{number}.npy")
        np.lib.format.open_memmap(files[-1], "w+", np.uint16, (N, *pair.shape))[:] = pair
    rows, columns = np.arange(0, 2 * frame[1] - patch + 1, 40), np.arange(0, frame[0] - patch + 1, 40)
    places = np.array([(capture, row, column) for capture in range(captures) for row in rows for column in columns])
    count = len(places)
    slices = Crops(files, places, patch, halved=True, transposed=True, mirrored=False)
    return FocalStacks(slices, np.zeros(count, int), np.zeros((count, 2), np.float32), np.full(count, "noise"))


def dropped(file: Path) -> bool:
    """Whether what the system had of a file in memory is gone now: not every system and disk can do that."""
    if not hasattr(os, "posix_fadvise") or not hasattr(os, "RWF_NOWAIT"):
        return False
    with open(file, "rb") as opened:
        number = opened.fileno()
        os.fsync(number)  # what isn't on the disk yet stays
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            os.preadv(number, [bytearray(1)], file.stat().st_size // 2, os.RWF_NOWAIT)
        except BlockingIOError:  # it would have to wait for the disk
            return True
        except OSError:
            return False
    return False


def rate(stacks: FocalStacks, batches: int) -> tuple[float, float]:
    """Slices per second, and per second of processor time, that the same random mini-batches read and normalise."""
    sampler = BatchSampler(len(stacks), SCENES, SLICES, N, np.random.default_rng(0))
    began, cpu = time.perf_counter(), time.process_time()
    for _, batch in zip(range(batches), sampler):
        stacks.observe(batch.scenes.repeat(SLICES), batch.starts.reshape(-1))
    slices = batches * SCENES * SLICES
    return slices / (time.perf_counter() - began), slices / (time.process_time() - cpu)


def measure(folder: Path) -> Iterator[Measurement]:
    """Whole section."""
    store = project_root() / STORE
    try:
        stacks, of = store_stacks(store, "train", **asdict(Choices.read(store))), "the store"
    except ValueError:  # there are no photographs here
        stacks, of = made_up(folder), "made-up captures"
    cold = all([dropped(file) for file in stacks.slices.files])  # all of them, whatever becomes of the first
    first, _ = rate(stacks, BATCHES)
    walls, processor = zip(*(rate(stacks, BATCHES) for _ in range(ROUNDS)))
    yield Measurement(f"photographs, slices of {of} from memory", max(processor), "per core-second", MARK, at_least=True)
    yield Measurement("  by the clock on the wall", max(walls), "per second")
    if cold:
        yield Measurement("  from the disk", first, "per second")
    else:
        yield Measurement("  from the disk: unknown, memory can't be emptied here", float("nan"), "per second")
