"""A checked line stands for a true statement, and reads the same on another processor."""

import doctest

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from companion.report import teaching
from companion.report.teaching import check, curves


@pytest.mark.parametrize(
    ("value", "expected", "tolerance", "line"),
    [
        (1.23449, 1.23451, 1e-3, "ok  it: 1.234 (expected 1.235)"),
        (3e-17, 0, 1e-9, "ok  it: 0 (expected 0)"),
        (-3e-17, 0, 1e-9, "ok  it: 0 (expected 0)"),
        (0.6276, 0.625, 1e-2, "ok  it: 0.63 (expected 0.625)"),
        (9800, 9800, 0, "ok  it: 9800 (expected 9800)"),
        (0.1 + 0.2, 0.3, 1e-9, "ok  it: 0.3 (expected 0.3)"),
        (np.float32(2.5), 2.5, 1e-9, "ok  it: 2.5 (expected 2.5)"),
        (torch.tensor(7), 7, 0, "ok  it: 7 (expected 7)"),
        (np.zeros((2, 3)), 0, 1e-9, "ok  it: 6 values as expected"),
        (torch.arange(3), [0, 1, 2], 0, "ok  it: 3 values as expected"),
        ([7.0], 7, 0, "ok  it: 1 value as expected"),
    ],
)
def test_agreement_prints_a_line(capsys, value, expected, tolerance, line):
    check("it", value, expected, tolerance)
    assert capsys.readouterr().out == line + "\n"


@pytest.mark.parametrize("exact", [1.0625, 2.5, 0.3, 12345.0])
def test_the_last_bits_do_not_change_the_line(capsys, exact):
    """1.0625 lies on a boundary of rounding to four digits: its neighbours print as it does."""
    for value in (exact, np.nextafter(exact, 0), np.nextafter(exact, 1e9)):
        check("it", value, value)
    assert len(set(capsys.readouterr().out.splitlines())) == 1


@pytest.mark.parametrize(
    ("value", "expected", "message"),
    [
        (1.0, 1.1, "it: 1 is not 1.1 within 1e-09"),
        (float("nan"), 1.0, "it: nan is not 1"),
        (1.0, float("nan"), "it: 1 is not nan"),
        ([1.0, 2.0, 9.0], [1.0, 2.5, 3.0], "it: 9 is not 3"),
        ([1.0, float("nan")], 1.0, "it: nan is not 1"),
    ],
)
def test_disagreement_stops(capsys, value, expected, message):
    with pytest.raises(AssertionError, match=message):
        check("it", value, expected)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "expected"), [([], 0), ([1.0, 1.0], [1.0]), (1.0, [1.0, 1.0]), ([[1.0], [1.0]], [1.0, 1.0])]
)
def test_shapes_that_would_broadcast_are_refused(value, expected):
    with pytest.raises(ValueError, match="can't be compared"):
        check("it", value, expected)


def test_the_example_in_the_docstring():
    assert doctest.testmod(teaching).failed == 0


def test_curves_of_one_name_look_alike_in_every_panel():
    figure = curves(
        [1, 2, 3], {"left": {"a": [1, 2, 3], "b": [3, 2, 1]}, "right": {"b": [5, 5, 6]}}, ylabel="nats", ylim=(0, 9)
    )
    left, right = figure.axes
    assert [left.get_title(), right.get_title()] == ["left", "right"]
    assert [line.get_ydata().tolist() for line in left.lines + right.lines] == [[1, 2, 3], [3, 2, 1], [5, 5, 6]]
    assert left.lines[1].get_color() == right.lines[0].get_color() != left.lines[0].get_color()
    assert left.get_ylim() == right.get_ylim() == (0, 9) and right.get_ylabel() == "nats"
    assert [text.get_text() for text in figure.legends[0].texts] == ["a", "b"]
    plt.close(figure)
