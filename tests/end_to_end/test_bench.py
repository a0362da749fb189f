"""The benchmark measures what it says: its references do the same work, its marks point the right way."""

import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from tiny import TINY, random_stacks

from benchmarks import batch, gpu, learnaf, plain
from benchmarks.__main__ import main
from benchmarks.measure import Measurement, compare


def test_marks_point_the_right_way():
    for value, at_least, reached in ((2, False, True), (4, False, False), (2, True, False), (4, True, True)):
        line = Measurement("what", value, "x", 3, at_least)
        assert line.reached is reached and ("MISSED" in str(line)) is not reached
    assert Measurement("what", 5, "x").reached and "reached" not in str(Measurement("what", 5, "x"))


def test_plain_renderer_adds_up_filtered_layers():
    numbers = np.random.default_rng(0)
    layers = numbers.random((2, 20, 20), np.float32)
    kernels = [[numbers.random((2, size, size), np.float32) for size in sizes] for sizes in ((3, 5), (1, 7))]
    found = plain.render_stack(torch.from_numpy(layers), [[torch.from_numpy(k) for k in row] for row in kernels], 8)
    assert found.shape == (2, 2, 8, 8)
    for row, stack in zip(kernels, found):
        for view in (0, 1):
            # a network's convolution doesn't turn its kernel round
            full = sum(convolve(layer, kernel[view, ::-1, ::-1]) for layer, kernel in zip(layers, row))
            np.testing.assert_allclose(stack[view], full[6:14, 6:14], rtol=1e-5)


def test_plain_loop_learns():
    """Brightness tells the label, as in the test of training."""
    stacks = random_stacks(24, 16)
    stacks.labels[:] = np.repeat([8, 40], 12)
    stacks.slices[:12, ..., :8] //= 2
    stacks.slices[12:, ..., 8:] //= 2
    config = replace(TINY, train_stacks=24, batch=32, width=0.5, learning_rate=1e-2)
    losses = plain.train(config, stacks, workers=0)
    curve = [next(losses) for _ in range(30)]
    assert curve[0] > 3.5 and curve[-1] < 2.5


def _idle(loops):
    return lambda: sum(range(loops))


def test_candidates_are_compared_by_the_time_they_need():
    costs = compare({"short": partial(_idle, 10**6), "long": partial(_idle, 10**7)}, rounds=1)
    assert costs["long"].core > 3 * costs["short"].core


def test_efficiency_is_wall_time_over_time_spent_on_all_cores(tmp_path):
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
    assert batch.efficiency(tmp_path, "smoke", 2) == pytest.approx(61 / ((10 + 2 * 25) * 2 / 2))
    with pytest.raises(ValueError, match="no finished runs"):
        batch.efficiency(tmp_path, "laptop", 2)


def test_photographs_are_counted_by_the_slice(tmp_path, monkeypatch):
    stacks, now, seen = learnaf.made_up(tmp_path, 1, (256, 96)), [0.0], []

    def observe(scenes, starts):
        seen.append((len(scenes), len(starts)))
        now[0] += 0.25

    monkeypatch.setattr(stacks, "observe", observe)
    monkeypatch.setattr(learnaf, "SCENES", 4)
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(learnaf.time, clock, lambda: now[0])
    assert learnaf.rate(stacks, 3) == (16 / 0.25, 16 / 0.25) and seen == [(16, 16)] * 3


@pytest.mark.parametrize("drops, slow", [(True, False), (False, False), (False, True)])
def test_the_mark_of_photographs_can_be_missed(tmp_path, monkeypatch, drops, slow):
    monkeypatch.setattr(learnaf, "project_root", lambda: tmp_path / "nowhere")
    monkeypatch.setattr(learnaf, "dropped", lambda file: drops)
    monkeypatch.setattr(learnaf, "made_up", partial(learnaf.made_up, captures=1, frame=(768, 128)))
    monkeypatch.setattr(learnaf, "BATCHES", 1)
    monkeypatch.setattr(learnaf, "ROUNDS", 2)
    read = learnaf.Crops.__getitem__

    def slowly(self, index):
        for _ in range(20 if slow else 1):
            found = read(self, index)
        return found

    monkeypatch.setattr(learnaf.Crops, "__getitem__", slowly)
    fast, wall, cold = learnaf.measure(tmp_path)
    assert "made-up captures" in fast.what and fast.mark == 5000 and fast.at_least and fast.value > 0 < wall.value
    assert not (slow and fast.reached)
    assert (cold.value > 0) is drops and ("unknown" in cold.what) is not drops


def test_memory_that_cannot_be_emptied_is_not_called_empty(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(2**20))
    monkeypatch.setattr(os, "posix_fadvise", lambda *arguments: None, raising=False)
    assert not learnaf.dropped(tmp_path / "file")
    monkeypatch.delattr(os, "posix_fadvise")
    assert not learnaf.dropped(tmp_path / "file")


def test_a_trunk_counts_once_in_the_projection():
    counts = gpu.iterations("paper", "afpe")
    at_f4 = 5 + 48  # Table A's methods, and Table B's cells but the baseline, which C shares
    assert counts["D1"] == 30_000 * (1 + at_f4) + 30_000 * (2 + 3 + 3)  # of Table C: F = 1, 2 and 8
    assert counts["I5"] == 30_000 * (1 + 5)


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["--gpu"])
    assert "no GPU" in capsys.readouterr().err


@pytest.mark.slow
def test_the_gpu_section_runs(tmp_path, monkeypatch):
    """On the CPU, with the smallest sizes: that it runs, not how fast."""
    monkeypatch.setattr(gpu, "ROUNDS", 1)
    lines = list(gpu.measure(tmp_path, "smoke", "cpu", 1))
    assert len(lines) == 10 and all(line.value > 0 for line in lines if not line.what.startswith("L2A"))
