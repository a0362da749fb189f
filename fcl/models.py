"""The two networks of the paper, AFPE and L2A, on two backbones: MobileNetV2, and a compact one for CPUs.

Shapes
    B  samples     m  observed frames    N     focal indices, 49
    H, W  patch    V  views: left and right in a D setting, their mean in an I setting

A network takes `slices` (B, m, 2, H, W), the left and right images of the frames start .. start + m - 1 as (count - black) /
(white - black); `start` (B,); and `position` (B, 2), the patch centre (x, y) in [-1, 1] over the full frame. It returns
logits (B, N). torch.export, torch.compile and torch.func.vmap take a network as it is.

AFPE: Choi, Lee, Lee, "Exploring Positional Characteristics of Dual-Pixel Data for Camera Autofocus", ICCV 2023. L2A:
Herrmann et al., "Learning to Autofocus", CVPR 2020. The input channels are those of supplement A of "Stable Autofocus with
Focal Consistency Loss". The supplement does not state the normalisation: it was chosen here.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcl.losses import out_of_range
from fcl.optics import FRAME
from fcl.settings import N, Setting, parse_setting

STD_FLOOR = 1e-3  # in units of the sensor's range: a flat patch is not blown up to pure noise


def build_model(
    model: str = "afpe",
    setting: str = "D1",
    backbone: str = "mobilenet_v2",
    width: float = 1.0,
    generator: torch.Generator | None = None,
) -> "AutofocusNet":
    """A network with random initial weights.

    Args: model "afpe" or "l2a"; setting as for `parse_setting`; backbone "mobilenet_v2" or "compact"; width, which
        multiplies the backbone's channels (1 in the AFPE paper, 4 in L2A's); generator, on the CPU, which draws all
        initial weights, by default torch's global one.
    Raises: ValueError for any other model, setting, backbone or width, saying what is allowed.
    """
    for name, value, known in (("model", model, MODELS), ("backbone", backbone, BACKBONES)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    if not isinstance(width, (int, float)) or not 0 < width < math.inf:
        raise ValueError(f"width must be a positive number, got {width!r}")
    observed = parse_setting(setting)
    with torch.random.fork_rng(devices=[]):  # torch draws weights of its own here, which are replaced below
        network = MODELS[model](observed, BACKBONES[backbone], width)
    for layer in network.modules():  # as the public MobileNetV2; batch normalisation already starts as the identity
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", generator=generator)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01, generator=generator)
            nn.init.zeros_(layer.bias)
    return network


class AutofocusNet(nn.Module):
    """Encodes the observed frames as one image of many channels, for a backbone to classify.

    A subclass says how many `input_channels` there are, and how to `encode`.
    """

    def __init__(self, setting: Setting, backbone: type["Backbone"], width: float):
        super().__init__()
        self.setting = setting
        self.backbone = backbone(self.input_channels(setting), N, width)

    def forward(self, slices: Tensor, start: Tensor, position: Tensor) -> Tensor:
        """Logits (B, N). ValueError for arguments of another shape or type, or a start out of range (`out_of_range`)."""
        return self.backbone(self.encode(slices, start, position))

    def normalise(self, slices: Tensor, start: Tensor, position: Tensor) -> Tensor:
        """The slices as (B, m, V, H, W), minus their mean, divided by their standard deviation plus 1e-3.

        Both are taken over all frames, views and pixels of a sample, so that its frames stay comparable.
        """
        self._require(slices, start, position)
        if self.setting.channels == 1:
            slices = slices.mean(2, keepdim=True)
        flat = slices.flatten(1)
        centred = flat - flat.mean(1, keepdim=True)
        std = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / flat.shape[1] ** 0.5  # a tenth of std_mean's time
        return (centred / (std + STD_FLOOR)).view(slices.shape)

    def _require(self, slices: Tensor, start: Tensor, position: Tensor) -> None:
        m, last = self.setting.frames, self.setting.starts - 1
        if slices.dim() != 5 or slices.shape[1:3] != (m, 2) or not slices.is_floating_point():
            raise ValueError(
                f"slices must be floating point of shape (B, {m}, 2, H, W), "
                f"got {slices.dtype} of shape {tuple(slices.shape)}"
            )
        samples = slices.shape[0]  # torch.export takes len() for a constant
        if start.shape != (samples,) or start.is_floating_point() or start.dtype == torch.bool:
            raise ValueError(
                f"start must be of integers and shape ({samples},), got {start.dtype} of shape {tuple(start.shape)}"
            )
        if wrong := out_of_range(start, last):
            raise ValueError(f"start must lie in 0..{last} to observe {m} of {N} frames, got {wrong}")
        if position.shape != (samples, 2):
            raise ValueError(f"position must be of shape ({samples}, 2), got {tuple(position.shape)}")


class AFPE(AutofocusNet):
    """Sees the frames side by side, each with its lens position, and the place of each pixel in the full frame."""

    @staticmethod
    def input_channels(setting: Setting) -> int:
        return (setting.channels + 1) * setting.frames + 2

    def encode(self, slices: Tensor, start: Tensor, position: Tensor) -> Tensor:
        """(B, (V + 1) m + 2, H, W): for each frame its views and f = k/48, then the pixels' x and y."""
        # Joined at once and channels last, as the convolutions want it: rearranging it later costs up to a third of a step.
        frames = self.normalise(slices, start, position).permute(1, 0, 3, 4, 2)  # (m, B, H, W, V)
        m, *image, _ = frames.shape  # image: B, H, W
        focus = (_indices(start, m).to(frames.dtype) / (N - 1))[..., None, None, None]  # (B, m, 1, 1, 1)
        x, y = position.to(frames.dtype)[..., None, None, None].unbind(1)  # (B, 1, 1, 1) each
        channels = [channel for pair in zip(frames, focus.unbind(1)) for channel in pair]
        channels.append(x + _offsets(image[2], FRAME[1], frames)[:, None])
        channels.append(y + _offsets(image[1], FRAME[0], frames)[:, None, None])
        return torch.cat([channel.expand(*image, -1) for channel in channels], -1).permute(0, 3, 1, 2)


class L2A(AutofocusNet):
    """Sees a whole stack, of which only the observed frames are filled in; it does not use the position."""

    @staticmethod
    def input_channels(setting: Setting) -> int:
        return setting.channels * N

    def encode(self, slices: Tensor, start: Tensor, position: Tensor) -> Tensor:
        """(B, V N, H, W): the views of frame 0, of frame 1, ..., zeros where nothing was observed."""
        frames = self.normalise(slices, start, position)
        samples = frames.shape[0]
        stack = frames.new_zeros(samples, N, *frames.shape[2:])
        sample = torch.arange(samples, device=start.device)[:, None]  # (B, 1)
        stack[sample, _indices(start, self.setting.frames)] = frames
        return stack.flatten(1, 2)

    def forward(self, slices: Tensor, start: Tensor, position: Tensor) -> Tensor:
        """Logits (B, N), those of `backbone(encode(...))`, without convolving the zeros."""
        frames = self.normalise(slices, start, position).flatten(1, 2)  # (B, m V, H, W)
        if self.setting.frames == N:
            return self.backbone(frames)
        first = self.setting.channels * start.long()
        return self.backbone.body(convolve_observed(frames, first, self.backbone.stem))


def convolve_observed(observed: Tensor, first: Tensor, stem: nn.Conv2d) -> Tensor:
    """The output of `stem` for inputs that are zero in all channels but first .. first + c - 1.

    Each sample is multiplied by its own columns of the weight only: in D1, 2 of the 98.

    Args: observed (B, c, H, W), those channels; first (B,), integers; stem, a convolution without bias.
    Returns: (B, C, rows, columns). Values and gradients are those of the dense form, up to rounding.
    """
    samples, c, height, _ = observed.shape
    weight = stem.weight.transpose(0, 1).flatten(2)  # (all channels, C, 9), for 9 taps of the filter
    weight = weight.index_select(0, _indices(first, c).flatten()).unflatten(0, (samples, c))  # (B, c, C, 9)
    weight = weight.transpose(1, 2).flatten(2)  # (B, C, c 9)
    patches = F.unfold(observed, stem.kernel_size, padding=stem.padding, stride=stem.stride)  # (B, c 9, ...)
    rows = (height + 2 * stem.padding[0] - stem.kernel_size[0]) // stem.stride[0] + 1
    return (weight @ patches).unflatten(-1, (rows, -1))


def _indices(first: Tensor, count: int) -> Tensor:
    """first, first + 1, ... for each sample: (B,) -> (B, count)."""
    return first.long()[:, None] + torch.arange(count, device=first.device)


def _offsets(pixels: int, frame: int, like: Tensor) -> Tensor:
    """Distance of each pixel from the patch centre along one axis, in half frames like positions: (pixels,)."""
    return (torch.arange(pixels, device=like.device, dtype=like.dtype) - (pixels - 1) / 2) / (frame / 2)


class Backbone(nn.Module):
    """Classifier (B, channels, H, W) -> (B, classes): `stem`, its first convolution, and `body`, the rest."""

    def __init__(self, stem: nn.Conv2d, *body: nn.Module):
        super().__init__()
        self.stem, self.body = stem, nn.Sequential(*body)

    def forward(self, images: Tensor) -> Tensor:
        return self.body(self.stem(images))


class Compact(Backbone):
    """For CPUs: a 7x7 stem of stride 4, then residual 3x3 layers on the small images that it leaves; linear head.

    Chosen by accuracy per core-second of the D1 baseline on simulated validation stacks.
    """

    STAGES = ((64, 2), (128, 1))  # channels, residual layers; each stage begins with stride 2

    def __init__(self, input_channels: int, classes: int = N, width: float = 1.0):
        channels = divisible_by_8(32 * width)
        layers = convolution(input_channels, channels, kernel=7, stride=4, activation=nn.ReLU)
        for unscaled, residuals in self.STAGES:
            previous, channels = channels, divisible_by_8(unscaled * width)
            layers += convolution(previous, channels, kernel=3, stride=2, activation=nn.ReLU)
            layers += [Residual(channels) for _ in range(residuals)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Residual(nn.Module):
    """A 3x3 convolution added to its input, then ReLU."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(*convolution(channels, channels, kernel=3)[:-1])  # the sum is rectified

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(features + self.layers(features))


class MobileNetV2(Backbone):
    """Sandler et al., CVPR 2018: the standard layers, with any number of input channels and classes."""

    # expansion, channels, repeats, stride of the first
    BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, input_channels: int, classes: int = N, width: float = 1.0):
        channels, last = divisible_by_8(32 * width), divisible_by_8(1280 * max(1.0, width))
        layers = convolution(input_channels, channels, kernel=3, stride=2)
        for expansion, wide, repeats, stride in self.BLOCKS:
            for repeat in range(repeats):
                previous, channels = channels, divisible_by_8(wide * width)
                layers.append(InvertedResidual(previous, channels, 1 if repeat else stride, expansion))
        layers += convolution(channels, last, kernel=1)
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(last, classes)]
        super().__init__(*layers)


class InvertedResidual(nn.Module):
    """Widens, filters each channel by itself and projects back; the input is added where the shapes agree."""

    def __init__(self, channels: int, output_channels: int, stride: int, expansion: int):
        super().__init__()
        wide = channels * expansion
        self.residual = stride == 1 and channels == output_channels
        self.layers = nn.Sequential(
            *(convolution(channels, wide, kernel=1) if expansion > 1 else []),
            *convolution(wide, wide, kernel=3, stride=stride, groups=wide),
            *convolution(wide, output_channels, kernel=1)[:-1],
        )  # the projection is linear: no activation

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features) if self.residual else self.layers(features)


def convolution(
    channels: int,
    output_channels: int,
    *,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] = nn.ReLU6,
) -> list[nn.Module]:
    """Convolution without bias, batch normalisation, activation."""
    return [
        nn.Conv2d(channels, output_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(output_channels),
        activation(inplace=True),
    ]


def divisible_by_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and never more than a tenth below: MobileNet's rounding."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


MODELS = {"afpe": AFPE, "l2a": L2A}
BACKBONES = {"mobilenet_v2": MobileNetV2, "compact": Compact}
