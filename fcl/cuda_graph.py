"""Work that a GPU repeats without being asked for each of its parts: a CUDA graph.

A step of the paper profile is a thousand small operations. To ask a GPU for them takes longer than to do them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UPS = 3  # before it is recorded: libraries choose their methods and take their memory at first


class Replay:
    """`work(*inputs)`, recorded once and replayed with other values of the same shapes.

    What `work` returns and writes lies where it lay when it was recorded, and the next replay overwrites it. Random numbers
    go on from the state of torch's generator. `work` may not look at values, nor create tensors from numbers of the CPU.
    Recording runs it a few times: what that changes is the caller's to restore.
    """

    def __init__(self, work: Callable[..., Tensor], *inputs: Tensor) -> None:
        self.inputs = [value.clone() for value in inputs]
        with torch.cuda.device(inputs[0].device):
            aside, main = torch.cuda.Stream(), torch.cuda.current_stream()
            aside.wait_stream(main)
            with torch.cuda.stream(aside):
                for _ in range(WARM_UPS):
                    work(*self.inputs)
            main.wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=aside):
                self.result = work(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What `work` returns for these inputs."""
        for place, value in zip(self.inputs, inputs, strict=True):
            place.copy_(value)
        self.graph.replay()
        return self.result
