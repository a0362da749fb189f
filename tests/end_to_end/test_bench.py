"""The benchmark measures what it says: its references do the same work, its sums count everything once."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from scipy.ndimage import convolve
from tiny import TINY, random_stacks

from benchmarks import batch, gpu, measure, simulator, training
from benchmarks.__main__ import main
from fcl.scenes import MARGIN


def test_plain_renderer_adds_up_filtered_layers():
    numbers = np.random.default_rng(0)
    layers = numbers.random((2, 8 + 2 * MARGIN, 12 + 2 * MARGIN), np.float32)
    kernels = [[numbers.random((2, size, size), np.float32) for size in sizes] for sizes in ((3, 41), (1, 7))]
    stack = simulator.render_stack(torch.from_numpy(layers), [[torch.from_numpy(k) for k in row] for row in kernels])
    assert stack.shape == (2, 2, 8, 12)
    for row, views in zip(kernels, stack):
        for view in (0, 1):
            # a network's convolution doesn't turn its kernel round
            full = sum(convolve(layer, kernel[view, ::-1, ::-1], mode="wrap") for layer, kernel in zip(layers, row))
            np.testing.assert_allclose(views[view], full[MARGIN:-MARGIN, MARGIN:-MARGIN], rtol=1e-4)


def test_plain_loop_learns():
    """Brightness tells the label, as in the test of training."""
    stacks = random_stacks(24, 16)
    stacks.labels[:] = np.repeat([8, 40], 12)
    stacks.slices[:12, ..., :8] //= 2
    stacks.slices[12:, ..., 8:] //= 2
    losses = training.plain_loop(replace(TINY, batch=32, width=0.5, learning_rate=1e-2), stacks, workers=0)
    curve = [next(losses) for _ in range(30)]
    assert curve[0] > 3.5 and curve[-1] < 2.5


def test_time_and_memory_of_descendants_count():
    code = "block = bytearray(10**8); block[::4096] = bytes([1]) * len(block[::4096]); print(flush=True)\nwhile True: pass"
    before, own = measure.core_seconds(), time.process_time()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            deadline = time.monotonic() + 30
            while measure.core_seconds() - before - (time.process_time() - own) < 0.2 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert measure.core_seconds() - before > 0.2
            assert batch.memory(psutil.Process()) > batch.memory(psutil.Process(child.pid)) + 10**7 > 1.1 * 10**8
        finally:
            child.kill()


def _busy():
    return lambda: sum(range(3 * 10**6))


def _idle():
    return lambda: time.sleep(0.2)


@pytest.mark.slow  # four processes that import torch
def test_candidates_are_compared_by_the_time_that_cores_work(monkeypatch):
    monkeypatch.setattr(measure, "ROUNDS", 1)
    costs = measure.compare(busy=_busy, idle=_idle)
    assert costs["busy"] > 5 * costs["idle"] > 0
    assert measure.gain_of_two(_idle) == pytest.approx(2, rel=0.2)  # who sleeps needs no core


def test_overhead_is_wall_time_over_time_spent_on_all_cores(tmp_path):
    stacks = tmp_path / "data/smoke/simulated/train/stacks.json"
    stacks.parent.mkdir(parents=True)
    stacks.touch()
    os.utime(stacks, (1000, 1000))
    for number, setting in enumerate(("D1", "I1")):
        folder = tmp_path / "runs/smoke/simulated" / setting
        folder.mkdir(parents=True)
        (folder / "group.json").write_text("{}")
        for run in ("baseline", "kld4"):
            (folder / f"{run}.json").write_text(json.dumps({"seconds": {"trunk": 10, "branch": 20, "predict": 5}}))
        (folder / "train.ipynb").touch()
        os.utime(folder / "train.ipynb", (1060 + number, 1060 + number))
    assert batch.overhead(tmp_path, "smoke") == pytest.approx(61 / ((10 + 2 * 25) * 2 / 2))


def test_a_trunk_counts_once_in_the_projection():
    counts = gpu.iterations("paper")
    at_f4 = 5 + 48  # Table A's methods, and Table B's cells but the baseline, which C shares
    assert counts["D1"] == 30_000 * (1 + at_f4) + 30_000 * (2 + 3 + 3)  # of Table C: F = 1, 2 and 8
    assert counts["I5"] == 30_000 * (1 + 5)


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["--gpu"])
    assert "no GPU" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    "section, lines", [(simulator.section, 3), (training.section, 8), (training.stem_section, 1), (gpu.section, 7)]
)
def test_each_section_runs(section, lines, tmp_path, monkeypatch):
    """In this process, with the smallest sizes: that it runs, not how fast."""

    def once(make):
        began = time.perf_counter()
        make()()
        return time.perf_counter() - began

    monkeypatch.setattr(measure, "compare", lambda **makers: {name: once(make) for name, make in makers.items()})
    monkeypatch.setattr(measure, "gain_of_two", once)
    for module, name, value in (
        *((simulator, "PATCH", 16), (simulator, "COUNT", 1), (training, "STACKS", 32), (training, "STEPS", 1)),
        *((gpu, "STACKS", 8), (gpu, "STEPS", 1), (gpu, "SECONDS", 0.0)),
    ):
        monkeypatch.setattr(module, name, value)
    small = {"profile": "smoke", "device": "cpu"} if section is gpu.section else {}
    printed = list(section(tmp_path, **small))
    assert len(printed) == lines and not any("nan" in line or " 0 " in line for line in printed)
