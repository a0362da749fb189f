"""A user's own sweep as a focal stack: what is put right, what is asked, and what is predicted on it."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from made_sweeps import DISTANCES, pictures, sweep
from PIL import Image
from tiny import TINY

from companion import own_stack
from companion.photographs import geometry
from companion.photographs.own import errors_by_start, labelled_sweeps, predictions, region_corner, sharpest, write_example
from companion.photographs.sweeps import Sweep, read_sweep
from fcl.checkpoints import load_model, new_model, save_model
from fcl.classical import gradient_energy
from fcl.optics import FOCUS_DIOPTRES, FOCUS_DISTANCES_MM
from fcl.simulator import simulate_stacks

pytestmark = pytest.mark.filterwarnings("ignore:one channel can't tell", "ignore:no shift between left and right")
REAL = os.environ.get("FCL_REAL_STACKS", "")


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
            transposed, *_ = geometry._two_views(sweep, True, [])
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


@pytest.mark.skipif(not Path(REAL).is_dir() or not REAL, reason="FCL_REAL_STACKS names no folder of real focal stacks")
def test_real_stacks_are_read_and_nearly_sharp_at_their_label():
    folders = sorted(path.parent for path in Path(REAL).glob("*/stack.json"))
    assert folders
    for folder in folders:
        stacks = own_stack(folder, 128, position=(0, 0))
        assert stacks.slices.max() > 255 and len(FOCUS_DISTANCES_MM) == stacks.slices.shape[1]
        assert abs(int(sharpest(stacks)[0]) - int(stacks.labels[0])) <= 8
