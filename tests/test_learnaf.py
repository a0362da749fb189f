"""The public data set, on a miniature in its real layout: what is read, against slow direct versions, and what is wrong
with it.
"""

import io
import os
import re
import shutil
import tarfile
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from miniature import SIZE, VIEW, exr, frames, png, texture, write_capture
from PIL import Image
from tiny import TINY

from fcl import learnaf, photographs
from fcl.learnaf import depth_dioptres, learnaf_stacks, levels, orientation, split_captures, write_stacks
from fcl.learnaf_store import collect, expected_files, views_shift
from fcl.optics import FOCUS_DIOPTRES
from fcl.stacks import FocalStacks
from fcl.training import train

FILES = expected_files("apt1_0", VIEW, "raw")


def depth_map():
    """Far in the upper part of the file, near in the lower one."""
    return np.repeat(np.linspace(250, 20, SIZE[0] // 4), SIZE[1] // 2).reshape(SIZE[0] // 4, -1).astype(np.uint8)


def confidence_map():
    """Trusted but for the lower half of the file."""
    trusted = np.ones((SIZE[0] // 4, SIZE[1] // 2), np.float32)
    trusted[-SIZE[0] // 8 :] = 0.3
    return trusted


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    root = tmp_path_factory.mktemp("learnaf")
    write_capture(root / "train1", "apt1_0", depth=depth_map(), confidence=confidence_map())
    write_capture(root / "test", "books_5", seed=1)
    return root


@pytest.fixture
def root(miniature, tmp_path):
    """The training capture of the miniature alone, to spoil."""
    shutil.copytree(miniature / "train1", tmp_path / "root/train1")
    return tmp_path / "root"


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


def test_patches_below_the_confidence_are_dropped(miniature):
    stacks, every = learnaf_stacks(miniature), learnaf_stacks(miniature, confidence=0.0)
    medians = np.array([np.median(confidence_map()[c // 4 : c // 4 + 32]) for _ in (0, 40) for c in (0, 40, 80, 120)])
    assert 0 < (medians < 0.99).sum() < 8
    assert np.array_equal(stacks.positions, every.positions[medians >= 0.99])
    assert stacks.source["grid"] == 8 and stacks.source["below_confidence"] == (medians < 0.99).sum()
    with pytest.raises(ValueError, match="4 of 8 patches .* 7 are asked for"):
        learnaf_stacks(miniature, count=7)
    assert len(learnaf_stacks(miniature, count=3)) == 3


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


# Archives, and a pass that is stopped


def pack(miniature, folder, reverse=False):
    folder.mkdir()
    for top in ("train1", "test"):
        paths = sorted((path for path in (miniature / top).rglob("*") if path.is_file()), reverse=reverse)
        with tarfile.open(folder / f"{top}.tar.gz", "w:gz", compresslevel=1) as tar:
            for path in paths:
                tar.add(path, path.relative_to(miniature))
    return folder


def test_archives_give_the_same_stacks(miniature, tmp_path):
    packed = pack(miniature, tmp_path / "packed", reverse=True)
    for split in ("train", "test"):
        stacks, expected = (learnaf_stacks(root, split) for root in (packed, miniature))
        assert stacks.digest == expected.digest and np.array_equal(stacks.slices[0], expected.slices[0])


def test_a_stopped_pass_goes_on(miniature, tmp_path, monkeypatch):
    from fcl import learnaf_store

    packed, read, original = pack(miniature, tmp_path / "packed"), [], learnaf_store.read_counts

    def stops(data, name):
        read.append(name)
        if len(read) == 60:
            raise KeyboardInterrupt
        return original(data, name)

    monkeypatch.setattr(learnaf_store, "read_counts", stops)
    with pytest.raises(KeyboardInterrupt):
        collect(packed, tmp_path / "store")
    assert not list((tmp_path / "store").rglob("capture.json"))
    assert collect(packed, tmp_path / "store") == {}
    assert len(read) == 60 + 2 * 99 - 59  # none of the 59 was read again
    collect(packed, tmp_path / "store")
    assert len(read) == 60 + 2 * 99 - 59
    stacks, expected = learnaf.store_stacks(tmp_path / "store"), learnaf_stacks(miniature)
    assert stacks.digest == expected.digest and np.array_equal(stacks.slices[1], expected.slices[1])


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


def test_labels_are_compared_with_the_sharpest_slice(tmp_path):
    from scipy import ndimage

    sharp = texture((256, 96))
    blurred = ndimage.gaussian_filter(sharp, 3)
    pictures = {0: (blurred, blurred), 30: (sharp, sharp), 31: (blurred, blurred), 48: (blurred, np.roll(blurred, 2, 0))}
    counts = np.full((64, 48), round(255 * (10 - FOCUS_DIOPTRES[30]) / 9.99), np.uint8)
    write_capture(tmp_path / "train1", "apt1_0", pictures=pictures, depth=counts)
    collect(tmp_path, tmp_path / "store")
    table = photographs.compare_labels(tmp_path / "store")
    far_too_far = np.abs(FOCUS_DIOPTRES - FOCUS_DIOPTRES[30] / 2).argmin()  # half the dioptres
    assert table["median"].tolist() == [0, 30 - far_too_far]


def test_splits_share_no_scene(tmp_path):
    from pathlib import Path

    names = [(f"train{1 + number % 7}", f"scene{number:02}_{shot}") for number in range(25) for shot in range(3)]
    captures = [{"folder": Path(top, name)} for top, name in [*names, ("test", "scene03_9"), ("test", "other_0")]]
    splits, shared = {}, []
    for split in learnaf.SPLITS:
        mine, shared = split_captures(captures, split)
        splits[split] = {learnaf.scene(capture) for capture in mine}
        shared += shared
    assert splits["test"] == {"scene03", "other"} and len(splits["validation"]) == 2 and len(splits["train"]) == 22
    assert not splits["train"] & splits["validation"] and not splits["test"] & (splits["train"] | splits["validation"])
    assert {capture["folder"].name for capture in split_captures(captures, "train")[1]} == {
        f"scene03_{shot}" for shot in range(3)
    }
    with pytest.raises(ValueError, match="split must be one of train, validation, test, not 'all'"):
        split_captures(captures, "all")


# What is wrong


def truncated(path):
    path.write_bytes(path.read_bytes()[:2000])


def replaced(content):
    return lambda path: path.write_bytes(content)


def linked(path):
    outside = path.parents[5] / "outside.png"
    path.rename(outside)
    path.symlink_to(outside)


def colour(path):
    Image.new("RGB", SIZE[::-1]).save(path)


CONFIDENCE = np.ones((64, 48), np.float32)
WRONG = [
    ("left/3", os.unlink, r"raw_left_pd/apt1_0/3/result_pd_left_center.png is missing"),
    ("left/2", truncated, r"2/result_pd_left_center.png is no readable PNG or TIFF, or only a part of one"),
    ("left/2", replaced(b""), r"2/result_pd_left_center.png is no readable PNG"),
    ("left/1", replaced(png(np.zeros(SIZE, np.uint8))), r"1/result_pd_left_center.png has 8 bit where 16 are expected"),
    (
        "depth",
        replaced(png(np.zeros((64, 48), np.uint16))),
        r"result_merged_depth_center.png has 16 bit where 8 are expected",
    ),
    ("left/4", colour, r"4/result_pd_left_center.png is RGB, not one channel"),
    ("right/1", replaced(png(texture((128, 96)))), r"1/result_pd_right_center.png is 96 x 128, but .*/0/result_.* 96 x 256"),
    (
        "depth",
        replaced(png(np.zeros((60, 48), np.uint8))),
        r"merged_depth_center.png is 48 x 60, which is no quarter of the frame",
    ),
    (
        "confidence",
        lambda path: exr(path, R=CONFIDENCE, A=0 * CONFIDENCE),
        r"conf_center.exr holds the channels A, R where one",
    ),
    ("confidence", lambda path: exr(path, Y=CONFIDENCE * np.nan), r"conf_center.exr holds NaN"),
    ("confidence", replaced(b"no image"), r"conf_center.exr is no readable EXR image"),
    ("left/0", linked, r"0/result_pd_left_center.png is a link that leads out of"),
]


@pytest.mark.parametrize("part, spoil, message", WRONG)
def test_a_wrong_file_is_named(root, part, spoil, message):
    spoil(root / "train1" / FILES[part])
    left_out = collect(root, root / "store")
    assert list(left_out) == ["train1/apt1_0"]
    assert re.search(message, left_out["train1/apt1_0"])


def test_the_rest_is_read_and_what_is_left_out_is_told(root, miniature):
    shutil.copytree(miniature / "train1/merged_depth/apt1_0", root / "train1/merged_depth/apt2_0")
    with pytest.warns(
        UserWarning, match=r"left out of .*\n  train1/apt2_0: .*raw_left_pd/apt2_0/0/.*png is missing, and 98 other"
    ):
        stacks = learnaf_stacks(root)
    assert stacks.digest == learnaf_stacks(miniature).digest and list(stacks.source["left_out"]) == ["train1/apt2_0"]


def test_nothing_left_is_an_error_that_says_why(root):
    (root / "train1" / FILES["right/48"]).unlink()
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match=r"no photographs in .*Left out:\n  train1/apt1_0: .*is missing"),
    ):
        warnings.simplefilter("ignore")
        learnaf_stacks(root)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"view": "middle"}, "view must be one of center, top, bottom, left, right.*not 'middle'"),
        ({"images": "jpeg"}, "images one of raw, interpolated, not .*'jpeg'"),
        ({"split": "all"}, "split must be one of"),
        ({"split": "validation"}, "no captures for the split validation: it holds test, train1"),
        ({"patch": 130}, "multiples of 4 px"),
        ({"patch": 400}, "a patch of 400 px doesn't fit"),
        ({"zmin": -1}, "zmin must be between"),
    ],
)
def test_wrong_arguments(miniature, options, message):
    with pytest.raises(ValueError, match=message):
        learnaf_stacks(miniature, **options)


def test_empty_folders(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="holds none of train1 .. train7 and test"):
            learnaf_stacks(folder)
    (tmp_path / "train1").mkdir()
    with (
        pytest.warns(UserWarning, match="train1 holds no merged_conf"),
        pytest.raises(ValueError, match="no photographs in"),
    ):
        learnaf_stacks(tmp_path)


def test_a_folder_that_is_a_link_leads_out(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / "test").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="test is a link that leads out of"):
        learnaf_stacks(root)


@pytest.mark.parametrize("kind", ["symlink", "hard link", "outside", "truncated"])
def test_wrong_archives(miniature, tmp_path, kind):
    archive, victim = pack(miniature, tmp_path / "packed") / "train1.tar", FILES["left/0"]
    with tarfile.open(archive, "w") as tar:
        for path in sorted(path for path in (miniature / "train1").rglob("*") if path.is_file()):
            member = tar.gettarinfo(path, str(path.relative_to(miniature)))
            if member.name.endswith(victim):
                member.name = f"../../{victim}" if kind == "outside" else member.name
                if "link" in kind:
                    member.type, member.size = tarfile.SYMTYPE if kind == "symlink" else tarfile.LNKTYPE, 0
                    member.linkname = "/etc/passwd"
            tar.addfile(member, io.BytesIO(path.read_bytes()) if member.isreg() else None)
    (tmp_path / "packed/train1.tar.gz").unlink()
    if kind == "truncated":
        archive.write_bytes(archive.read_bytes()[:500_000])
    left_out = collect(tmp_path / "packed", tmp_path / "store")
    assert (tmp_path / "store/center/test/books_5/capture.json").exists()  # the rest is sound
    assert not (tmp_path / "store/center/train1").exists() or not list((tmp_path / "store/center/train1").iterdir())
    if kind == "truncated":
        assert "only a part of the archive" in left_out["train1.tar"] and "is missing" in left_out["train1/apt1_0"]
    else:
        assert (
            "train1.tar: " in left_out["train1/apt1_0"]
            and "is a link, leads out of the archive" in left_out["train1/apt1_0"]
        )
    assert collect(tmp_path / "packed", tmp_path / "store") == left_out  # told again the next time


def test_missing_store_files_are_named(miniature, tmp_path):
    store = tmp_path / "store"
    collect(miniature, store)
    write_stacks(learnaf.store_stacks(store), tmp_path / "train")
    (store / "center/train1/apt1_0/frames.npy").unlink()
    with pytest.raises(ValueError, match=r"frames.npy is missing or spoilt .*: run `make learnaf` again"):
        FocalStacks.load(tmp_path / "train")


# The command line


def test_collecting_and_cropping_from_the_command_line(miniature, tmp_path, capsys):
    store = ["--store", str(tmp_path / "store")]
    photographs.main(["collect", str(miniature), *store])
    said = capsys.readouterr().out
    assert "black level 64, white level 1023" in said and "baseline along the rows" in said
    assert "train: 1 captures, 8 patches; kept" in said and "387,000" in said and "labels against the sharpest slice" in said
    photographs.main(["crop", "--split", "test", "--count", "3", "--patch", "64", "--out", str(tmp_path / "data"), *store])
    assert FocalStacks.load(tmp_path / "data").slices.shape == (3, 49, 2, 64, 64)
    with pytest.raises(SystemExit, match="photographs: no photographs in"):
        photographs.main(["throughput", "--store", str(tmp_path)])


def test_throughput_is_positive(miniature):
    rates = photographs.throughput(learnaf_stacks(miniature), batches=2, scenes=4)
    assert rates.keys() == {"cold", "warm", "warm_cpu"} and min(rates.values()) > 0
