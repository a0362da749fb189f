"""A user's own sweep: what is read from a folder, and what is wrong with it."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from made_sweeps import DISTANCES, pictures, sweep
from PIL import Image

from companion import own_stack
from companion.photographs import sweeps
from companion.photographs.sweeps import read_sweep, sweep_files
from fcl.learnaf.images import read_counts

pytestmark = pytest.mark.filterwarnings("ignore:one channel can't tell", "ignore:no shift between left and right")


def test_each_file_is_read_once_and_only_the_region_kept(tmp_path, monkeypatch):
    sweep(tmp_path / "s", pictures(size=(240, 300)))
    read, original = [], sweeps.read_counts
    monkeypatch.setattr(sweeps, "read_counts", lambda data, name: read.append(name) or original(data, name))
    tracemalloc.start()
    own_stack(tmp_path / "s", 32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(read) == len(set(read)) == 49
    assert peak < 3e6 < 49 * 240 * 300 * 2  # bytes


def two_pages(folder):
    (folder / "slice_03.png").unlink()
    first, second = (Image.fromarray(image) for image in pictures(2))
    first.save(folder / "slice_03.tif", save_all=True, append_images=[second])


def describes(**content):
    return lambda folder: (folder / "stack.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda folder: [path.unlink() for path in folder.glob("*.png")], "no PNG or TIFF images in"),
        (
            lambda folder: (folder / "slice_03.png").unlink(),
            "images of 48 positions; without focus distances there must be 49",
        ),
        (lambda folder: (folder / "slice_03.png").write_bytes(b"half"), "slice_03.png is no readable PNG or TIFF"),
        (lambda folder: Image.new("RGB", (100, 80)).save(folder / "slice_03.png"), "slice_03.png is RGB, not one channel"),
        (
            lambda folder: Image.fromarray(pictures(1, (90, 100))[0]).save(folder / "slice_03.png"),
            "slice_03.png is 100 x 90, 16 bit, but",
        ),
        (
            lambda folder: Image.fromarray(pictures(1, dtype=np.uint8)[0]).save(folder / "slice_03.png"),
            "slice_03.png is 100 x 80, 8 bit",
        ),
        (
            lambda folder: (folder / "slice_03.png").rename(folder / "left.png"),
            "has no partner: each position needs a left and a right image",
        ),
        (two_pages, "slice_03.tif holds 2 pages: save each image as a file of its own"),
        (
            lambda folder: (folder / "stack.json").write_text('{"focus_mm": [-1]}'),
            "must hold a number for each of the 49 positions",
        ),
        (
            lambda folder: (folder / "stack.json").write_text('{"label": 49}'),
            "stack.json: label must be a whole number from 0 to 48, not 49",
        ),
        (lambda folder: (folder / "stack.json").write_text("{"), "stack.json is no JSON"),
        (lambda folder: (folder / "stack.json").write_text("[" * 100_000), "stack.json is no JSON"),
        (lambda folder: (folder / "stack.json").write_text('{"label": 1, "label": 2}'), "a key is there twice"),
        (lambda folder: os.mkfifo(folder / "stack.json"), "stack.json is no JSON .a folder or a pipe"),
        (describes(focus_mm=[10**400] * 49), "numbers of millimetres above 0, not 1000"),
        (describes(focus_mm=[float("nan")] * 49), "numbers of millimetres above 0, not nan"),
        (describes(focus_mm={f"slice_{k:02}.png": 300 for k in range(50)}), "focus_mm names slice_49.png, and there is no"),
        (describes(label=19.0), "stack.json: label must be a whole number from 0 to 48, not 19.0"),
        (describes(focus_m=[1] * 49), "has the key 'focus_m'. Did you mean 'focus_mm'?"),
        (describes(order="backwards"), "order must be one of 'far to near', 'near to far', not 'backwards'"),
        (describes(focus_mm=[d / 1000 for d in DISTANCES]), "are these metres or dioptres. Write millimetres"),
        (describes(focus_mm=[1000 / d for d in DISTANCES]), "are these metres or dioptres. Write millimetres"),
        (describes(focus_mm=[1000 * d for d in DISTANCES]), "reaches none of the 49 focus distances.*in millimetres"),
        (describes(focus_mm={"slice_00.png": 3000}), "focus_mm names no distance for slice_01.png"),
        (lambda folder: os.mkfifo(folder / "slice_99.png"), "slice_99.png is no ordinary file"),
        (lambda folder: (folder / "stack.json").write_text("[1]"), "stack.json should be like"),
        (
            lambda folder: (folder / "stack.json").write_text('{"focus_mm": ["near"]}'),
            "must hold a number for each of the 49 positions",
        ),
    ],
)
def test_wrong_sweeps(tmp_path, spoil, message):
    folder = sweep(tmp_path / "s", pictures())
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        own_stack(folder)


def test_numbers_in_names_are_numbers(tmp_path):
    images = pictures(12)
    assert np.array_equal(read_sweep(sweep(tmp_path / "s", images, "img{}.png"))[0][:, 0], images)


@pytest.mark.parametrize(
    "names",
    [
        ["focus_0.10201m", "focus_0.1164m", "focus_0.9m"],
        ["z-240um", "z-20um", "z0um", "z+20um", "z+240um"],
        ["img-1", "img-2", "img-10"],  # no sign, but a dash
        ["a.1", "a.2", "a.10"],
        ["d7.02", "d7.2", "d10"],
        ["s1", "s01", "s2"],  # a tie goes by the whole name
    ],
)
def test_names_are_in_the_order_of_their_numbers(tmp_path, names):
    order = ["s01", "s1", "s2"] if "s01" in names else names
    for name in sorted(names):
        Image.fromarray(pictures(1)[0]).save(tmp_path / f"{name}.png")
    assert [pair[0].stem for pair in sweep_files(tmp_path)] == order


def test_pairs_are_told_by_the_whole_rest_of_the_name_and_distances_by_the_file(tmp_path):
    images, focus = {}, {}
    for number, (place, distance) in enumerate({"d7.02": 300.0, "d7.2": 200.0}.items()):
        for side in ("left", "right"):
            images[place, side] = pictures(1, seed=10 * number + len(side))[0]
            Image.fromarray(images[place, side]).save(tmp_path / f"{place}_{side}.png")
        focus[f"{place}_left.png"] = distance
    (tmp_path / "stack.json").write_text(json.dumps({"focus_mm": focus}))
    read = read_sweep(tmp_path)
    assert read.described["focus_mm"].tolist() == [300, 200]
    for number, place in enumerate(("d7.02", "d7.2")):
        for view, side in enumerate(("left", "right")):
            assert np.array_equal(read.images[number, view], images[place, side])


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_whatever_is_damaged_is_named(tmp_path, kind):
    """A few hundred flipped bits and cut ends of one image: it is read, or refused by name, without an object's address."""
    image = pictures(1, (12, 14))[0]
    Image.fromarray(image).save(tmp_path / f"image.{kind}")
    whole, draw, refused = (tmp_path / f"image.{kind}").read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        data = bytearray(whole[: draw.integers(1, len(whole))] if draw.random() < 0.2 else whole)
        data[draw.integers(len(data))] ^= 1 << draw.integers(8)
        try:
            read = read_counts(bytes(data), "image.x")
            assert kind == "tif" or np.array_equal(read, image)  # a PNG has checksums
        except ValueError as error:
            refused += 1
            assert str(error).startswith("image.x ") and " at 0x" not in str(error)
    assert refused > 50


@pytest.mark.parametrize("image, words", [(np.ones((4, 4), np.float32), "floats"), (np.ones((4, 4), np.int32), "signed")])
def test_other_numbers_are_called_what_they_are(tmp_path, image, words):
    Image.fromarray(image).save(tmp_path / "image.tif")
    with pytest.raises(ValueError, match=f"image.tif is {words}.*of 8 or 16 bit without sign"):
        read_counts((tmp_path / "image.tif").read_bytes(), "image.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_taken_where_they_are_stored(tmp_path, orientation):
    image = pictures(1, (6, 8))[0]
    Image.fromarray(image).save(tmp_path / "image.tif", tiffinfo={274: orientation})
    assert np.array_equal(read_counts((tmp_path / "image.tif").read_bytes(), "image.tif"), image)


def test_left_and_right_are_paired_by_name(tmp_path):
    for side, first in (("left", 1), ("right", 2)):
        for number, image in enumerate(pictures(3), first):
            Image.fromarray(image).save(tmp_path / f"{side}_{number}.png")
    with pytest.raises(ValueError, match="left_1.png has no partner"):
        read_sweep(tmp_path)


@pytest.mark.parametrize("name", ["bright_{:02}.png", "upright{}.png", "leftover {}.png"])
def test_left_and_right_are_words_of_their_own(tmp_path, name):
    assert len(sweep_files(sweep(tmp_path / "s", pictures(3), name))[0]) == 1


@pytest.mark.parametrize("name", ["{}_{{}}.png", "img{{}}{}.png", "{}{{}}.png", "a-{}-{{}}.png"])
def test_left_and_right_are_found_beside_anything_but_letters(tmp_path, name):
    for side in ("Left", "Right"):
        sweep(tmp_path / "s", pictures(3), name.format(side))
    assert [len(pair) for pair in sweep_files(tmp_path / "s")] == [2, 2, 2]


def test_files_that_systems_hide_are_no_images(tmp_path):
    sweep(tmp_path / "s", pictures(3))
    (tmp_path / "s/._slice_00.png").write_bytes(b"of macOS")
    assert len(read_sweep(tmp_path / "s").images) == 3


def test_wrong_regions(tmp_path):
    folder = sweep(tmp_path / "s", pictures())
    for corner in ((-1, 0), (20, 0), (0, 40)):
        with pytest.raises(ValueError, match="a region of 64 px at row .* isn't inside images of 100 x 80"):
            own_stack(folder, corner=corner)
    with pytest.raises(ValueError, match="patch must be at least 1 px, not 0"):
        own_stack(folder, patch=0)
    with pytest.raises(ValueError, match="no PNG or TIFF images in .*nowhere"):
        read_sweep(tmp_path / "nowhere")
