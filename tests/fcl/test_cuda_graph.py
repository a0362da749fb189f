"""Steps that a GPU replays, against the same steps asked for one operation at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import TINY, finish, random_stacks

from fcl import training
from fcl.cuda_graph import Replay

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_a_replay_computes_anew_and_draws_anew():
    weights = torch.rand(1000, device="cuda")
    replay = Replay(lambda values: torch.dropout(weights * values, 0.5, True), torch.zeros(1000, device="cuda"))
    torch.cuda.manual_seed(5)
    found = [replay(torch.full((1000,), value, device="cuda")).clone() for value in (2.0, 3.0)]
    torch.cuda.manual_seed(5)
    expected = [torch.dropout(weights * value, 0.5, True) for value in (2.0, 3.0)]
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert not torch.equal(found[0] == 0, found[1] == 0)


@pytest.mark.parametrize("changes", [{}, {"precision": "bfloat16"}, {"model": "l2a"}, {"setting": "I2", "batch": 12}])
def test_a_replayed_training_is_the_plain_one(changes, tmp_path, monkeypatch):
    config = replace(TINY, backbone="mobilenet_v2", patch=32, lambda_jsd=3.0, **changes)  # the loss joins half-way
    stacks, made = random_stacks(patch=32), []
    monkeypatch.setattr(training, "Replay", lambda *arguments: made.append(Replay(*arguments)) or made[-1])
    replayed = finish(config, stacks, checkpoint=tmp_path / "replayed", device="cuda")
    assert len(made) == 2
    monkeypatch.setattr(training._Run, "replay", lambda run, inputs: run.gradients)
    plain = finish(config, stacks, checkpoint=tmp_path / "plain", device="cuda")
    tolerance = 0.03 if "precision" in changes else 1e-3
    np.testing.assert_allclose(np.array(replayed), np.array(plain), rtol=tolerance)
    assert replayed[0].consistency == 0 < replayed[-1].consistency
    one, other = (training.load_model(tmp_path / name).state_dict() for name in ("replayed", "plain"))
    counts = [name for name in one if name.endswith("num_batches_tracked")]
    assert counts and all(one[name] == other[name] == config.iterations for name in counts)
