"""Mini-batches of S scenes x F slices, drawn without end."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batch:
    """One mini-batch: which stacks (S,), the starts (S, F) to look at, and whether the scene is mirrored across the
    baseline.
    """

    scenes: np.ndarray
    starts: np.ndarray
    flips: np.ndarray


class BatchSampler(Iterator[Batch]):
    """Endless mini-batches of S scenes with F distinct random starts each; every scene once per epoch, order redrawn.

    Its whole state is `state_dict()`: the generator's, and the scenes still to come in this epoch.
    """

    def __init__(self, stacks: int, scenes: int, slices_per_scene: int, starts: int, generator: np.random.Generator):
        if scenes > stacks:
            raise ValueError(f"a batch of {scenes} scenes needs at least as many stacks, not {stacks}")
        if slices_per_scene > starts:
            raise ValueError(f"F = {slices_per_scene} distinct starts asked for where the setting has only {starts}")
        self.stacks, self.scenes, self.slices_per_scene, self.starts = stacks, scenes, slices_per_scene, starts
        self.generator = generator
        self.queue = np.empty(0, np.int64)

    def __next__(self) -> Batch:
        if len(self.queue) < self.scenes:  # the remainder of an epoch is dropped: no scene twice in one batch
            self.queue = self.generator.permutation(self.stacks)
        scenes, self.queue = self.queue[: self.scenes], self.queue[self.scenes :]
        starts = self.generator.random((self.scenes, self.starts)).argsort(1)[:, : self.slices_per_scene]
        return Batch(scenes, starts, self.generator.random(self.scenes) < 0.5)

    def state_dict(self) -> dict:
        """JSON-serialisable state."""
        return {"generator": self.generator.bit_generator.state, "queue": self.queue.tolist()}

    def load_state_dict(self, state: dict) -> None:
        """Continue where `state_dict` was taken."""
        self.generator.bit_generator.state = state["generator"]
        self.queue = np.array(state["queue"], np.int64)
