"""What is wrong with photographs: one clear error that names the file, or a skip that is counted and told."""

import gzip
import io
import os
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from miniature import SIZE, VIEW, exr, pack, png, texture
from PIL import Image

from fcl import crops
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
    (
        "right/1",
        replaced(png(texture((128, 96)))),
        r"1/result_pd_right_center.png is 96 x 128, but the images before it are 96 x 256",
    ),
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
        ({"patch": 130}, "patch must be a multiple of 4 px"),
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
        assert "only a part of the archive" in left_out["train1.tar"] and "can't be read" in left_out["train1/apt1_0"]
    else:
        assert re.match("train1.tar: .* is a link, or leads out of the archive", left_out["train1/apt1_0"])
    assert collect(tmp_path / "packed", tmp_path / "store") == left_out  # told again the next time


def named_in_archive(tmp_path, content, name="train1.tar.gz"):
    """What is said of an archive with this content."""
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / name).write_bytes(content)
    return collect(tmp_path / "packed", tmp_path / "store")


def tar_of(*members):
    """An archive of (header, data); data may be shorter than the header says."""
    file = io.BytesIO()
    for header, data in members:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512))
    file.write(bytes(2 * 512))
    return file.getvalue()


def header(name, size=0, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member


@pytest.mark.parametrize("last", [bytes(8), b"\xff" * 4], ids=["another checksum", "4 GB"])
def test_the_end_of_gzip_is_read(miniature, tmp_path, last):
    """The checksum and the length lie behind the end of the tar archive inside."""
    archive = pack(miniature, tmp_path / "whole") / "train1.tar.gz"
    left_out = named_in_archive(tmp_path, archive.read_bytes()[: -len(last)] + last)
    assert list(left_out) == ["train1.tar.gz"] and "is damaged or only a part of the archive" in left_out["train1.tar.gz"]
    assert (tmp_path / "store/center/train1/apt1_0/capture.json").exists()  # its images brought checksums of their own


@pytest.mark.parametrize(
    "kind, place, message",
    [
        (tarfile.REGTYPE, "train1/apt1_0", "png declares 4,294,967,296 bytes, more than any image"),
        (tarfile.FIFOTYPE, "train1/apt1_0", "png is no regular file"),
        (tarfile.GNUTYPE_LONGNAME, "train1.tar.gz", "a file name of 4,294,967,296 bytes"),
        (tarfile.XHDTYPE, "train1.tar.gz", "a file name of 4,294,967,296 bytes"),
    ],
)
def test_what_an_archive_declares_is_not_believed(tmp_path, kind, place, message):
    size = 0 if kind == tarfile.FIFOTYPE else 2**32
    giant = tar_of((header(f"train1/{FILES['left/0']}", size, kind), b""))
    assert message in named_in_archive(tmp_path, gzip.compress(giant))[place]


def test_a_damaged_header_is_not_the_end(tmp_path):
    first = header(f"train1/{FILES['depth']}")
    archive = bytearray(tar_of((first, b""), (first, b"")))
    archive[512 + 20] ^= 1
    assert "train1.tar is damaged" in named_in_archive(tmp_path, archive, "train1.tar")["train1.tar"]


def test_pipes_are_not_opened(root):
    """To open one waits for somebody to write into it."""
    path = root / "train1" / FILES["left/2"]
    path.unlink()
    os.mkfifo(path)
    os.mkfifo(root / "test.tar.gz")
    left_out = collect(root, root / "store")
    assert left_out["train1/apt1_0"].endswith("2/result_pd_left_center.png is no regular file")
    assert left_out["test.tar.gz"].startswith("test.tar.gz is no regular file")


def test_a_file_that_cannot_be_read_is_named(root, monkeypatch):
    read, victim = Path.read_bytes, root / "train1" / FILES["left/3"]

    def fails(path):
        if path == victim:
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fails)
    assert collect(root, root / "store")["train1/apt1_0"].endswith("png can't be read (Input/output error)")


# What is not this project's, and what is damaged in the store


def test_nothing_that_is_somebody_elses_is_removed(root, tmp_path):
    for place in ("store", "store/center/train1/apt1_0"):
        store = tmp_path / place.replace("/", "-") / "store"
        file = store.parent / place / "thesis.tex"
        if place != "store":
            collect(root, store)
            shutil.rmtree(file.parent)
        file.parent.mkdir(parents=True)
        file.write_text("years")
        with pytest.raises(ValueError, match="was not made by this project and is left as it is"):
            collect(root, store)
        assert [path.name for path in file.parent.iterdir()] == ["thesis.tex"] and file.read_text() == "years"
    with pytest.raises(ValueError, match="was not made by this project"):
        write_stacks(learnaf_stacks(root), file.parent)


@pytest.mark.parametrize("name", ["frames.npy", "depth.npy", "confidence.npy", "capture.json"])
def test_a_damaged_store_is_named_and_made_again(root, tmp_path, name):
    store = tmp_path / "store"
    collect(root, store)
    expected = learnaf.store_stacks(store)
    file = store / "center/train1/apt1_0" / name
    sound, numbers = file.read_bytes(), np.random.default_rng(0)
    flips = [numbers.integers(len(sound) if number % 2 else 128) for number in range(20)]  # half of them in the header
    for damage in (b"", b"PK\x03\x04", sound[:-1], *flips):
        damaged = bytearray(sound)
        if isinstance(damage, bytes):
            damaged = damage
        else:
            damaged[damage] ^= 1 << numbers.integers(8)
        file.write_bytes(damaged)
        try:
            digest = learnaf.store_stacks(store).digest
            assert name == "capture.json" and digest == expected.digest  # a blank of JSON
        except ValueError as error:
            assert re.search(f"apt1_0/{name} .*run `make learnaf ROOT=...` again", str(error))
    file.unlink()
    assert collect(root, store) == {} and learnaf.store_stacks(store).digest == expected.digest
    assert file.read_bytes() == sound


def test_damaged_crops_are_named(miniature, tmp_path):
    stacks = learnaf_stacks(miniature)
    write_stacks(stacks, tmp_path / "train")
    file, numbers = tmp_path / "train/crops.npz", np.random.default_rng(0)
    sound = file.read_bytes()
    for _ in range(200):
        damaged = bytearray(sound)
        damaged[numbers.integers(len(sound))] ^= 1 << numbers.integers(8)
        file.write_bytes(damaged)
        try:
            assert np.array_equal(FocalStacks.load(tmp_path / "train").slices.places, stacks.slices.places)
        except ValueError as error:
            assert "crops.npz" in str(error) and "remove its folder, and it is made again" in str(error)


def test_missing_store_files_are_named(miniature, tmp_path):
    store = tmp_path / "store"
    collect(miniature, store)
    write_stacks(learnaf.store_stacks(store), tmp_path / "train")
    (store / "center/train1/apt1_0/frames.npy").unlink()
    with pytest.raises(ValueError, match=r"frames.npy is missing: run `make learnaf ROOT=...` again"):
        FocalStacks.load(tmp_path / "train")


def test_patches_outside_the_frames_are_refused(miniature, tmp_path):
    """Such as of frames that were collected again at another size."""
    slices = learnaf_stacks(miniature, patch=64).slices
    with pytest.raises(ValueError, match="patches of 64 px lie outside the frames, 256 x 192 px, of .*frames.npy: run"):
        crops.Crops(slices.files, slices.places + (0, 200, 0), 64, halved=True, transposed=True, mirrored=False)
