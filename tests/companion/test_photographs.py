"""`make learnaf`: the report, what one may choose, and what is said where nothing, or not all, can be taken."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from miniature import pack, png, texture, write_capture
from scipy import ndimage

from companion.photographs import public as photographs
from companion.photographs.public import Choices, compare_labels, main, verdict
from fcl.learnaf import learnaf_stacks
from fcl.learnaf import patches as learnaf
from fcl.learnaf.intake import Intake
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
    assert "train: 1 captures, 8 patches; kept" in said and "387,000" in said and "labels against the sharpest slice" in said
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
    assert Choices.read(store) == Choices() and (store / "center/report.txt").read_text() == first


def test_another_view_is_reported_where_the_batch_looks(tmp_path, store):
    write_capture(tmp_path / "root/test", "books_5")
    for path in (tmp_path / "root").rglob("*_center.*"):
        path.rename(path.with_name(path.name.replace("center", "top")))
    collected(tmp_path / "root", store, "--view", "top")
    assert (store / photographs.REPORT).read_text().startswith("view top")
    assert photographs.STORE / photographs.REPORT == photographs.Path(photographs.PHOTOGRAPHS)
    assert cropped(store, tmp_path / "data").source["view"] == "top"


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


def test_spoilt_choices_are_named(miniature, store, tmp_path):
    collected(miniature, store)
    for text in ("{", json.dumps({"zmax": 3}), json.dumps({"zmin": -1})):
        (store / "choices.json").write_text(text)
        with pytest.raises(SystemExit, match="choices.json is spoilt"):
            cropped(store, tmp_path / "data")


def test_where_nothing_can_be_taken_the_reasons_are_told(root, store, capsys):
    collected(root, store)
    (root / "train1" / FILES["left/3"]).unlink()
    with pytest.raises(SystemExit, match="nothing below .*root could be taken: 1 left out, for the reasons above"):
        collected(root, store)
    assert "left out: train1/apt1_0: " in capsys.readouterr().out
    assert not (store / "center/report.txt").exists()


@pytest.mark.parametrize(
    "top, confidence, message",
    [("test", 1.0, "no captures for the split train"), ("train1", 0.3, "0 of 8 patches of the split train")],
)
def test_the_report_goes_on_where_there_are_no_labels_to_compare(tmp_path, store, capsys, top, confidence, message):
    write_capture(tmp_path / "root" / top, "apt1_0", confidence=np.full((64, 48), confidence, np.float32))
    write_capture(tmp_path / "root/train2", "apt2_0")
    (tmp_path / "root/train2/merged_conf/apt2_0/result_merged_conf_center.exr").unlink()
    collected(tmp_path / "root", store)
    said, report = capsys.readouterr().out, (store / "center/report.txt").read_text()
    for text in (said, report):
        assert "nothing to compare, because" in text and message in text and "1 captures, 8 patches; kept" in text
        assert text.count("left out: train2/apt2_0: ") == 1


def test_labels_are_compared_with_the_sharpest_slice(tmp_path, store, capsys):
    sharp = texture((256, 96))
    blurred = ndimage.gaussian_filter(sharp, 3)
    pictures = {0: (blurred, blurred), 30: (sharp, sharp), 31: (blurred, blurred), 48: (blurred, np.roll(blurred, 2, 0))}
    counts = np.full((64, 48), round(255 * (10 - FOCUS_DIOPTRES[30]) / 9.99), np.uint8)
    write_capture(tmp_path / "root/train1", "apt1_0", pictures=pictures, depth=counts)
    collect(tmp_path / "root", store)
    table = compare_labels(store)
    far_too_far = np.abs(FOCUS_DIOPTRES - FOCUS_DIOPTRES[30] / 2).argmin()  # half the dioptres
    assert table["median"].tolist() == [0, 30 - far_too_far]
    collected(tmp_path / "root", store)
    assert "Labels agree with the sharpest slices: with zmin 0.1 m half of 8 labels" in capsys.readouterr().out
    collected(tmp_path / "root", store, "--zmin", "0.2")
    assert "Another zmin fits better" in capsys.readouterr().out


@pytest.mark.parametrize(
    "medians, zmin, message",
    [
        ((2, 9), 0.1, r"Labels agree with the sharpest slices: .* within 2 indices"),
        ((2, 2.5), 0.2, r"Labels agree with the sharpest slices: with zmin 0.2 m .* within 2.5 indices"),
        ((9, 2), 0.1, r"Another zmin fits better: .* within 9 indices .* but within 2 with 0.2 m: `--zmin 0.2`"),
        ((9, 12), 0.1, r"No zmin makes labels agree"),
    ],
)
def test_the_comparison_ends_in_words(medians, zmin, message):
    table = pd.DataFrame({"median": medians, "mean": medians, "patches": 64}, index=[0.1, 0.2])
    assert re.match(message, verdict(table, zmin))


def test_a_full_disk_is_one_line(miniature, store, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(SystemExit, match=r"photographs: .*store: No space left on device. Run it again when"):
        collected(miniature, store)


def test_a_spoilt_capture_is_named_and_made_again(miniature, store, tmp_path):
    collected(miniature, store)
    file = store / "center/test/books_5/capture.json"
    whole = file.read_text()
    for text in (whole[:20], "{}", "[]"):
        file.write_text(text)
        with pytest.raises(SystemExit, match="books_5/capture.json is spoilt .*: run `make learnaf ROOT=...` again"):
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


def test_a_line_that_was_being_written_spoils_no_other(tmp_path):
    intake = Intake(tmp_path / "apt1_0", "origin")
    intake.add("depth", png(np.zeros((4, 4), np.uint8)), "depth.png")
    intake.log.write_text(intake.log.read_text() + '\n{"part": "left/')
    Intake(tmp_path / "apt1_0", "origin").add("left/0", png(texture((16, 8))), "0.png")
    assert list(Intake(tmp_path / "apt1_0", "origin").parts) == ["depth", "left/0"]
