"""A user's own sweep: what is read from a folder, and what is wrong with it."""

import json
import os
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import TINY

from companion import own_stack
from companion.photographs import sweeps
from companion.photographs.sweeps import (
    Sweep,
    errors_by_start,
    labelled_sweeps,
    predictions,
    read_sweep,
    region_corner,
    sharpest,
    sweep_files,
    write_example,
)
from fcl.checkpoints import load_model, new_model, save_model
from fcl.classical import gradient_energy
from fcl.learnaf.images import read_counts
from fcl.optics import FOCUS_DIOPTRES, FOCUS_DISTANCES_MM
from fcl.simulator import simulate_stacks

REAL = os.environ.get("FCL_REAL_STACKS", "")


def sweep(folder, images, names="slice_{:02}.png", **about):
    folder.mkdir(exist_ok=True, parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / names.format(number))
    if about:
        (folder / "stack.json").write_text(json.dumps(about))
    return folder


pytestmark = pytest.mark.filterwarnings("ignore:one channel can't tell", "ignore:no shift between left and right")


def pictures(count=49, size=(80, 100), dtype=np.uint16, top=900, seed=0):
    return np.random.default_rng(seed).integers(0, top, (count, *size)).astype(dtype)


@pytest.fixture
def network(tmp_path):
    """A network that has learned nothing."""
    from dataclasses import replace

    config = replace(TINY, setting="I1", patch=64)
    save_model(new_model(config), config, tmp_path / "network.safetensors")
    return load_model(tmp_path / "network.safetensors")


@pytest.mark.parametrize(
    "dtype, top, names, white",
    [
        (np.uint16, 1000, "slice_{:02}.png", 1023),
        (np.uint16, 60000, "s{:02}.tif", 65535),
        (np.uint8, 256, "s{:02}.tiff", 255),
    ],
)
def test_one_channel(tmp_path, dtype, top, names, white):
    images = pictures(dtype=dtype, top=top)
    stacks = own_stack(sweep(tmp_path / "s", images, names, label=19))
    assert stacks.slices.shape == (1, 49, 2, 64, 64) and stacks.labels.tolist() == [19]
    for side in (0, 1):
        assert np.array_equal(stacks.slices[0, :, side], images[:, 8:72, 18:82])
    assert (stacks.black, stacks.white) == (0, white) and stacks.positions.tolist() == [[0, 0]]


def test_left_and_right_and_a_region(tmp_path):
    left, right = pictures(), pictures(seed=1)
    sweep(tmp_path / "s", left, "a{:02}_left.png")
    stacks = own_stack(sweep(tmp_path / "s", right, "a{:02}_right.png"), 32, corner=(4, 60))
    assert np.array_equal(stacks.slices[0, :, 1], right[:, 4:36, 60:92]) and stacks.source["views"] == 2
    assert stacks.positions[0] == pytest.approx([2 * 76 / 100 - 1, 2 * 20 / 80 - 1])


def test_other_focus_distances_take_the_nearest_image(tmp_path):
    distances = [150.0, 2000.0, 400.0]  # in any order
    images = pictures(3)
    stacks = own_stack(sweep(tmp_path / "s", images, focus_mm=distances))
    for index, dioptre in enumerate(FOCUS_DIOPTRES):
        nearest = min(range(3), key=lambda number: abs(1000 / distances[number] - dioptre))
        assert np.array_equal(stacks.slices[0, index, 0], images[nearest, 8:72, 18:82])
    covered = np.flatnonzero(stacks.source["covered"])
    assert covered.tolist() == list(range(1, 33)) and stacks.source["labelled"] is False


def test_a_sweep_covers_what_lies_between_its_ends(tmp_path):
    distances = [3910, 400, 390, 380, 370, 360]
    stacks = own_stack(sweep(tmp_path / "s", pictures(6), focus_mm=distances))
    assert np.flatnonzero(stacks.source["covered"]).tolist() == list(range(14))


def hill(peak, count):
    """Images that are sharpest at one of them; grey beside it, with ever less contrast."""
    pattern = np.indices((80, 100)).sum(0) // 2 % 2 * 800.0 - 400
    return [(500 + pattern / (1 + abs(number - peak))).astype(np.uint16) for number in range(count)]


@pytest.mark.parametrize("peak", [0, 3, 6])
def test_a_short_sweep_is_sharpest_where_its_image_was_taken(tmp_path, peak):
    """Seven images fill 49 indices: each is shown several times in a row, the outer ones far beyond the sweep."""
    taken = [10, 15, 20, 25, 30, 35, 40]
    stacks = own_stack(sweep(tmp_path / "s", hill(peak, 7), focus_mm=FOCUS_DISTANCES_MM[taken].tolist()))
    energy = gradient_energy(stacks.slices[0])
    assert (energy == energy.max()).sum() >= 5  # a plateau
    assert sharpest(stacks).tolist() == [taken[peak]]
    assert set(predictions({}, stacks)["hill climbing"].tolist()) == {taken[peak]}


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


def test_answers_and_errors(tmp_path, network):
    write_example(tmp_path / "example")
    stacks = own_stack(tmp_path / "example")
    found = predictions({"AFPE": network}, stacks)
    assert list(found) == ["AFPE", "hill climbing", "phase detection"] and all(len(curve) == 49 for curve in found.values())
    truth = int(stacks.labels[0])
    assert sharpest(stacks)[0] == gradient_energy(stacks.slices[0]).argmax()
    assert abs(sharpest(stacks)[0] - truth) <= 3 and abs(found["phase detection"][0] - truth) <= 3
    table = errors_by_start(found, truth)
    assert table["AFPE"][7] == abs(int(found["AFPE"][7]) - truth)
    either = errors_by_start({"mirror": 2 * np.arange(49) - 30, "label": np.full(49, 30)}, 30, either_side=True)
    assert (either == 0).all(axis=None)
    network.config = type("Config", (), {"setting": "D1"})
    stacks.source["views"] = 1
    with pytest.raises(ValueError, match="AFPE is trained for D1, which needs left and right, and example has one channel"):
        predictions({"AFPE": network}, stacks)


def two_pages(folder):
    (folder / "slice_03.png").unlink()
    first, second = (Image.fromarray(image) for image in pictures(2))
    first.save(folder / "slice_03.tif", save_all=True, append_images=[second])


DISTANCES = FOCUS_DISTANCES_MM.tolist()


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


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    write_example(folder := tmp_path_factory.mktemp("example"))
    return folder


def broken(example, folder, change=lambda views: views, step=1, **described):
    """The example with its views (49, 2, H, W) changed, its files reversed for step -1, and another stack.json."""
    folder.mkdir()
    views = change(read_sweep(example).images)[::step]
    for number, pair in enumerate(views):
        for side, image in zip(("left", "right"), pair):
            Image.fromarray(np.ascontiguousarray(image)).save(folder / f"slice_{number:02}_{side}.png")
    (folder / "stack.json").write_text(json.dumps({"label": 39} | described))
    return folder


KNOWN = {"focus_mm": DISTANCES}


@pytest.mark.parametrize(
    ("change", "order", "described", "warning"),
    [
        (lambda views: views[:, ::-1], 1, KNOWN, "right is the brighter view"),
        (lambda views: views[:, ::-1], 1, {}, "right is the brighter view"),
        (lambda views: views[..., ::-1, ::-1], 1, KNOWN, "the images are turned by half"),
        (lambda views: views[:, ::-1, ::-1, ::-1], 1, KNOWN, "right is the brighter view"),
        (lambda views: views.swapaxes(-1, -2), 1, KNOWN, ""),
        (lambda views: np.rot90(views, 1, (2, 3)), 1, KNOWN, "the images are mirrored"),
        (lambda views: views[:, ::-1].swapaxes(-1, -2), 1, KNOWN, "right is the brighter view"),
        (lambda views: views, -1, {}, "from near to far, and so it is read"),
        (lambda views: views, -1, {"order": "near to far"}, ""),
        (lambda views: views, -1, {"focus_mm": DISTANCES[::-1]}, ""),
    ],
)
def test_what_the_views_tell_is_put_right_and_said(example, tmp_path, recwarn, change, order, described, warning):
    right = own_stack(example)
    stacks = own_stack(broken(example, tmp_path / "s", change, order, **described))
    assert np.array_equal(stacks.slices, right.slices) and stacks.positions.tolist() == [[0, 0]]
    assert [str(told.message) for told in recwarn if warning in str(told.message)] or not warning
    assert bool(warning) == bool(len(recwarn))
    assert any(note.startswith("first image slice_00_left.png at") for note in stacks.source["notes"])


def test_what_the_views_leave_open_is_asked(example, tmp_path):
    folder = broken(example, tmp_path / "s", lambda views: views[:, ::-1], -1)
    with pytest.raises(ValueError, match='Either left and right are exchanged.*in which "order"'):
        own_stack(folder)


def test_the_region_is_turned_with_the_images(example, tmp_path):
    right = own_stack(example, 32, corner=(0, 40))
    with pytest.warns(UserWarning, match="turned by half"):
        turned = broken(example, tmp_path / "turned", lambda views: views[..., ::-1, ::-1], **KNOWN)
        stacks = own_stack(turned, 32, corner=(96, 56))
    assert np.array_equal(stacks.slices, right.slices) and np.array_equal(stacks.positions, right.positions)


def test_a_portrait_sweep_of_small_images_is_told_by_its_noise(tmp_path):
    """Of 40 simulated sweeps the shift alone would take some for turned that aren't."""
    for number, slices in enumerate(simulate_stacks(40, 21, 64).slices):
        sweep = Sweep(slices, {}, [], [list(slices[0]), list(slices[-1])], (64, 64), (0, 0), 1000)
        with warnings.catch_warnings(action="ignore"):
            transposed, *_ = sweeps._two_views(sweep, True, [])
        assert not transposed, number


def test_one_channel_tells_a_portrait_file_by_its_noise_but_not_the_order(tmp_path):
    slices = simulate_stacks(1, 7, 128).slices[0, :, 0]
    for name, images in (("as", slices), ("portrait", slices.swapaxes(-1, -2))):
        with pytest.warns(UserWarning, match="one channel can't tell in which order the lens moved"):
            stacks = own_stack(sweep(tmp_path / name, np.ascontiguousarray(images)))
        assert np.array_equal(stacks.slices[0, :, 0], slices[:, 32:96, 32:96])
        assert any("portrait files" in note for note in stacks.source["notes"]) is (name == "portrait")


def test_a_home_folder_is_meant_as_the_shell_means_it(tmp_path, monkeypatch):
    sweep(tmp_path / "s", pictures(49))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_stack("~/s").source["folder"] == "s"


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


def test_a_region_has_a_row_and_a_column():
    assert region_corner(-1, -1) is None and region_corner(0, 7) == (0, 7)
    for row, column in ((-1, 7), (7, -1)):
        with pytest.raises(ValueError, match=f"row {row} and column {column}: name both"):
            region_corner(row, column)


def test_examples_that_are_named_must_be_there(tmp_path):
    sweep(tmp_path / "real/one", pictures(1), label=3)
    assert labelled_sweeps("real", "", tmp_path) == labelled_sweeps("", str(tmp_path / "real"), Path("/nowhere"))
    assert labelled_sweeps("real", "", tmp_path) == [tmp_path / "real/one"]
    assert labelled_sweeps("", "", tmp_path) == labelled_sweeps("", "nowhere", tmp_path) == []
    with pytest.raises(ValueError, match="no folder with a stack.json in .*nowhere: `examples` names"):
        labelled_sweeps("nowhere", str(tmp_path / "real"), tmp_path)


def test_wrong_regions(tmp_path):
    folder = sweep(tmp_path / "s", pictures())
    for corner in ((-1, 0), (20, 0), (0, 40)):
        with pytest.raises(ValueError, match="a region of 64 px at row .* isn't inside images of 100 x 80"):
            own_stack(folder, corner=corner)
    with pytest.raises(ValueError, match="patch must be at least 1 px, not 0"):
        own_stack(folder, patch=0)
    with pytest.raises(ValueError, match="no PNG or TIFF images in .*nowhere"):
        read_sweep(tmp_path / "nowhere")


@pytest.mark.skipif(not Path(REAL).is_dir() or not REAL, reason="FCL_REAL_STACKS names no folder of real focal stacks")
def test_real_stacks_are_read_and_nearly_sharp_at_their_label():
    folders = sorted(path.parent for path in Path(REAL).glob("*/stack.json"))
    assert folders
    for folder in folders:
        stacks = own_stack(folder, 128, position=(0, 0))
        assert stacks.slices.max() > 255 and len(FOCUS_DISTANCES_MM) == stacks.slices.shape[1]
        assert abs(int(sharpest(stacks)[0]) - int(stacks.labels[0])) <= 8
