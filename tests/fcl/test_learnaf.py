"""The public data set, on a miniature in its real layout: what is read, against slow direct versions."""

import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from miniature import VIEW, confidence_map, depth_map, frames, pack, png, texture, write_capture
from tiny import TINY

from fcl import crops
from fcl.learnaf import patches as learnaf
from fcl.learnaf.intake import views_shift
from fcl.learnaf.patches import depth_dioptres, learnaf_stacks, levels, orientation, split_captures, write_stacks
from fcl.learnaf.store import collect, expected_files
from fcl.optics import FOCUS_DIOPTRES
from fcl.settings import SPLITS
from fcl.stacks import FocalStacks
from fcl.training import train

FILES = expected_files("apt1_0", VIEW, "raw")


def full_frame(raw, mirrored=False):
    """A raw image as the project sees it: interpolated sample by sample, axes exchanged."""
    rows, columns = raw.shape
    full = np.empty((2 * columns, rows), np.uint16)
    for row in range(2 * columns):
        nearer, other = row // 2, np.clip(row // 2 + (1 if row % 2 else -1), 0, columns - 1)
        full[row] = np.floor((3 * raw[:, nearer].astype(float) + raw[:, other]) / 4 + 0.5)
    return full[:, ::-1] if mirrored else full


# What is read


def test_patches_are_those_of_the_slow_version(miniature):
    stacks = learnaf_stacks(miniature, confidence=0.0)
    corners = [(row, column) for row in (0, 40) for column in (0, 40, 80, 120)]  # frame of 192 x 256 px
    assert stacks.slices.shape == (8, 49, 2, 128, 128) and stacks.slices.dtype == np.uint16
    pictures = frames()
    for index, known in ((0, 0), (17, 0), (24, 24), (48, 48)):
        for side in (0, 1):
            frame = full_frame(pictures[known][side])
            for number, (row, column) in enumerate(corners):
                assert np.array_equal(stacks.slices[number, index, side], frame[row : row + 128, column : column + 128])
    assert stacks.slices[0].max() > 255  # 16 bits are kept
    assert stacks.positions == pytest.approx(np.array([((c + 64) / 128 - 1, (r + 64) / 96 - 1) for r, c in corners]))
    for number, (_, column) in enumerate(corners):
        depths = np.sort(depth_map()[column // 4 : column // 4 + 32], axis=None)
        d = depths[(depths.size - 1) // 2] / 255
        assert stacks.labels[number] == np.abs((1 - d) / 0.1 + d / 100 - FOCUS_DIOPTRES).argmin()
    assert len(set(stacks.labels.tolist())) == 4 and set(stacks.categories) == {"apt1"}
    assert (stacks.black, stacks.white) == (64, 1023)


def test_any_index_gives_what_an_array_would(miniature):
    slices = learnaf_stacks(miniature).slices
    array = slices[:]
    assert array.shape == slices.shape
    for index in (
        0,
        -1,
        (2, 5),
        (slice(1, 3), 48),
        ([0, 3], [4, 4]),
        (0, [0, 8, 48], 1),
        (1, slice(None), 0, 3, slice(2, 9)),
    ):
        assert np.array_equal(slices[index], array[index]), index
    assert [np.array_equal(one, other) for one, other in zip(slices, array)] == [True] * len(array)
    with pytest.raises(IndexError):
        slices[len(array)]


def test_wrong_indices_counts_and_files_of_crops(miniature, tmp_path):
    stacks = learnaf_stacks(miniature)
    for index in ((..., 0), (0, None)):
        with pytest.raises(IndexError, match="neither ... nor None"):
            stacks.slices[index]
    for count in (0, -1, 1.5):
        with pytest.raises(ValueError, match="count must be a whole number of patches"):
            learnaf_stacks(miniature, count=count)
    write_stacks(stacks, tmp_path)
    (tmp_path / "crops.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="crops.npz .*damaged.*remove its folder"):
        FocalStacks.load(tmp_path)


def test_patches_below_the_confidence_are_dropped(miniature):
    stacks, every = learnaf_stacks(miniature), learnaf_stacks(miniature, confidence=0.0)
    medians = np.array([np.median(confidence_map()[c // 4 : c // 4 + 32]) for _ in (0, 40) for c in (0, 40, 80, 120)])
    assert 0 < (medians < 0.99).sum() < 8
    assert np.array_equal(stacks.positions, every.positions[medians >= 0.99])
    assert stacks.source["grid"] == 8 and stacks.source["below_confidence"] == (medians < 0.99).sum()
    with pytest.raises(ValueError, match="4 of 8 patches .* 7 are asked for"):
        learnaf_stacks(miniature, count=7)
    assert len(learnaf_stacks(miniature, count=3)) == 3


def test_only_trusted_pixels_vote_on_a_label(tmp_path):
    """Those with a depth, and with a confidence; where half of them or more are missing, the patch is dropped."""
    numbers = np.random.default_rng(0)
    depth, confidence = numbers.integers(1, 256, (64, 48), np.uint8), numbers.choice([0.3, 1.0], (64, 48), p=[0.1, 0.9])
    depth[numbers.random(depth.shape) < 0.2], depth[:20, :20] = 0, 0
    write_capture(tmp_path / "train1", "apt1_0", depth=depth, confidence=confidence.astype(np.float32))
    expected = []
    for row, column in [(row, column) for row in (0, 10) for column in (0, 10, 20, 30)]:
        window = (slice(column, column + 32), slice(row, row + 32))  # of the file, whose axes are exchanged
        votes = sorted(d for d, c in zip(depth[window].ravel().tolist(), confidence[window].ravel()) if d > 0 and c >= 0.99)
        if len(votes) > 512:
            dioptres = depth_dioptres(votes[(len(votes) - 1) // 2])
            expected.append(int(np.abs(dioptres - FOCUS_DIOPTRES).argmin()))
    assert 0 < len(expected) < 8 and learnaf_stacks(tmp_path).labels.tolist() == expected
    depth[:] = 0
    write_capture(tmp_path / "train2", "apt2_0", depth=depth)
    assert set(learnaf_stacks(tmp_path, confidence=0.0).categories) == {"apt1"}  # without any depth there is no label


def test_observing_and_training_work_as_on_simulated_stacks(miniature, tmp_path):
    stacks = learnaf_stacks(miniature, patch=64)
    write_stacks(stacks, tmp_path / "data/train")
    loaded = FocalStacks.load(tmp_path / "data/train")
    assert loaded.digest == stacks.digest and np.array_equal(loaded.slices[3], stacks.slices[3])
    in_memory = FocalStacks(loaded.slices[:], loaded.labels, loaded.positions, loaded.categories, loaded.black, loaded.white)
    config = replace(TINY, data="learnaf", patch=64, train_stacks=len(stacks), batch=8, iterations=2)
    assert list(train(config, loaded)) == list(train(config, in_memory))


def test_the_digest_tells_patches_apart(miniature):
    digests = [
        learnaf_stacks(miniature, **options).digest for options in ({}, {"zmin": 0.2}, {"confidence": 0.0}, {"patch": 64})
    ]
    assert len(set(digests)) == 4 and learnaf_stacks(miniature).digest == digests[0]


def test_confidence_keeps_its_digits(tmp_path):
    """In half precision 0.9998 would be 1."""
    write_capture(tmp_path / "train1", "apt1_0", confidence=np.full((64, 48), 0.9998, np.float32))
    with pytest.raises(ValueError, match="0 of 8 patches"):
        learnaf_stacks(tmp_path, confidence=1.0)
    assert len(learnaf_stacks(tmp_path, confidence=0.9997)) == 8


@pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="this system doesn't count open files")
def test_few_files_are_open_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(crops, "MAPS", 3)
    files = [tmp_path / f"{number}.npy" for number in range(20)]
    for number, file in enumerate(files):
        np.save(file, np.full((49, 2, 8, 8), number, np.uint16))
    places = np.array([(number, 0, 0) for number in range(20)])
    before = psutil.Process().num_fds()
    slices = crops.Crops(files, places, 8, halved=False, transposed=False, mirrored=False)
    assert slices[:, 3, 0, 0, 0].tolist() == list(range(20)) and slices[[4, 19, 4], 0, 1, 2, 2].tolist() == [4, 19, 4]
    assert psutil.Process().num_fds() - before <= 3


@pytest.mark.slow
def test_real_sizes_and_little_memory(tmp_path):
    size = (2016, 756)
    write_capture(tmp_path / "root/train1", "apt1_0", size, pictures=frames(size, shift=5))
    tracemalloc.start()
    stacks = learnaf_stacks(tmp_path / "root")
    seen = stacks.observe(np.arange(0, 1680, 52), np.zeros(33, int))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(stacks) == 1680 and seen.shape == (33, 1, 2, 128, 128)  # (1512 - 128) // 40 + 1 times (2016 - 128) // 40 + 1
    assert peak < 150e6 < (tmp_path / "root/fcl-store/center/train1/apt1_0/frames.npy").stat().st_size  # bytes


def test_interpolated_images(tmp_path):
    write_capture(tmp_path / "train1", "apt1_0", (256, 192), kinds=("raw_up", "up_pd"))
    stacks = learnaf_stacks(tmp_path)
    frame = frames((256, 192))[0][0].T
    assert np.array_equal(stacks.slices[5, 0, 0], frame[40:168, 40:168])


def test_captures_of_another_size_are_left_out_and_told(tmp_path):
    for number in range(2):
        write_capture(tmp_path / "train1", f"apt1_{number}", depth=depth_map())
    before = learnaf_stacks(tmp_path)
    write_capture(tmp_path / "train0", "interpolated_0", (256, 192), kinds=("raw_up", "up_pd"))
    write_capture(tmp_path / "train2", "odd_0", (384, 96))
    with pytest.warns(UserWarning, match="train2/odd_0: its images have 96 x 384 samples, those of most captures 96 x 256"):
        stacks = learnaf_stacks(tmp_path)
    assert stacks.digest == before.digest and list(stacks.source["left_out"]) == ["train0/interpolated_0", "train2/odd_0"]


# Archives, and a pass that is stopped


def test_archives_give_the_same_stacks(miniature, tmp_path):
    packed = pack(miniature, tmp_path / "packed", reverse=True)
    for split in ("train", "test"):
        stacks, expected = (learnaf_stacks(root, split) for root in (packed, miniature))
        assert stacks.digest == expected.digest and np.array_equal(stacks.slices[0], expected.slices[0])


def test_a_stopped_pass_goes_on(miniature, tmp_path, monkeypatch):
    from fcl.learnaf import intake

    packed, read, original = pack(miniature, tmp_path / "packed"), [], intake.read_counts

    def stops(data, name):
        read.append(name)
        if len(read) == 60:
            raise KeyboardInterrupt
        return original(data, name)

    monkeypatch.setattr(intake, "read_counts", stops)
    with pytest.raises(KeyboardInterrupt):
        collect(packed, tmp_path / "store")
    assert not list((tmp_path / "store").rglob("capture.json"))
    for log in (tmp_path / "store").rglob("received.jsonl"):
        log.write_text(log.read_text() + '\n{"slot": "left/')  # a line that was being written
    assert collect(packed, tmp_path / "store") == {}
    assert len(read) == 60 + 2 * 99 - 59  # none of the 59 was read again
    collect(packed, tmp_path / "store")
    assert len(read) == 60 + 2 * 99 - 59
    stacks, expected = learnaf.store_stacks(tmp_path / "store"), learnaf_stacks(miniature)
    assert stacks.digest == expected.digest and np.array_equal(stacks.slices[1], expected.slices[1])


def test_damaged_and_missing_captures_are_made_again(miniature, tmp_path):
    packed, store = pack(miniature, tmp_path / "packed"), tmp_path / "store"
    for root in (miniature, packed):
        assert collect(root, store) == {}
        expected = learnaf.store_stacks(store).slices[1]
        frames = next(store.glob("center/train1/*/frames.npy"))
        frames.write_bytes(b"damaged")
        assert collect(root, store) == {} and np.array_equal(learnaf.store_stacks(store).slices[1], expected)
        shutil.rmtree(frames.parent)
        assert collect(root, store) == {} and np.array_equal(learnaf.store_stacks(store).slices[1], expected)


def test_changed_files_are_read_again(root):
    before = learnaf_stacks(root)
    path = root / "train1" / FILES["left/7"]
    path.write_bytes(png(texture(seed=9)))
    os.utime(path, (1, 1))
    after = learnaf_stacks(root)
    assert after.digest != before.digest
    assert np.array_equal(after.slices[0, 7, 0], full_frame(texture(seed=9))[:128, :128])


# What is found out from the files


@pytest.mark.parametrize("shift, axis, expected", [(4, 0, (True, False)), (-4, 0, (True, True)), (4, 1, (False, False))])
def test_baseline_is_found_by_correlation(shift, axis, expected):
    pictures = frames(shift=shift, axis=axis)
    shifts = [views_shift(*pictures[index]) for index in (0, 48)]
    assert np.abs(np.array(shifts)[:, 1 - axis]).max() < 1
    assert [by[axis] for by in shifts] == pytest.approx([shift, -shift], abs=0.2)
    assert orientation([{"shifts": shifts}]) == expected


def test_a_reversed_baseline_is_mirrored(tmp_path):
    write_capture(tmp_path / "train1", "apt1_0", shift=-3, depth=depth_map())
    stacks = learnaf_stacks(tmp_path)
    left, right = (full_frame(view, mirrored=True) for view in frames(shift=-3)[0])
    assert np.array_equal(stacks.slices[5, 0, 0], left[40:168, 40:168])
    assert np.array_equal(np.roll(right, 3, 1), left)  # nearer than focus, the left image lies at greater x
    assert stacks.positions[0, 0] == pytest.approx(-0.5)
    assert stacks.labels[0] > stacks.labels[3]  # the near part of the depth map is on the left now


@pytest.mark.parametrize(
    "lowest, largest, expected",
    [
        (61, 1019, (64, 1023)),
        (0, 1000, (0, 1023)),
        (3900, 65472, (4100, 65535)),
        (10, 50000, (0, 65535)),
        (250, 4000, (256, 4095)),
    ],
)
def test_levels(lowest, largest, expected):
    captures = [{"lowest": lowest + dark, "largest": largest - dark} for dark in (0, 5, 9)]
    assert levels(captures) == expected


def test_depth_counts():
    assert depth_dioptres([0, 255]) == pytest.approx([10, 0.01])
    assert depth_dioptres(0, zmin=0.2) == pytest.approx(5)
    with pytest.raises(ValueError, match="zmin must be between 0 and 100 m, not 0"):
        depth_dioptres(3, zmin=0)


def test_splits_share_no_scene(tmp_path):
    names = [(f"train{1 + number % 7}", f"scene{number:02}_{shot}") for number in range(25) for shot in range(3)]
    captures = [{"folder": Path(top, name)} for top, name in [*names, ("test", "scene03_9"), ("test", "other_0")]]
    splits = {split: {learnaf.scene(capture) for capture in split_captures(captures, split)} for split in SPLITS}
    assert splits["test"] == {"scene03", "other"} and len(splits["validation"]) == 2 and len(splits["train"]) == 22
    assert not splits["train"] & splits["validation"] and not splits["test"] & (splits["train"] | splits["validation"])
    assert len(split_captures(captures, "train")) == 3 * 22  # those of scene03 in the training folders are in no split
    with pytest.raises(ValueError, match="split must be one of train, validation, test, not 'all'"):
        split_captures(captures, "all")
