"""Settings: what a network observes of a focal stack, D1 to D5, I1 to I5, D* and I*."""

import re
from dataclasses import dataclass

N = 49  # focal indices
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Setting:
    """What the network observes: `frames` consecutive slices, both views ("D") or their mean ("I")."""

    views: str
    frames: int

    @property
    def channels(self) -> int:
        """V, image channels per frame."""
        return 2 if self.views == "D" else 1

    @property
    def starts(self) -> int:
        """Number of start positions, N - m + 1: the last frame may not lie beyond the last focal index."""
        return N - self.frames + 1


def parse_setting(text: str) -> Setting:
    """The setting with this name: D1..D5, I1..I5, or D*, I* for the whole stack. ValueError for any other.

    >>> parse_setting("D3").starts
    47
    """
    match = re.fullmatch(r"([DI])([1-5]|\*)", str(text))
    if match is None:
        raise ValueError(f"setting must be one of D1..D5, D*, I1..I5, I*, got {text!r}")
    views, frames = match.groups()
    return Setting(views, N if frames == "*" else int(frames))
