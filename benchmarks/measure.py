"""How a measurement is taken and printed.

Candidates are compared in turns, each in a process of its own, by the median of the core-seconds that they use: other work
on the machine disturbs those least.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import NamedTuple

import psutil
import torch
from torch.utils import benchmark

ROUNDS = 5
Work = Callable[[], object]


class Measurement(NamedTuple):
    """One line of the table: what was measured, how much, and the mark that it should reach, if there is one."""

    what: str
    value: float
    unit: str
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.what:66} {self.value:9.3g} {self.unit:15} {self.mark and f'(mark: {self.mark})'}".rstrip()


def compare(candidates: Mapping[str, Callable[[], Work]]) -> dict[str, float]:
    """Core-seconds of each candidate's work. A candidate is called in its own process and returns the work."""
    with _processes(list(candidates.values())) as pools:
        rounds = [[pool.submit(_cost).result() for pool in pools] for _ in range(ROUNDS)]
    return dict(zip(candidates, map(statistics.median, zip(*rounds))))


@contextmanager
def _processes(candidates: Sequence[Callable[[], Work]]) -> Iterator[list[ProcessPoolExecutor]]:
    """A process for each candidate, in which `_cost` does its work once more."""
    with ExitStack() as stack:
        pools = [ProcessPoolExecutor(1, get_context("spawn"), _prepare, (candidate,)) for candidate in candidates]
        for pool in pools:
            stack.enter_context(pool).submit(_cost).result()  # what is done only once isn't measured
        yield pools


def _prepare(candidate: Callable[[], Work]) -> None:
    global _work
    torch.set_num_threads(1)
    _work = candidate()


def _cost() -> float:
    began = core_seconds()
    _work()
    return core_seconds() - began


def core_seconds() -> float:
    """Processor time of this process and of its descendants that live."""
    children = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(spent.user + spent.system for spent in children)


def repeat(work: Work, device: str, seconds: float = 0.5) -> benchmark.Measurement:
    """The times of `work`, repeated for some seconds: processor time of one core, or wall time until a GPU is done."""
    clock = {"timer": time.process_time} if device == "cpu" else {}  # torch's own clock waits for the GPU
    return benchmark.Timer("work()", globals={"work": work}, **clock).blocked_autorange(min_run_time=seconds)
