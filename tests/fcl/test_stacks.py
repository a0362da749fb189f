"""The container of focal stacks and the sampler of mini-batches, against slow loops and counting."""

import errno
import hashlib
import json
import os
from collections import Counter

import numpy as np
import pytest
import torch
from tiny import damaged

from fcl.files import SMALL, fingerprint
from fcl.sampler import BatchSampler
from fcl.stacks import FILES, FocalStacks, StacksWriter


def arrays(count=5, size=8, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "slices": rng.integers(0, 1024, (count, 49, 2, size, size)).astype(np.uint16),
        "labels": rng.integers(0, 49, count),
        "positions": rng.uniform(-1, 1, (count, 2)).astype(np.float32),
        "categories": np.array(["plain", "near"] * count)[:count],
    }


def written(folder, count=5, size=8):
    """Stacks written through the writer into `folder`, or in memory for None."""
    content, depths = (arrays(count, size), np.random.default_rng(1).uniform(0.3, 9.8, (count, size // 4, size // 4)))
    writer = StacksWriter(count, size, folder)
    writer.slices[:] = content["slices"]
    rows = list(zip(content["labels"], content["positions"], content["categories"], depths))
    writer.label(0, rows[:2])
    writer.label(2, rows[2:])
    return writer.finish(source={"simulator_seed": 8})


def test_written_and_loaded_again(tmp_path):
    memory, disk = written(None), written(tmp_path / "a/b/stacks")
    loaded, content = FocalStacks.load(str(tmp_path / "a/b/stacks")), arrays()
    for stacks in (memory, disk, loaded):
        assert len(stacks) == 5 and (stacks.black, stacks.white) == (64, 1023)
        for name, expected in content.items():
            assert np.array_equal(getattr(stacks, name), expected), name
        assert stacks.depths.shape == (5, 2, 2) and stacks.source == {"simulator_seed": 8}
    assert isinstance(loaded.slices, np.memmap) and not loaded.slices.flags.writeable
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["stacks"]  # nothing half-made is left behind


def test_digest_is_the_hash_of_what_a_run_sees(tmp_path):
    content = arrays()
    raw = content["labels"].astype(np.int64).tobytes() + content["positions"].tobytes() + content["slices"].tobytes()
    expected = hashlib.sha256(raw).hexdigest()
    assert (
        FocalStacks(**content).digest
        == written(tmp_path / "s").digest
        == FocalStacks.load(tmp_path / "s").digest
        == expected
    )
    for name, value in (("slices", 7), ("labels", 7), ("positions", 0.7)):
        other = arrays()
        other[name].flat[-1] = value
        assert FocalStacks(**other).digest != expected


def test_writing_again_replaces_the_old_stacks(tmp_path):
    written(tmp_path / "s", count=3)
    StacksWriter(2, 8, tmp_path / "s")  # killed before the end
    assert len(FocalStacks.load(tmp_path / "s")) == 3  # until others are complete
    assert len(written(tmp_path / "s", count=5)) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system can't reserve room")
def test_room_is_taken_before_anything_is_simulated(tmp_path, monkeypatch):
    writer = StacksWriter(5, 64, tmp_path / "s")
    assert writer.slices_file.stat().st_blocks * 512 >= writer.slices.nbytes

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device, and the slices take 4,014,208 bytes.*/s'"):
        StacksWriter(5, 64, tmp_path / "s")
    assert not list(tmp_path.iterdir())  # what was taken is given back


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_another_is_named_with_the_remedy(tmp_path, name):
    with pytest.raises(ValueError, match="nowhere/stacks.json is missing: remove .* made again by `make figures`"):
        FocalStacks.load(tmp_path / "nowhere")
    written(tmp_path / "s"), written(tmp_path / "other", count=4)
    (tmp_path / "s" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(ValueError, match=r"s/\w+.npy .*it is not the file that stacks.json describes.*make figures"):
        FocalStacks.load(tmp_path / "s")
    (tmp_path / "s" / name).unlink()
    with pytest.raises(ValueError, match=f"s/{name} is missing.*make figures"):
        FocalStacks.load(tmp_path / "s")


def test_a_fingerprint_notices_any_megabyte(tmp_path):
    numbers, path = np.random.default_rng(0), tmp_path / "file"
    content = numbers.bytes(3 * SMALL + 17)
    path.write_bytes(content)
    before = fingerprint(path)
    for first in numbers.integers(0, len(content) - 2**20 - 2**12, 20).tolist():
        with open(path, "r+b") as file:
            file.seek(first)
            file.write(bytes(2**20 + 2**12))
        assert fingerprint(path) != before
        path.write_bytes(content)
    path.write_bytes(content + b"x")
    assert fingerprint(path) != before


def test_the_whole_of_the_slices_is_compared_when_asked_for(tmp_path):
    written(tmp_path / "s", size=100)
    assert (tmp_path / "s/slices.npy").stat().st_size > SMALL
    np.load(tmp_path / "s/slices.npy", mmap_mode="r+")[2, 20, 0, 50, 50] ^= 1
    FocalStacks.load(tmp_path / "s")  # what was sampled is the same
    with pytest.raises(ValueError, match="the slices are not those that stacks.json describes"):
        FocalStacks.load(tmp_path / "s", whole=True)
    written(tmp_path / "s", size=100)
    FocalStacks.load(tmp_path / "s", whole=True)


def test_damaged_stacks_are_refused_by_name(tmp_path):
    written(tmp_path / "s")
    for name in FILES:
        path = tmp_path / "s" / name
        content = path.read_bytes()
        for damage, other in damaged(content, 40):
            path.write_bytes(other)
            try:
                FocalStacks.load(tmp_path / "s")
            except ValueError as error:
                assert f"{tmp_path / 's'}" in str(error) and "make figures" in str(error), damage
            else:
                assert name == "stacks.json", damage  # another number there, such as the black level, may be valid
        path.write_bytes(content)


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    for name in ("photos", "mine.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cat.jpg").touch()
    for name in ("photos", "mine"):
        with pytest.raises(ValueError, match=rf"{name}[.\w]* was not made by this project and is left as it is"):
            written(tmp_path / name)
    written(tmp_path / "s")
    (tmp_path / "s/notes.txt").touch()
    with pytest.raises(ValueError, match="s holds notes.txt, which this project didn't put there: move that file away"):
        written(tmp_path / "s")
    (tmp_path / "link").symlink_to(tmp_path / "s")
    with pytest.raises(ValueError, match="link was not made by this project"):
        written(tmp_path / "link")
    assert len(list(tmp_path.glob("*/cat.jpg"))) == 2 and (tmp_path / "s/notes.txt").is_file()
    assert len(FocalStacks.load(tmp_path / "s")) == 5


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"slices": np.zeros((5, 48, 2, 8, 8), np.uint16)},
            r"slices must be uint16 \(stacks, 49, 2, H, W\), not uint16 \(5, 48",
        ),
        ({"slices": np.zeros((5, 49, 2, 8, 8), np.float32)}, "slices must be uint16 .* not float32"),
        ({"labels": np.zeros(4, np.int64)}, r"labels must have shape \(5,\)"),
        ({"labels": np.full(5, 49)}, r"labels must be focal indices 0..48, not 49..49"),
        ({"labels": np.full(5, -1)}, r"labels must be focal indices"),
        ({"labels": np.full(5, 33.5)}, "labels must be integers, not float64"),
        ({"labels": np.array(["19"] * 5)}, "labels must be integers"),
        ({"positions": np.full((5, 2), 7, np.float32)}, r"positions must be \(x, y\) in \[-1, 1\]"),
        ({"positions": np.full((5, 2), np.nan, np.float32)}, r"positions must be"),
        ({"positions": np.zeros((5, 3), np.float32)}, r"positions must have shape \(5, 2\)"),
        ({"categories": np.array(["plain"])}, r"categories must have shape \(5,\)"),
        ({"white": 64.0}, "white level 64.0 must be above the black level 64.0"),
    ],
)
def test_container_errors(change, message):
    with pytest.raises(ValueError, match=message):
        FocalStacks(**arrays() | change)


@pytest.mark.parametrize("frames", [1, 3, 49])
def test_observe_is_the_slow_loop(frames, tmp_path):
    stacks = FocalStacks(**arrays(), black=100.0, white=900.0)
    rng = np.random.default_rng(2)
    chosen, starts = rng.integers(0, 5, 7), rng.integers(0, 50 - frames, 7)
    seen = stacks.observe(chosen, starts, frames)
    assert seen.shape == (7, frames, 2, 8, 8) and seen.dtype == torch.float32
    for n in range(7):
        for m in range(frames):
            expected = (stacks.slices[chosen[n], starts[n] + m].astype(float) - 100) / 800
            assert seen[n, m].numpy() == pytest.approx(expected, abs=1e-6)
    disk = written(tmp_path / "s")
    assert torch.equal(disk.observe(chosen, starts, frames), written(None).observe(chosen, starts, frames))
    seen += 1  # a copy: the stacks stay as they are
    assert np.array_equal(stacks.slices, arrays()["slices"])


def test_observe_beyond_the_last_slice():
    with pytest.raises(IndexError):
        FocalStacks(**arrays()).observe(np.array([0]), np.array([47]), 3)
    with pytest.raises(IndexError, match="starts must be at least 0, not -1"):
        FocalStacks(**arrays()).observe(np.array([0]), np.array([-1]))


def sampler(seed=0, stacks=24, scenes=8, slices=4, starts=47):
    return BatchSampler(stacks, scenes, slices, starts, np.random.default_rng(seed))


def test_batches_hold_distinct_starts_of_distinct_scenes():
    batches = [next(sampler) for sampler in [sampler()] for _ in range(300)]
    for batch in batches:
        assert batch.scenes.shape == (8,) and batch.starts.shape == (8, 4) and batch.flips.shape == (8,)
        assert len(set(batch.scenes.tolist())) == 8 and batch.flips.dtype == bool
        assert all(len(set(row)) == 4 for row in batch.starts.tolist())
    starts = Counter(np.concatenate([batch.starts for batch in batches]).ravel().tolist())
    assert sorted(starts) == list(range(47))
    expected = 300 * 32 / 47
    assert all(abs(count - expected) < 4 * expected**0.5 for count in starts.values())
    # The order within a scene carries nothing: every column has the same mean start.
    assert np.concatenate([batch.starts for batch in batches]).mean(0) == pytest.approx(np.full(4, 23.0), abs=1.0)
    assert np.mean([batch.flips for batch in batches]) == pytest.approx(0.5, abs=0.05)


def test_every_scene_once_per_epoch_in_a_new_order():
    source = sampler()
    epochs = [np.concatenate([next(source).scenes for _ in range(3)]) for _ in range(4)]
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_remainder_is_dropped_rather_than_repeated():
    source = sampler(stacks=20)
    for _ in range(5):
        epoch = np.concatenate([next(source).scenes for _ in range(2)])
        assert len(set(epoch.tolist())) == 16


def test_all_starts_at_once():
    for batch, _ in zip(sampler(slices=5, starts=5), range(10)):
        assert np.array_equal(np.sort(batch.starts, 1), np.tile(np.arange(5), (8, 1)))


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("scenes", "starts", "flips"))


def test_sampler_continues_from_its_state_through_json():
    straight, interrupted = sampler(), sampler()
    for _ in range(4):  # in the middle of an epoch
        next(straight), next(interrupted)
    state = json.dumps(interrupted.state_dict())
    next(interrupted)  # goes on, is killed, and its successor starts from the state
    resumed = sampler(seed=99)
    resumed.load_state_dict(json.loads(state))
    assert all(same(next(straight), next(resumed)) for _ in range(20))
    assert not same(next(sampler(seed=1)), next(sampler(seed=2)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"scenes": 25}, "a batch of 25 scenes needs at least as many stacks, not 24"),
        ({"slices": 6, "starts": 5}, "F = 6 distinct starts asked for where the setting has only 5"),
    ],
)
def test_sampler_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        sampler(**arguments)
