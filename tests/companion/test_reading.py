"""Reading results: the table, and what is refused."""

import hashlib
import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from tiny import STACKS, damaged, make_project, random_stacks, store

from companion.profiles import profile_config
from companion.runs import reading
from companion.runs.publish import publish
from companion.runs.reading import (
    ResultsError,
    is_finished,
    load_predictions,
    load_run,
    read_results,
    run_records,
    test_labels,
)
from companion.runs.writing import open_group
from fcl import metrics


@pytest.fixture
def root(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


def test_results_are_a_tidy_table_with_metrics_from_predictions(root):
    config = profile_config("laptop")
    paths = [
        store(replace(config, **changes))
        for changes in (
            {},
            {"seed": 1, "lambda_msd": 4.0, "lambda_kld": 0.857},
            {"setting": "D2"},
            {"setting": "D*", "focal_indices": 1},
            {"pairing": "shuffled"},
        )
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_results(root / "runs/laptop/simulated").set_index("path")
    assert len(table) == 5 and list(table.reset_index().columns[:3]) == ["path", "profile", "data"]
    row = table.loc[str(paths[1])]
    assert (row.model, row.setting, row.views, row.frames, row.F, row.seed) == ("afpe", "D1", "D", 1, 4, 1)
    assert (row.weights, row.lambda_msd, row.lambda_kld, row.lambda_jsd) == ("msd4+kld0.857", 4.0, 0.857, 0.0)
    stored = load_predictions(paths[1].with_suffix(".npz"))
    for name, value in metrics.evaluate(stored["argmax"], STACKS.labels).items():
        assert row[name] == value
    assert row.mean_entropy == pytest.approx(stored["entropy"].astype(float).mean())
    several = load_predictions(paths[2].with_suffix(".npz"))
    assert table.loc[str(paths[2])].mean_entropy == pytest.approx(several["mean_entropy"].astype(float).mean())
    whole = table.loc[str(paths[3])]
    assert (whole.setting, whole.frames) == ("D*", 49) and np.isnan(whole.msd_star) and whole.mae > 0
    only = read_results(root / "runs/laptop/simulated", expected=["afpe-D1-F4-seed0/baseline"])
    assert only.path.tolist() == [str(paths[0])]


def test_labels_are_those_of_the_stacks(root):
    store(profile_config("laptop"))
    store(profile_config("laptop"), split="validation", stacks=random_stacks(6, seed=9))
    labels, categories, positions = test_labels(root / "runs/laptop/simulated")
    assert np.array_equal(labels, STACKS.labels) and np.array_equal(categories, STACKS.categories)
    assert np.array_equal(positions, STACKS.positions)
    assert not np.array_equal(test_labels(root / "runs/laptop/simulated-validation")[0], labels)
    assert len(read_results(root / "runs/laptop/simulated-validation")) == 1


def rewrite(path, **changes):
    """Edit a record, or the arrays of a predictions file and what its record says of that file."""
    if path.suffix == ".json":
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    else:
        with np.load(path) as file:
            arrays = dict(file) | changes
        np.savez(path, **{name: values for name, values in arrays.items() if values is not None})
        rewrite(path.with_suffix(".json"), files={".npz": hashlib.sha256(path.read_bytes()).hexdigest()})


def spoil_config(path, **changes):
    rewrite(path, config=json.loads(path.read_text())["config"] | changes)


FULL = np.zeros((6, 49))
SPOILERS = {
    "record missing": (lambda path: path.unlink(), "baseline.json is missing"),
    "predictions missing": (lambda path: path.with_suffix(".npz").unlink(), "baseline.npz is missing"),
    "record half-written": (lambda path: path.write_text(path.read_text()[:200]), "baseline.json is damaged"),
    "record empty": (lambda path: path.write_text(""), "baseline.json is damaged"),
    "predictions half-written": (
        lambda path: path.with_suffix(".npz").write_bytes(path.with_suffix(".npz").read_bytes()[:300]),
        "baseline.npz is damaged, .* another file than its record says",
    ),
    "predictions empty": (
        lambda path: path.with_suffix(".npz").write_bytes(b""),
        "baseline.npz is damaged, .* another file than its record says",
    ),
    "pickled array": (
        lambda path: rewrite(path.with_suffix(".npz"), argmax=np.array([{}])),
        "baseline.npz is damaged.*pickle",
    ),
    "record of nothing": (lambda path: path.write_text("[]"), "no record of this run"),
    "a key too many": (lambda path: rewrite(path, note="x"), "no record of this run .it should hold"),
    "other array": (lambda path: rewrite(path.with_suffix(".npz"), logits=FULL), "holds argmax, entropy, expected, logits"),
    "array gone": (lambda path: rewrite(path.with_suffix(".npz"), expected=None), "instead of argmax, mean_entropy"),
    "other type": (
        lambda path: rewrite(path.with_suffix(".npz"), argmax=FULL.astype(np.int64)),
        "argmax is int64 .*, not uint8",
    ),
    "other shape": (
        lambda path: rewrite(path.with_suffix(".npz"), entropy=FULL[:, 1:].astype(np.float16)),
        r"entropy is float16 \(6, 48\), not float16 \(6, 49\)",
    ),
    "NaN": (
        lambda path: rewrite(path.with_suffix(".npz"), entropy=np.full((6, 49), np.nan, np.float16)),
        "entropy holds NaN",
    ),
    "index 49": (
        lambda path: rewrite(path.with_suffix(".npz"), argmax=np.full((6, 49), 49, np.uint8)),
        "argmax holds .* outside 0..48",
    ),
    "copied run": (
        lambda path: [shutil.copy(path.with_suffix(kind), path.with_name(f"msd4{kind}")) for kind in (".json", ".npz")],
        "msd4.json .* copied or renamed: it says that it is afpe-D1-F4-seed0/baseline",
    ),
    "copied group": (
        lambda path: shutil.copytree(path.parent, path.parents[1] / "copy"),
        "copy/baseline.json .*was copied or renamed",
    ),
    "wrong weights": (lambda path: spoil_config(path, lambda_msd=4.0), "it is the run afpe-D1-F4-seed0/msd4 "),
    "other setting": (lambda path: spoil_config(path, setting="D2"), "by its config, it is the run afpe-D2-F4-seed0/base"),
    "other seed": (lambda path: spoil_config(path, seed=7), "it is the run afpe-D1-F4-seed7/baseline "),
    "other length": (lambda path: spoil_config(path, iterations=1200), "seed0-iterations1200/baseline "),
    "other data": (lambda path: rewrite(path, data="learnaf"), "baseline on simulated stacks"),
    "no config": (lambda path: rewrite(path, config={"setting": "D9"}), "no record of this run .setting must be"),
    "unknown profile": (lambda path: rewrite(path, profile="desk"), "no record of this run .profile must be"),
    "other stacks": (
        lambda path: rewrite(path, stacks={"digest": "x", "seed": 7}),
        "scored on other stacks than .*test.npz",
    ),
    "code unknown": (lambda path: rewrite(path, code={}), "its code should hold clean, commit"),
    "seconds NaN": (lambda path: rewrite(path, seconds={"trunk": 1, "branch": np.nan}), "no finite number of .* branch"),
    "index below 0": (
        lambda path: rewrite(path.with_suffix(".npz"), expected=np.full((6, 49), -5, np.float16)),
        "expected holds .* outside 0..48",
    ),
    "labels missing": (lambda path: (path.parents[1] / "test.npz").unlink(), "test.npz is missing"),
    "labels half-written": (lambda path: (path.parents[1] / "test.npz").write_bytes(b"PK"), "test.npz is damaged"),
}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_spoilt_results_are_refused_by_name(root, spoiler):
    spoil, message = SPOILERS[spoiler]
    path = store(profile_config("laptop"))
    assert len(read_results(root / "runs/laptop/simulated")) == 1
    spoil(path)
    with pytest.raises(ResultsError, match=message) as caught:
        read_results(root / "runs/laptop/simulated")
    assert "make figures PROFILE=laptop" in str(caught.value) and str(root) in str(caught.value)


def test_no_runs_expected_runs_and_runs_under_two_names_are_refused(root):
    path = store(profile_config("laptop"))
    folder = path.parents[1]
    with pytest.raises(ResultsError, match="afpe-D1-F4-seed1/baseline.json is missing.*make figures PROFILE=laptop"):
        read_results(folder, expected=["afpe-D1-F4-seed0/baseline", "afpe-D1-F4-seed1/baseline"])
    for name, command in (
        ("learnaf", "make figures PROFILE=laptop DATA=learnaf SEEDS=3"),
        ("simulated-validation", "make weights PROFILE=laptop`"),
    ):
        with pytest.raises(ResultsError, match=command):
            load_predictions(root / "runs/laptop" / name / "afpe-D1-F4-seed3/baseline.npz")
    with pytest.raises(ResultsError, match="no runs in .*make figures PROFILE=laptop"):
        read_results(folder, expected=[])
    twin = shutil.copytree(path.parent, folder / "twin")
    rewrite(twin / "baseline.json", run="twin/baseline")
    with pytest.raises(
        ResultsError, match="twin/baseline.json .*contradicts itself: .* it is the run afpe-D1-F4-seed0/base"
    ):
        read_results(folder)


def test_what_lies_beside_finished_runs_is_no_run(root):
    path = store(profile_config("laptop"))
    open_group("laptop", profile_config("laptop", seed=5), "digest")  # begun, nothing finished
    shutil.copytree(path.parent, path.parents[1] / ".stale" / "afpe-D1-F4-seed0-1")
    (path.parent / ".kld4.json.123").write_text("{")  # a write that was killed
    assert len(read_results(path.parents[1])) == 1


def test_finished_means_complete_same_config_same_stacks(root):
    config = profile_config("laptop")
    path = store(config)
    assert is_finished(path.parent, "baseline", config, STACKS.digest)
    assert not is_finished(path.parent, "baseline", replace(config, learning_rate=1e-3), STACKS.digest)
    assert not is_finished(path.parent, "baseline", config, "other stacks")
    assert not is_finished(path.parent, "msd4", config, STACKS.digest)
    (path.parents[1] / "test.npz").rename(path.parents[1] / "aside")
    assert not is_finished(path.parent, "baseline", config, STACKS.digest)
    (path.parents[1] / "aside").rename(path.parents[1] / "test.npz")
    for suffix in (".npz", ".csv"):
        content = path.with_suffix(suffix).read_bytes()
        path.with_suffix(suffix).unlink()
        assert not is_finished(path.parent, "baseline", config, STACKS.digest)
        path.with_suffix(suffix).write_bytes(content[:-1])
        assert not is_finished(path.parent, "baseline", config, STACKS.digest)
        path.with_suffix(suffix).write_bytes(content)
    assert is_finished(path.parent, "baseline", config, STACKS.digest)


def test_runs_on_other_stacks_do_not_mix(root):
    store(profile_config("laptop"))
    with pytest.raises(ResultsError, match="describes other stacks"):
        store(profile_config("laptop", seed=1), stacks=random_stacks(6, seed=9))


def test_predictions_belong_to_their_record(root):
    one, other = store(profile_config("laptop")), store(profile_config("laptop", seed=1))
    shutil.copy(other.with_suffix(".npz"), one.with_suffix(".npz"))
    for read in (lambda: read_results(one.parents[1]), lambda: load_predictions(one.with_suffix(".npz"))):
        with pytest.raises(ResultsError, match="seed0/baseline.npz .*it is another file than its record says"):
            read()


def test_published_files_are_those_of_the_list(root):
    one, other = store(profile_config("laptop")), store(profile_config("laptop", seed=1))
    publish("laptop")
    folder = root / "results/laptop/simulated"
    path = folder / one.relative_to(root / "runs/laptop/simulated")
    changes = {
        "is not the file that .*SHA256SUMS lists": lambda: path.write_text(
            path.read_text().replace('"trunk": 1.0', '"trunk": 1.5')
        ),
        r"baseline.json is missing. Run `git restore /.*baseline.json` if it was committed": path.unlink,
        "seed9/baseline.json is not the file": lambda: shutil.copytree(path.parent, folder / "afpe-D1-F4-seed9"),
        "test.npz is not the file": lambda: rewrite_labels(folder / "test.npz"),
        "is not the file that .* lists": lambda: (folder / "SHA256SUMS").write_text(""),
    }
    for message, change in changes.items():
        shutil.copytree(folder, root / "kept")
        change()
        with pytest.raises(ResultsError, match=message):
            read_results(folder)
        with pytest.raises(ResultsError, match=message):
            [load_run(record) for record in run_records(folder)]
        shutil.rmtree(folder)
        (root / "kept").rename(folder)
        assert len(read_results(folder)) == 2
    assert other.exists()


def rewrite_labels(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"labels": arrays["labels"][::-1]})


def test_records_without_checksums_are_read(root):
    """As those of results/, which were written before."""
    path = store(profile_config("laptop"))
    record = json.loads(path.read_text())
    del record["files"]
    path.write_text(json.dumps(record))
    assert len(read_results(path.parents[1])) == 1
    assert is_finished(path.parent, "baseline", profile_config("laptop"), STACKS.digest)


def test_damaged_files_are_refused_by_name(root):
    """Or they read as before: not every bit of a zip archive or of a text counts."""
    path = store(profile_config("laptop"))
    record = json.loads(path.read_text())
    del record["files"]  # nothing but the readers themselves notice
    path.write_text(json.dumps(record))
    labels, before, refused = path.parents[1] / "test.npz", load_run(path), 0
    for file in (path, path.with_suffix(".npz"), labels):
        content = file.read_bytes()
        for damage, other in damaged(content, 150):
            file.write_bytes(other)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    _, arrays = load_run(path)
                except ResultsError as error:
                    assert str(error).startswith(f"{path.parents[1]}/") and "make figures" in str(error), damage
                    refused += 1
                else:
                    assert all(np.array_equal(values, before[1][name]) for name, values in arrays.items()), damage
        file.write_bytes(content)
    assert refused > 300


def test_labels_are_read_once(root, monkeypatch):
    for seed in range(3):
        store(profile_config("laptop", seed=seed))
    reading._parse_labels.cache_clear()
    parsed = []
    monkeypatch.setattr(
        reading, "_read_arrays", lambda content, read=reading._read_arrays: parsed.append(1) or read(content)
    )
    assert len(read_results(root / "runs/laptop/simulated")) == 3 and len(parsed) == 4
