"""What a measurement is, and how two things are compared on a machine that does other work too.

Each candidate lives in a process of its own, they take turns, and what counts is the median of the core-seconds
they use, which other work disturbs least. Wall-clock seconds mean something on a quiet machine alone.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from typing import NamedTuple

import psutil
import torch


@dataclass(frozen=True)
class Measurement:
    """One line of the table: what was measured, how much, and the mark that it should reach (None: only
    reported), as a bound from above or, with `at_least`, from below.
    """

    what: str
    value: float
    unit: str
    mark: float | None = None
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether it is on the right side of its mark; true without one."""
        return self.mark is None or (self.value >= self.mark if self.at_least else self.value <= self.mark)

    def __str__(self) -> str:
        bound = f"{'at least' if self.at_least else 'at most'} {self.mark or 0:g}: {'reached' if self.reached else 'MISSED'}"
        return f"{self.what:66} {self.value:9.3g} {self.unit:15} {bound if self.mark is not None else ''}".rstrip()


class Cost(NamedTuple):
    """Seconds of one repetition."""

    core: float  # used by the process and its descendants
    wall: float


def core_seconds() -> float:
    """Processor time of this process and of its descendants that live."""
    children = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(spent.user + spent.system for spent in children)


def cost(work: Callable[[], object]) -> Cost:
    """What one call of `work` costs."""
    core, wall = core_seconds(), time.perf_counter()
    work()
    return Cost(core_seconds() - core, time.perf_counter() - wall)


def _prepare(make: Callable[[], Callable[[], object]]) -> None:
    global _work
    _work = make()
    _work()  # what is done only once isn't measured


def _repeat() -> Cost:
    return cost(_work)


def compare(candidates: Mapping[str, Callable[[], Callable[[], object]]], rounds: int = 5) -> dict[str, Cost]:
    """Median cost of each candidate's work. A candidate is called in its own process and returns the work."""
    context = get_context("spawn")
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(ProcessPoolExecutor(1, context, _prepare, (make,)))
            for name, make in candidates.items()
        }
        for pool in pools.values():  # one after the other: preparing is work too
            pool.submit(_repeat).result()
        costs: dict[str, list[Cost]] = {name: [] for name in pools}
        for _ in range(rounds):
            for name, pool in pools.items():
                costs[name].append(pool.submit(_repeat).result())
    return {name: Cost(*(statistics.median(column) for column in zip(*found))) for name, found in costs.items()}


def together(make: Callable[[], Callable[[], object]], processes: int, rounds: int = 5) -> float:
    """Median wall-clock seconds in which each of several processes does the work once, all at the same time."""
    context = get_context("spawn")
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, context, _prepare, (make,))) for _ in range(processes)]
        seconds = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            for future in [pool.submit(_repeat) for pool in pools]:
                future.result()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def limits(device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[float, float]:
    """What one core, or one GPU, really does at best: operations per second in a matrix product or a 3 x 3
    convolution, whichever is faster, and bytes per second (read and written) in a copy.
    """
    size, samples = (1024, 32) if device == "cpu" else (8192, 4096)
    matrix, block = torch.rand(size, size, device=device).to(dtype), torch.zeros(2**24, device=device)
    images = torch.rand(samples, 128, 16, 16, device=device).to(dtype).to(memory_format=torch.channels_last)
    filters = torch.rand(128, 128, 3, 3, device=device).to(dtype).to(memory_format=torch.channels_last)
    copy = torch.empty_like(block)
    convolved = 2 * images.numel() * filters[0].numel()
    return (
        max(
            2 * size**3 / _fastest(lambda: matrix @ matrix, device),
            convolved / _fastest(lambda: torch.conv2d(images, filters, padding=1), device),
        ),
        2 * block.numel() * block.element_size() / _fastest(lambda: copy.copy_(block), device),
    )


def _fastest(work: Callable[[], object], device: str) -> float:
    seconds = []
    for _ in range(20):
        began = clock(device)
        work()
        seconds.append(clock(device) - began)
    return min(seconds)


def clock(device: str) -> float:
    """Seconds: of this process on a CPU; on a GPU by the wall, when all that was asked of it is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def surroundings() -> str:
    """What else the machine is doing: one line to print above the table."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    quiet = "quiet" if load < 0.3 else "BUSY: rely on ratios of core-seconds, not on wall-clock times"
    return f"{cores} cores, load average {load:.1f} before the start ({quiet})"
