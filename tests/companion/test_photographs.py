"""`make learnaf`: the report, what one may choose, and what is said where nothing, or not all, can be taken."""

import json
import os
import shutil

import numpy as np
import pytest
from miniature import pack, png, texture, write_capture
from scipy import ndimage

from companion.photographs import public as photographs
from companion.photographs.__main__ import main
from companion.photographs.public import compare_labels, read_choices, verdict
from fcl.learnaf import intake, learnaf_stacks
from fcl.learnaf import patches as learnaf
from fcl.learnaf.images import read_counts
from fcl.learnaf.intake import Intake
from fcl.learnaf.patches import Choices
from fcl.learnaf.store import _members, collect, expected_files
from fcl.optics import FOCUS_DIOPTRES
from fcl.stacks import FocalStacks

FILES = expected_files("apt1_0", "center", "raw")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def collected(root, store, *options):
    main(["collect", str(root), "--store", str(store), *options])


def cropped(store, folder, *options):
    main(["crop", "--split", "test", "--patch", "64", "--out", str(folder), "--store", str(store), *options])
    return FocalStacks.load(folder)


def test_collecting_and_cropping(miniature, store, tmp_path, capsys):
    collected(miniature, store)
    said = capsys.readouterr().out
    assert "black level 64, white level 1023" in said and "baseline along the rows" in said
    assert "train: 1 captures, 8 patches; kept 4, dropped 4 with a median" in said and "of the sharpest slice" in said
    assert "the paper's set" in said and "the public release is smaller" in said and "351 captures to train" in said
    assert (store / "center/report.txt").read_text() == said
    assert cropped(store, tmp_path / "data", "--count", "3").slices.shape == (3, 49, 2, 64, 64)


def test_what_is_chosen_is_followed_and_told(miniature, store, tmp_path, capsys):
    collected(miniature, store)
    usual, first = cropped(store, tmp_path / "usual"), (store / "center/report.txt").read_text()
    collected(miniature, store, "--zmin", "0.2", "--confidence", "0.5", "--stride", "20")
    assert "view center, zmin 0.2, confidence 0.5, stride 20" in capsys.readouterr().out
    assert (store / "center/report.txt").read_text() != first  # so the batch crops anew
    stacks = cropped(store, tmp_path / "chosen")
    assert [stacks.source[name] for name in ("zmin", "confidence", "stride")] == [0.2, 0.5, 20]
    assert len(stacks) > len(usual) and stacks.labels[0] < usual.labels[0]
    collected(miniature, store)
    assert read_choices(store) == Choices() and (store / "center/report.txt").read_text() == first


def test_the_report_changes_with_the_images_alone(root, store, tmp_path, monkeypatch):
    """Not with the place of the data set, nor with the time: crops are made anew when it changes."""
    (root / "train1" / FILES["depth"]).with_name("thumbnail.png").write_bytes(b"of no use")
    for file in ("merged_depth/apt2_0/result_merged_depth_center.png", "merged_conf/apt3_0/result_merged_conf_center.exr"):
        (root / "train1" / file).parent.mkdir()
        (root / "train1" / file).write_bytes(b"no image")
    collected(root, store)
    report = store / "center/report.txt"
    first = report.read_text()
    assert first.count("left out: ") == 2 and "0x" not in first
    os.utime(report, (1, 1))
    collected(root, store)
    moved = root.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    collected(".", store)
    assert report.read_text() == first and report.stat().st_mtime == 1
    (moved / "train1" / FILES["left/9"]).write_bytes(png(texture(seed=5)))
    collected(moved, store)
    assert report.read_text() != first


def test_pixels_without_a_vote_are_counted(tmp_path, store, capsys):
    depth, confidence = np.full((64, 48), 128, np.uint8), np.ones((64, 48), np.float32)
    depth[:16], confidence[:, :3] = 0, 0.5
    write_capture(tmp_path / "root/train1", "apt1_0", depth=depth, confidence=confidence)
    collected(tmp_path / "root", store, "--stride", "1000")  # one patch, of the upper left 32 x 32 pixels
    assert "kept 0, dropped 1" in capsys.readouterr().out
    depth[:16], depth[:8] = 128, 0
    shutil.rmtree(tmp_path / "root")
    write_capture(tmp_path / "root/train1", "apt1_0", depth=depth, confidence=confidence)
    collected(tmp_path / "root", store, "--stride", "1000")
    assert "32.0% of the depth is not trusted and has no vote, 25.0% is missing" in capsys.readouterr().out


def test_another_view_is_reported_where_the_batch_looks(tmp_path, store):
    write_capture(tmp_path / "root/test", "books_5")
    for path in (tmp_path / "root").rglob("*_center.*"):
        path.rename(path.with_name(path.name.replace("center", "top")))
    collected(tmp_path / "root", store, "--view", "top")
    assert (store / photographs.REPORT).read_text().startswith("view top")
    assert photographs.STORE / photographs.REPORT == photographs.Path(photographs.PHOTOGRAPHS)
    assert cropped(store, tmp_path / "data").source["view"] == "top"


def test_outside_a_checkout_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("FCL_PROJECT", str(tmp_path))
    with pytest.raises(SystemExit, match="photographs: no checkout of fcl-companion at"):
        main(["collect", str(tmp_path)])


@pytest.mark.parametrize(
    "options, message",
    [
        (["--zmin", "0"], "zmin must be between 0 and 100 m"),
        (["--confidence", "99"], "confidence must be between 0 and 1, not 99"),
        (["--stride", "30"], "stride must be a multiple of 4 px"),
        (["--view", "middle"], "view must be one of center"),
    ],
)
def test_wrong_choices_are_refused_before_anything_is_read(miniature, store, options, message):
    with pytest.raises(SystemExit, match=f"photographs: {message}"):
        collected(miniature, store, *options)
    assert not store.exists()


def test_damaged_choices_are_named(miniature, store, tmp_path):
    collected(miniature, store)
    for text in ("{", json.dumps({"zmax": 3}), json.dumps({"zmin": -1})):
        (store / "choices.json").write_text(text)
        with pytest.raises(SystemExit, match="choices.json .*damaged.*: run `make learnaf ROOT=...` again"):
            cropped(store, tmp_path / "data")


def test_where_nothing_can_be_taken_the_reasons_are_told(root, store, capsys):
    collected(root, store)
    (root / "train1" / FILES["left/3"]).unlink()
    with pytest.raises(SystemExit, match="nothing below .*root could be taken: 1 left out, for the reasons above"):
        collected(root, store)
    assert "left out: train1/apt1_0: " in capsys.readouterr().out
    assert not (store / "center/report.txt").exists()


@pytest.mark.parametrize(
    "top, confidence, message", [("test", 1.0, "train: 0 captures"), ("train1", 0.3, "train: 1 captures, 8 patches; kept 0")]
)
def test_the_report_goes_on_where_there_are_no_labels_to_compare(tmp_path, store, capsys, top, confidence, message):
    write_capture(tmp_path / "root" / top, "apt1_0", confidence=np.full((64, 48), confidence, np.float32))
    write_capture(tmp_path / "root/train2", "apt2_0")
    (tmp_path / "root/train2/merged_conf/apt2_0/result_merged_conf_center.exr").unlink()
    collected(tmp_path / "root", store)
    said, report = capsys.readouterr().out, (store / "center/report.txt").read_text()
    for text in (said, report):
        assert "nothing to compare" in text and message in text and "1 captures, 8 patches; kept" in text
        assert text.count("left out: train2/apt2_0: ") == 1


def test_labels_are_compared_with_the_sharpest_slice(tmp_path, store, capsys):
    sharp = texture((256, 96))
    blurred = ndimage.gaussian_filter(sharp, 3)
    pictures = {0: (blurred, blurred), 30: (sharp, sharp), 31: (blurred, blurred), 48: (blurred, np.roll(blurred, 2, 0))}
    counts = np.full((64, 48), round(255 * (10 - FOCUS_DIOPTRES[30]) / 9.99), np.uint8)
    write_capture(tmp_path / "root/train1", "apt1_0", pictures=pictures, depth=counts)
    stacks = learnaf_stacks(tmp_path / "root")
    medians = compare_labels(stacks.slices[:3], counts[0, :3], 0.1)
    far_too_far = np.abs(FOCUS_DIOPTRES - FOCUS_DIOPTRES[30] / 2).argmin()  # half the dioptres
    assert medians == {0.1: 0, 0.2: 30 - far_too_far}
    collected(tmp_path / "root", store)
    assert "8 training patches: half of the labels lie within" in (said := capsys.readouterr().out) and "They agree" in said
    collected(tmp_path / "root", store, "--zmin", "0.2")
    assert "Another zmin fits better" in capsys.readouterr().out


@pytest.mark.parametrize(
    "medians, zmin, message",
    [
        ((2, 9), 0.1, "sharpest slice: 2 with zmin 0.1 m, 9 with zmin 0.2 m. They agree"),
        ((2, 2.5), 0.2, "They agree"),
        ((9, 2), 0.1, "Another zmin fits better: `--zmin 0.2`"),
        ((9, 12), 0.1, "No zmin makes labels agree"),
    ],
)
def test_the_comparison_ends_in_words(medians, zmin, message):
    assert message in verdict(dict(zip((0.1, 0.2), medians)), zmin)


@pytest.mark.parametrize(
    "error, message",
    [
        (OSError(28, "No space left on device"), r".*store: No space left on device. Mend that and run the command again"),
        (OSError("99 requested and 0 written"), r".*store: the disk may be full \(99 requested and 0 written\)"),
        (KeyboardInterrupt(), r"stopped. To go on, run the command again: what is in the store already is not read again"),
    ],
)
def test_a_full_disk_and_ctrl_c_are_one_line_and_lose_nothing(miniature, store, tmp_path, monkeypatch, error, message):
    packed, save, read = pack(miniature, tmp_path / "packed", reverse=True), np.save, []

    def fails(*arguments):
        raise error

    monkeypatch.setattr(np, "save", fails)
    with pytest.raises(SystemExit, match=f"photographs: {message}"):
        collected(packed, store)
    monkeypatch.setattr(np, "save", save)
    monkeypatch.setattr(intake, "read_counts", lambda data, name: read.append(name) or read_counts(data, name))
    collected(packed, store)
    assert len(read) == 2 * 99 - 98 and read_choices(store) == Choices()  # 98 images had arrived


def test_a_store_that_cannot_be_written_is_named(miniature, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"photographs: .*file/store: Not a directory"):
        collected(miniature, tmp_path / "file/store")


def test_a_damaged_capture_is_named_and_made_again(miniature, store, tmp_path):
    collected(miniature, store)
    file = store / "center/test/books_5/capture.json"
    whole = file.read_text()
    for text in (whole[:20], "{}", "[]", whole.replace('"lowest": 1', '"lowest": 2')):
        file.write_text(text)
        with pytest.raises(SystemExit, match="books_5/capture.json .*damaged .*: run `make learnaf ROOT=...` again"):
            cropped(store, tmp_path / "data")
    collected(miniature, store)
    assert file.read_text() == whole


# What folders and archives hold


@pytest.mark.parametrize("packed", [False, True])
def test_interpolated_images_alone_are_taken(tmp_path, packed):
    write_capture(tmp_path / "root/train1", "apt1_0", (256, 192), kinds=("raw_up", "up_pd"))
    (tmp_path / "root/test").mkdir()
    root = pack(tmp_path / "root", tmp_path / "packed") if packed else tmp_path / "root"
    left_out = collect(root, tmp_path / "store")
    assert list(left_out) == (["test.tar.gz"] if packed else ["test"])
    with pytest.warns(UserWarning, match="left out"):
        expected = learnaf_stacks(tmp_path / "root", images="interpolated")
    assert learnaf.store_stacks(tmp_path / "store").digest == expected.digest
    done = (tmp_path / "store/center/train1/apt1_0/capture.json").stat().st_mtime_ns
    assert collect(root, tmp_path / "store") == left_out
    assert (tmp_path / "store/center/train1/apt1_0/capture.json").stat().st_mtime_ns == done


def test_raw_images_are_taken_where_there_are_both(miniature, tmp_path):
    shutil.copytree(miniature, tmp_path / "root")
    for side in ("left", "right"):
        shutil.copytree(tmp_path / f"root/train1/raw_{side}_pd", tmp_path / f"root/train1/raw_up_{side}_pd")
    packed = pack(tmp_path / "root", tmp_path / "packed", reverse=True)
    assert collect(packed, tmp_path / "store") == {}
    assert learnaf.store_stacks(tmp_path / "store").digest == learnaf_stacks(miniature).digest


def test_members_are_forgotten_once_they_are_read(miniature, tmp_path):
    archive = pack(miniature, tmp_path / "packed") / "train1.tar.gz"
    kept = [len(tar.members) for tar, _ in _members(archive, progress=False)]
    assert len(kept) == 100 and max(kept) == 1


def test_a_folder_is_read_rather_than_its_archive(miniature, tmp_path):
    shutil.copytree(miniature, tmp_path / "root")
    (tmp_path / "root/train1.tar.gz").write_bytes(b"what was unpacked, and is damaged")
    assert collect(tmp_path / "root", tmp_path / "store") == {}


def test_a_line_that_was_being_written_spoils_no_other(tmp_path):
    first = Intake(tmp_path / "apt1_0", "origin")
    first.add("depth", "depth.png", lambda: png(np.zeros((4, 4), np.uint8)))
    first.log.write_text(first.log.read_text() + '\n{"slot": "left/')
    Intake(tmp_path / "apt1_0", "origin").add("left/0", "0.png", lambda: png(texture((16, 8))))
    assert list(Intake(tmp_path / "apt1_0", "origin").received) == ["depth", "left/0"]
