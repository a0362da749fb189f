"""The networks: their input against loops over pixels, their size against published counts, L2A twice."""

import doctest
import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fcl import models, settings
from fcl.losses import ordinal_loss
from fcl.models import AFPE, L2A, Compact, MobileNetV2, build_model, convolve_observed, divisible_by_8
from fcl.settings import Setting, parse_setting

SETTINGS = [f"{views}{frames}" for views in "DI" for frames in (1, 2, 3, 4, 5, "*")]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def observe(setting, samples=3, height=6, width=8, seed=0, dtype=torch.float64):
    """Random arguments of a call, with the first and the last start among them."""
    generator, setting = seeded(seed), parse_setting(setting)
    slices = torch.rand(samples, setting.frames, 2, height, width, generator=generator, dtype=dtype)
    start = torch.randint(0, setting.starts, (samples,), generator=generator)
    start[0], start[-1] = 0, setting.starts - 1
    return slices, start, 2 * torch.rand(samples, 2, generator=generator, dtype=dtype) - 1


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


# Settings


def test_settings():
    assert parse_setting("D3") == Setting("D", 3) and parse_setting("I*") == Setting("I", 49)
    assert [parse_setting(text).starts for text in ("D1", "D5", "I2", "D*")] == [49, 45, 48, 1]
    assert parse_setting("D1").channels == 2 and parse_setting("I1").channels == 1


@pytest.mark.parametrize("text", ["D0", "D6", "d1", "D", "D11", "E1", "Dall", "D1 ", "D49", ""])
def test_other_settings_are_refused(text):
    with pytest.raises(ValueError, match=r"D1\.\.D5, D\*, I1\.\.I5, I\*"):
        parse_setting(text)


# The input


def views_of(setting, sample, frame):
    """The images of one frame as lists of rows: left and right, or their mean."""
    left, right = sample[frame].tolist()
    if setting.views == "D":
        return [left, right]
    return [[[(a + b) / 2 for a, b in zip(*rows)] for rows in zip(left, right)]]


def slowly_normalised(setting, sample):
    """[frame][view][row][column], normalised by loops over single pixels."""
    frames = [views_of(setting, sample, frame) for frame in range(setting.frames)]
    pixels = [pixel for views in frames for view in views for row in view for pixel in row]
    mean = sum(pixels) / len(pixels)
    std = math.sqrt(sum((pixel - mean) ** 2 for pixel in pixels) / len(pixels))
    return [[[[(pixel - mean) / (std + 1e-3) for pixel in row] for row in view] for view in views] for views in frames]


@pytest.mark.parametrize("text", ["D1", "D3", "I1", "I2", "D*"])
def test_afpe_input_pixel_by_pixel(text):
    setting = parse_setting(text)
    slices, start, position = observe(text, height=3, width=4)
    found = build_model("afpe", text, "compact").encode(slices, start, position)
    for b, sample in enumerate(slices):
        channels = []
        for i, views in enumerate(slowly_normalised(setting, sample)):
            channels += views
            channels.append([[(start[b].item() + i) / 48] * 4] * 3)
        x, y = position[b].tolist()
        channels.append([[x + (column - 1.5) / 1008 for column in range(4)] for _ in range(3)])
        channels.append([[y + (row - 1.0) / 756 for _ in range(4)] for row in range(3)])
        torch.testing.assert_close(found[b], torch.tensor(channels, dtype=torch.float64))


@pytest.mark.parametrize("text", ["D1", "D3", "I1", "I2", "I*"])
def test_l2a_input_pixel_by_pixel(text):
    setting = parse_setting(text)
    slices, start, position = observe(text, height=3, width=4)
    found = build_model("l2a", text, "compact").encode(slices, start, position)
    for b, sample in enumerate(slices):
        channels = [[[0.0] * 4] * 3] * (setting.channels * 49)
        for i, views in enumerate(slowly_normalised(setting, sample)):
            for v, view in enumerate(views):
                channels[setting.channels * (start[b].item() + i) + v] = view
        torch.testing.assert_close(found[b], torch.tensor(channels, dtype=torch.float64))


@pytest.mark.parametrize("text", SETTINGS)
def test_channels_of_the_input(text):
    setting = parse_setting(text)
    slices, start, position = observe(text, dtype=torch.float32)
    afpe, l2a = build_model("afpe", text, "compact"), build_model("l2a", text, "compact")
    assert type(afpe) is AFPE and type(l2a) is L2A
    per_frame = 3 if setting.views == "D" else 2
    assert afpe.encode(slices, start, position).shape == (3, per_frame * setting.frames + 2, 6, 8)
    assert l2a.encode(slices, start, position).shape == (3, 98 if setting.views == "D" else 49, 6, 8)
    for model in (afpe, l2a):
        assert model.encode(slices, start, position).dtype == torch.float32
        assert model(slices, start, position).shape == (3, 49)


@pytest.mark.parametrize("model", ["afpe", "l2a"])
def test_a_flat_patch_is_finite(model):
    slices, start, position = observe("D2", dtype=torch.float32)
    network = build_model(model, "D2", "compact")
    assert network(torch.full_like(slices, 0.3), start, position).isfinite().all()


def test_only_a_one_channel_setting_cannot_tell_left_from_right():
    for text, same in (("D2", False), ("I2", True)):
        slices, start, position = observe(text, dtype=torch.float32)
        network = build_model("afpe", text, "compact").eval()
        swapped = network(slices.flip(2), start, position)
        assert torch.allclose(network(slices, start, position), swapped, atol=1e-6) == same


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.uint16, torch.uint64])
@pytest.mark.parametrize("model", ["afpe", "l2a"])
def test_any_integer_start(model, dtype):
    slices, start, position = observe("D1", dtype=torch.float32)
    network = build_model(model, "D1", "compact").eval()
    torch.testing.assert_close(network(slices, start.to(dtype), position), network(slices, start, position))


# Exported, compiled, vectorised

NETWORKS = pytest.mark.parametrize(
    "model, setting, backbone",
    [("afpe", "D2", "compact"), ("afpe", "I1", "mobilenet_v2"), ("l2a", "D2", "compact"), ("l2a", "D*", "compact")],
)


@NETWORKS
def test_an_exported_network_takes_any_number_of_samples_and_any_patch(model, setting, backbone):
    network = build_model(model, setting, backbone, generator=seeded(0)).eval()
    batch, side = torch.export.Dim("batch"), torch.export.Dim.DYNAMIC
    shapes = {0: batch, 3: side, 4: side}, {0: batch}, {0: batch}
    arguments = observe(setting, height=64, width=96, dtype=torch.float32)
    exported = torch.export.export(network, arguments, dynamic_shapes=shapes).module()
    for samples, height, width in ((1, 64, 96), (3, 64, 64), (5, 40, 128)):
        arguments = observe(setting, samples, height, width, seed=1, dtype=torch.float32)
        torch.testing.assert_close(exported(*arguments), network(*arguments))


@pytest.mark.parametrize("model", ["afpe", "l2a"])
def test_a_network_compiles_to_one_graph(model):
    torch.compiler.reset()
    network = build_model(model, "D2", "compact", generator=seeded(0)).eval()
    arguments = observe("D2", height=32, width=32, dtype=torch.float32)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*arguments), network(*arguments))


@NETWORKS
def test_gradients_per_sample_are_those_of_a_loop(model, setting, backbone):
    network = build_model(model, setting, backbone, generator=seeded(0)).double().eval()
    parameters = dict(network.named_parameters())

    def loss(parameters, target, *sample):
        logits = torch.func.functional_call(network, parameters, tuple(values[None] for values in sample))
        return ordinal_loss(logits, target[None])[0]

    gradient = torch.func.grad(loss)
    arguments = torch.tensor([0, 20, 48]), *observe(setting, height=32, width=32)
    vectorised = torch.func.vmap(gradient, in_dims=(None, 0, 0, 0, 0))(parameters, *arguments)
    for sample in range(3):
        looped = gradient(parameters, *(values[sample] for values in arguments))
        for name, expected in looped.items():
            torch.testing.assert_close(vectorised[name][sample], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("model", ["afpe", "l2a"])
def test_one_slice_seen_from_every_start_at_once(model):
    network = build_model(model, "D1", "compact", generator=seeded(0)).double().eval()
    slices, _, position = observe("D1", samples=1)
    found = torch.func.vmap(lambda start: network(slices, start[None], position)[0])(torch.arange(49))
    torch.testing.assert_close(found, network(slices.expand(49, -1, -1, -1, -1), torch.arange(49), position.expand(49, -1)))


# L2A without the zeros


@pytest.mark.parametrize(
    "text, backbone",
    [
        ("D1", "compact"),
        ("D4", "compact"),
        ("I1", "compact"),
        ("I3", "compact"),
        ("D*", "compact"),
        ("D1", "mobilenet_v2"),
        ("I3", "mobilenet_v2"),
    ],
)
def test_l2a_equals_its_dense_form_in_value_and_gradient(text, backbone):
    network = build_model("l2a", text, backbone, generator=seeded(0)).double().eval()
    arguments = observe(text, samples=5, height=7, width=10)  # an odd side too
    weight = torch.randn(5, 49, generator=seeded(1), dtype=torch.float64)
    values, gradients = [], []
    for logits in (network(*arguments), network.backbone(network.encode(*arguments))):
        values.append(logits.detach())
        gradients.append(torch.autograd.grad((weight * logits).sum(), list(network.parameters())))
    torch.testing.assert_close(*values, rtol=1e-10, atol=1e-14)
    for sparse, dense in zip(*gradients):
        torch.testing.assert_close(sparse, dense, rtol=1e-8, atol=1e-12)


def test_l2a_first_layer_equals_the_dense_one_in_float32():
    stem = nn.Conv2d(98, 32, 3, stride=2, padding=1, bias=False)
    nn.init.normal_(stem.weight, generator=seeded(2))
    frames, first = torch.randn(6, 4, 16, 16, generator=seeded(0)), torch.tensor([0, 2, 4, 48, 50, 94])
    dense = torch.zeros(6, 98, 16, 16)
    for sample in range(6):
        dense[sample, first[sample] : first[sample] + 4] = frames[sample]
    frames.requires_grad_(), dense.requires_grad_()
    upstream = torch.randn(6, 32, 8, 8, generator=seeded(1))
    found, expected = convolve_observed(frames, first, stem), stem(dense)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    by_frames, by_weight = torch.autograd.grad(found, (frames, stem.weight), upstream)
    by_dense, by_dense_weight = torch.autograd.grad(expected, (dense, stem.weight), upstream)
    torch.testing.assert_close(by_weight, by_dense_weight, rtol=1e-5, atol=1e-4)
    for sample in range(6):
        torch.testing.assert_close(
            by_frames[sample], by_dense[sample, first[sample] : first[sample] + 4], rtol=1e-5, atol=1e-4
        )


def test_l2a_does_not_pay_for_the_zeros():
    network = build_model("l2a", "D1", "compact")
    arguments = observe("D1", samples=32, height=64, width=64, dtype=torch.float32)
    frames, dense = network.normalise(*arguments).flatten(1, 2), network.encode(*arguments)
    operations = []
    for layer in (lambda stem: convolve_observed(frames, 2 * arguments[1], stem), lambda stem: stem(dense)):
        with FlopCounterMode(display=False) as counter:
            layer(network.backbone.stem).sum().backward()
        operations.append(counter.get_total_flops())
    assert operations[1] == 49 * operations[0]  # 98 channels, of which 2 are not zero


# Backbones


def test_published_parameter_counts():
    assert count(build_model("afpe", "D1")) == 2_287_217
    assert count(build_model("afpe", "D2")) == 2_288_081
    assert count(build_model("afpe", "D5")) == 2_290_673
    assert count(MobileNetV2(5, classes=97)) == 2_348_705
    assert count(build_model("l2a", "D1", width=4.0)) == 34_751_921


def test_mobilenet_v2_for_imagenet_has_its_published_size_and_cost():
    """3.50 M parameters, 52 convolutions, and 301 M multiply-adds at 224 x 224, which pins the strides."""
    network, costs = MobileNetV2(3, classes=1000).eval(), []
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(lambda layer, _, output: costs.append(layer.weight[0].numel() * output.numel()))
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert count(network) == 3_504_872
    assert len(costs) == 53 and sum(costs) / 1e6 == pytest.approx(301, abs=1)


def test_width_scales_the_channels():
    assert [divisible_by_8(channels) for channels in (1, 8, 11.2, 12, 16, 24 * 0.75, 32 * 1.4)] == [8, 8, 16, 16, 16, 24, 48]
    thin, wide = Compact(5, width=0.5), Compact(5, width=2.0)
    assert (thin.stem.out_channels, wide.stem.out_channels) == (16, 64)
    assert MobileNetV2(5, width=0.5).body[-1].in_features == 1280  # the last layer never becomes thinner
    assert thin(torch.zeros(2, 5, 32, 32)).shape == wide(torch.zeros(2, 5, 32, 32)).shape == (2, 49)


def test_compact_is_small():
    network = Compact(5)
    assert 4 * count(network) < 2_000_000  # bytes: kept networks are committed
    features = network.body[:-3](network.stem(torch.zeros(1, 5, 64, 64)))
    assert features.shape == (1, Compact.STAGES[-1][0], 4, 4)


# Initial weights


@pytest.mark.parametrize("model", ["afpe", "l2a"])
@pytest.mark.parametrize("backbone", ["compact", "mobilenet_v2"])
def test_weights_come_from_the_generator_alone(model, backbone):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = build_model(model, "D1", backbone, generator=seeded(5)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    again = build_model(model, "D1", backbone, generator=seeded(5)).state_dict()
    other = build_model(model, "D1", backbone, generator=seeded(6)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.stem.weight"], other["backbone.stem.weight"])


def test_without_a_generator_torch_is_asked():
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn += [build_model("afpe", "D1", "compact").backbone.stem.weight for _ in range(2)]
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


def test_initial_distributions():
    network = build_model("afpe", "D1", generator=seeded(0))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 10_000:
            fan_out = layer.out_channels * layer.kernel_size[0] ** 2
            assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all() and (layer.bias == 0).all()
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05) and (layer.bias == 0).all()


@pytest.mark.parametrize("model", ["afpe", "l2a"])
@pytest.mark.parametrize("backbone", ["compact", "mobilenet_v2"])
def test_every_parameter_receives_a_gradient(model, backbone):
    network = build_model(model, "D2", backbone, generator=seeded(0))
    slices, start, position = observe("D2", samples=4, height=32, width=32, dtype=torch.float32)
    network(slices, start, position)[:, 7].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert all(parameter.grad.any() for parameter in network.parameters() if parameter.dim() > 1)


# Errors


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"model": "AFPE"}, "model must be one of afpe, l2a, got 'AFPE'"),
        ({"backbone": "resnet"}, "backbone must be one of mobilenet_v2, compact, got 'resnet'"),
        ({"setting": "D9"}, "setting must be one of .* got 'D9'"),
        ({"width": 0.0}, "width must be a positive number, got 0.0"),
        ({"width": math.nan}, "width must be a positive number, got nan"),
        ({"width": math.inf}, "width must be a positive number, got inf"),
    ],
)
def test_unknown_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_model(**arguments)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"slices": torch.zeros(3, 1, 2, 6, 8)}, r"\(B, 2, 2, H, W\), got .* shape \(3, 1, 2, 6, 8\)"),
        ({"slices": torch.zeros(3, 4, 6, 8)}, "slices must be"),
        ({"slices": torch.zeros(3, 2, 2, 6, 8, dtype=torch.int32)}, "floating point .* got torch.int32"),
        ({"start": torch.zeros(3)}, "start must be of integers .* got torch.float32"),
        ({"start": torch.zeros(3, 1, dtype=torch.long)}, r"start must be .* shape \(3, 1\)"),
        ({"start": torch.tensor([0, 48, 1])}, r"0\.\.47 to observe 2 of 49 frames, got values from 0 to 48"),
        ({"start": torch.tensor([0, -1, 1])}, r"0\.\.47 .* from -1 to 1"),
        ({"position": torch.zeros(3)}, r"position must be of shape \(3, 2\), got \(3,\)"),
    ],
)
@pytest.mark.parametrize("model", ["afpe", "l2a"])
def test_wrong_arguments_are_refused(model, change, message):
    slices, start, position = observe("D2", dtype=torch.float32)
    arguments = {"slices": slices, "start": start, "position": position} | change
    network = build_model(model, "D2", "compact")
    for call in (network, network.encode):
        with pytest.raises(ValueError, match=message):
            call(**arguments)


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(models).failed == 0 and doctest.testmod(settings).failed == 0
