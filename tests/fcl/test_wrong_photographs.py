"""What is wrong with photographs: one clear error that names the file, or a skip that is counted and told."""

import io
import os
import re
import shutil
import tarfile

import numpy as np
import pytest
from miniature import SIZE, VIEW, exr, pack, png, texture
from PIL import Image

from fcl.learnaf import patches as learnaf
from fcl.learnaf.patches import learnaf_stacks, write_stacks
from fcl.learnaf.store import collect, expected_files
from fcl.stacks import FocalStacks

FILES = expected_files("apt1_0", VIEW, "raw")


def truncated(path):
    path.write_bytes(path.read_bytes()[:2000])


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


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
    *(("confidence", cut(share), r"conf_center.exr is no readable EXR image, or only a part") for share in (0.3, 0.5, 0.9)),
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


def test_only_plain_names_are_taken(root, tmp_path):
    for name in ("._apt1_0", "apt 1", "apt\x1b[31m1"):
        shutil.copytree(root / "train1/merged_conf/apt1_0", root / "train1/merged_conf" / name)
    shutil.copytree(root / "train1", root / "test")
    for place in (root, pack(root, tmp_path / "packed")):
        left_out = collect(place, tmp_path / "store" / place.name)
        assert len(left_out) == 4 and "\x1b" not in str(left_out.keys()) + "".join(left_out.values())
        assert "'apt 1' is no plain name" in left_out["train1/'apt 1'"]
        assert len(list((tmp_path / "store" / place.name).rglob("capture.json"))) == 2


def test_nothing_left_is_an_error_that_says_why(root):
    (root / "train1" / FILES["right/48"]).unlink()
    with pytest.raises(ValueError, match=r"no photographs in .*Left out:\n  train1/apt1_0: .*is missing"):
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
    with pytest.raises(ValueError, match=r"no photographs in .*Left out:\n  train1: .*train1 holds no merged_conf"):
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
