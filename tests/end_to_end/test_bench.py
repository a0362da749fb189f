"""The benchmark measures what it says: its references do the same work, its sums count everything once."""

import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tiny import TINY, random_stacks

from benchmarks import batch, gpu, plain
from benchmarks.__main__ import main
from benchmarks.measure import Measurement, compare


def test_a_line_tells_its_mark():
    assert str(Measurement("what", 2.0, "x", "at least 3")).endswith("2 x               (mark: at least 3)")
    assert "mark" not in str(Measurement("what", 2.0, "x"))


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
    costs = compare({"short": partial(_idle, 10**6), "long": partial(_idle, 10**7)})
    assert costs["long"] > 3 * costs["short"]


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
    with pytest.raises(ValueError, match="no finished runs"):
        batch.overhead(tmp_path, "laptop")


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


@pytest.mark.slow
def test_the_gpu_section_runs(tmp_path, monkeypatch):
    """On the CPU, with the smallest sizes: that it runs, not how fast."""
    monkeypatch.setattr(gpu, "SECONDS", 0.1)
    monkeypatch.setattr(gpu, "STACKS", 16)
    lines = list(gpu.section(tmp_path, "smoke", "cpu"))
    assert len(lines) == 6 and all(line.value > 0 for line in lines)
