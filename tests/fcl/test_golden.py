"""Golden trajectories: the first 20 losses of a few trainings, as they were when the published runs were made.

A change of code, or another machine, may move them by rounding alone. Adam turns the rounding of a gradient near zero
into a whole step, so the rate is low: with the published one, two threads instead of one change a loss by 1 %.
`python tests/test_golden.py` writes them anew: do that only together with new published runs.
"""

from pathlib import Path

import pandas as pd
import pytest

from fcl.config import Config
from fcl.simulator import simulate_stacks
from fcl.training import train

GOLDEN = Path(__file__).with_name("golden.csv")
STEPS, STACKS, PATCH = 20, 12, 32
SHARED = {"patch": PATCH, "train_stacks": STACKS, "batch": 32, "iterations": STEPS, "learning_rate": 1e-4}
CASES = {
    "afpe-D1-fcl": {"lambda_msd": 4, "lambda_kld": 4},
    "afpe-I1-kld": {"setting": "I1", "lambda_kld": 4},
    "afpe-D3-jsd": {"setting": "D3", "lambda_jsd": 32, "seed": 1},
    "l2a-D1-msd": {"model": "l2a", "lambda_msd": 6},
}


@pytest.fixture(scope="module")
def stacks():
    return simulate_stacks(STACKS, 1, PATCH)


def trajectory(case, stacks):
    """A row per step: ordinal and consistency loss, which joins after ten."""
    steps = train(Config(**SHARED | CASES[case]), stacks)
    return pd.DataFrame(
        [(case, step.iteration, step.ordinal, step.consistency) for step in steps],
        columns=["case", "iteration", "ordinal", "consistency"],
    )


@pytest.mark.parametrize("case", CASES)
def test_the_first_steps_are_the_golden_ones(case, stacks):
    golden = pd.read_csv(GOLDEN).query("case == @case").reset_index(drop=True)
    assert len(golden) == STEPS and (golden.consistency > 0).sum() == STEPS / 2
    found = trajectory(case, stacks)
    assert found.ordinal.to_list() == pytest.approx(golden.ordinal.to_list(), rel=1e-3)
    total = golden.ordinal + golden.consistency
    assert (found.ordinal + found.consistency).to_list() == pytest.approx(total.to_list(), rel=1e-3)
    # Disagreement is a difference of answers that are nearly equal, so rounding shows in it more than in the loss.
    assert found.consistency.to_list() == pytest.approx(golden.consistency.to_list(), rel=1e-2)


if __name__ == "__main__":
    made = simulate_stacks(STACKS, 1, PATCH)
    pd.concat([trajectory(case, made) for case in CASES]).to_csv(GOLDEN, index=False, float_format="%.7g")
