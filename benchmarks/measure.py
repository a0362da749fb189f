"""Times taken in turns, each candidate in a process of its own: medians of core-seconds, which other work disturbs least."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context

import psutil
import torch

ROUNDS = 5
Work = Callable[[], object]


def line(what: str, value: float, unit: str, mark: str = "") -> str:
    """One measurement as it is printed, with the mark that it should reach."""
    return f"{what:66} {value:9.3g} {unit:15} {mark}".rstrip()


class Worker(ProcessPoolExecutor):
    """A process with one thread that calls `make` once and does the work that it returned whenever `_cost` is submitted."""

    def __init__(self, make: Callable[[], Work]):
        super().__init__(1, get_context("spawn"), _prepare, (make,))
        self.submit(_cost).result()  # what is done only once isn't measured


def _prepare(make: Callable[[], Work]) -> None:
    global _work
    torch.set_num_threads(1)
    _work = make()


def _cost() -> float:
    began = core_seconds()
    _work()
    return core_seconds() - began


def compare(**makers: Callable[[], Work]) -> dict[str, float]:
    """Core-seconds of the work of each."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(make)) for make in makers.values()]
        rounds = [[worker.submit(_cost).result() for worker in workers] for _ in range(ROUNDS)]
    return dict(zip(makers, map(statistics.median, zip(*rounds))))


def gain_of_two(make: Callable[[], Work]) -> float:
    """How much more two processes do than one in the same time by the clock on the wall."""

    def wall(*workers: Worker) -> float:
        began = time.perf_counter()
        for future in [worker.submit(_cost) for worker in workers]:
            future.result()
        return time.perf_counter() - began

    with Worker(make) as one, Worker(make) as other:
        return statistics.median(2 * wall(one) / wall(one, other) for _ in range(ROUNDS))


def core_seconds() -> float:
    """Processor time of this process and of its descendants that live."""
    children = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(spent.user + spent.system for spent in children)
