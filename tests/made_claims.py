"""Claims and the stored runs that they are about, with known effects: for tests of arms and verdicts."""

import fake
import numpy as np
import yaml
from tiny import use_project

from companion.claims import verdicts
from companion.claims.effects import Printed, Stored
from companion.claims.registry import load_claims
from companion.profiles import profile_config
from companion.runs import writing
from companion.weights import parse_weights

LABELS = np.arange(15, 33)  # 18 stacks, far enough from both ends for every error below
STACKS = len(LABELS)
BASE = {
    "id": "one",
    "seeds": 3,
    "where": "here",
    "claim": "something",
    "treatment": {"method": "fcl"},
    "control": {"method": "baseline"},
    "settings": ["D1"],
    "tests": {"msd_star": ["lower", "visible"]},
}


def project(tmp_path, monkeypatch):
    """results/laptop/simulated of a project with made-up weights; what is written there is confirmatory."""
    experiments = tmp_path / "experiments"
    experiments.mkdir()
    for name in ("profiles.yml", "claims.yml", "paper.yml"):
        (experiments / name).write_text((fake.ROOT / "experiments" / name).read_text(encoding="utf-8"), encoding="utf-8")
    chosen = {setting: fake.WEIGHTS for setting in ("D1", "D3", "I1")}
    (experiments / "weights.yml").write_text(yaml.safe_dump({"laptop": {"afpe": chosen}}))
    use_project(tmp_path, monkeypatch)
    monkeypatch.setattr(
        writing,
        "provenance",
        lambda **machine: {
            "code": {"commit": "abc", "clean": True},
            "versions": {},
            "machine": {},
            "peak_memory_mb": 1,
            "finished": "",
        },
    )
    monkeypatch.setattr(verdicts, "standing", lambda claim, record, ledger: verdicts.CONFIRMATORY)
    path = tmp_path / "results" / "laptop" / "simulated"
    path.mkdir(parents=True)
    about = {"labels": LABELS, "categories": np.array(["plain", "near"] * (STACKS // 2)), "digest": np.asarray("made up")}
    np.savez(path / "test.npz", positions=np.zeros((STACKS, 2)), **about)
    return path


def swinging(far, starts=49, step=4):
    """Predictions off by +step and -step in turn, one more in the first `far` stacks: MSD* and MAE are step + far / 18."""
    size = step + (np.arange(STACKS) < far)
    return (LABELS[:, None] + size[:, None] * np.where(np.arange(starts) % 2, 1, -1)).astype(np.uint8)


def write(folder, weights, seed, far, setting="D1", step=4, **fields):
    config = profile_config("laptop", setting=setting, seed=seed, **parse_weights(weights).lambdas, **fields)
    return fake.write_run(folder, config, swinging(far, 50 - int(setting[1]), step))


def write_seeds(folder, treatment=(0, 1, 2), control=(9, 9, 9)):
    for seed, (ours, theirs) in enumerate(zip(treatment, control)):
        write(folder, "msd4+kld4", seed, ours)
        write(folder, "baseline", seed, theirs)


def judge(folder, *changes):
    """The verdicts on claims like BASE, each with some changes."""
    path = folder.parents[2] / "experiments" / "mine.yml"
    entries = [BASE | {"id": f"c{number}"} | change for number, change in enumerate(changes)]
    path.write_text(yaml.safe_dump({"claims": entries}))
    return verdicts.judge_all(load_claims(path), {"laptop": Stored(folder)}, Printed(), path)
