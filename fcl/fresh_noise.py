"""The closed loop with fresh sensor noise at each look: stored predictions don't suffice, it needs a trained network.

Light is rendered once per stack; every look exposes it anew. A lens rests when two predictions running are equal, and
otherwise after LOOKS looks it counts as unsettled.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from fcl.closed_loop import measure, next_start
from fcl.randomness import torch_generator
from fcl.scenes import Scene, make_scene
from fcl.settings import N
from fcl.simulator import CHUNK, SceneBatch, expose, render
from fcl.stacks import BLACK, WHITE

LOOKS = 20


def noise_free(scene: Scene) -> Tensor:
    """Light (49, 2, h, w) of a whole focal stack before the sensor, as `fcl.simulator.render` gives it."""
    batch = SceneBatch([scene])
    return torch.cat([render(batch, part[None])[0] for part in torch.arange(N).split(CHUNK)])


@torch.inference_mode()
def look_again(model: nn.Module, scene: Scene, light: Tensor, generator: torch.Generator) -> np.ndarray:
    """Predictions (starts, LOOKS) of a lens that is sent from every start of a stack and looks again, in new noise.

    model: in evaluation mode, on the CPU; light: `noise_free(scene)`. Once two predictions running are equal the lens rests
    there, and the last one is repeated to the end.
    """
    observed = model.setting
    looks = np.empty((observed.starts, LOOKS), np.int16)
    places, moving = np.arange(observed.starts), np.arange(observed.starts)  # where the next look begins; which still move
    noise, position = (torch.tensor(np.asarray(values, np.float32)) for values in (scene.noise, scene.position))
    for look in range(LOOKS):
        if look > 1:
            moving = moving[looks[moving, look - 1] != looks[moving, look - 2]]
            looks[:, look] = looks[:, look - 1]
        if not len(moving):
            continue
        frames = torch.from_numpy(places[moving, None] + np.arange(observed.frames))
        counts = expose(light[frames], noise.expand(len(moving), 2), generator)
        slices = (counts.float() - BLACK) / (WHITE - BLACK)
        logits = model(slices, torch.from_numpy(places[moving]), position.expand(len(moving), 2))
        looks[moving, look] = logits.argmax(-1).numpy()
        places = next_start(looks[:, look], observed.starts)
    return looks


def fresh_trajectories(
    models: Mapping[str, nn.Module], seed: int, numbers: Iterable[int], patch: int
) -> dict[str, dict[str, np.ndarray]]:
    """`fcl.closed_loop.trajectories` of stacks in fresh noise, for several networks by name.

    Where a lens doesn't rest within LOOKS looks, `cycles` is true (unsettled), and final_error that of the last look. seed
    and numbers name the scenes (`fcl.scenes.make_scene`); all networks look at the same light.
    """
    looks = {name: [] for name in models}
    labels = []
    for number in numbers:
        scene = make_scene(seed, number, patch)
        light = noise_free(scene)
        labels.append(scene.label())
        for name, model in models.items():
            generator = torch_generator(seed, "fresh noise", number)
            looks[name].append(look_again(model, scene, light, generator))
    outcomes = {}
    for name, parts in looks.items():
        stacked = np.stack(parts)
        outcomes[name] = measure(stacked, np.abs(stacked[..., -1] - np.array(labels)[:, None]))
    return outcomes
