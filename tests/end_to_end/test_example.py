"""The example in small: what a stranger opens first runs, and compares what it says it compares."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_with_fcl.py"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    import train_with_fcl

    return train_with_fcl


def small(example, **options):
    return replace(
        example.CONFIG, width=0.25, patch=16, train_stacks=8, batch=16, iterations=8, learning_rate=0.02, **options
    )


def test_the_example_is_short_and_needs_fcl_alone():
    assert len(EXAMPLE.read_text().splitlines()) <= 60
    code = f"import sys, runpy; runpy.run_path({str(EXAMPLE)!r}); print({{'companion', 'pandas'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_both_trainings_share_a_trunk_and_only_the_loss_tells_them_apart(example, capsys):
    scores = example.compare(small(example, lambda_msd=100), test_stacks=4)
    printed = capsys.readouterr().out
    for name, score in scores.items():
        assert f"{name} FCL: MAE {score['mae']:.2f}, MSD* {score['msd_star']:.2f}, TV {score['tv']:.2f}" in printed
    assert scores["with"] != scores["without"]
    same = example.compare(small(example, lambda_msd=0, lambda_kld=0), test_stacks=4)
    assert same["with"] == same["without"] == scores["without"]


def test_what_it_printed_belongs_to_its_sizes(example):
    printed = (EXAMPLE.parent / "README.md").read_text()
    assert f"Simulating {example.CONFIG.train_stacks} focal stacks" in printed
    assert f"{example.CONFIG.iterations} iterations" in printed and "seed 0" in printed
