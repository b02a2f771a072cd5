"""Receptive fields, against published values and against gradients: an output depends
on the pixels for which its derivative is not zero.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import get_model, inception_v3, squeezenet1_1

from course_lib import VGG, AlexNet, GoogLeNet, ResNet, ZFNet, summarize

# --- published values ---


def deep(*values):
    """More of the blocks of a network that is there."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("build", "layer", "size", "stride"),
    [
        # Araujo, Norris and Sim (2019), doi:10.23915/distill.00021
        (lambda: AlexNet("paper")[:5], "conv5", 195, 32),
        (lambda: VGG(16), "conv5", 212, 32),
        (lambda: ResNet(50, stride_in="1x1"), "conv5_x", 483, 32),
        deep(lambda: ResNet(101, stride_in="1x1"), "conv5_x", 1027, 32),
        deep(lambda: ResNet(152, stride_in="1x1"), "conv5_x", 1507, 32),
        (lambda: inception_v3(init_weights=False), "Mixed_7c", 1311, 32),
        # the same recursion, layer by layer on paper
        (lambda: AlexNet("merged")[:5], "conv5.0", 163, 16),
        (lambda: VGG(16), "conv5.4", 196, 16),
        (lambda: ZFNet("paper")[:5], "conv5", 171, 32),
        (lambda: ZFNet("paper")[:5], "conv5.0", 139, 16),
        (lambda: ResNet(18), "conv5_x", 435, 32),
        (lambda: ResNet(50), "conv5_x", 427, 32),
        (lambda: GoogLeNet("paper"), "inception_5b", 715, 32),
        (lambda: GoogLeNet("torchvision"), "inception_5b", 379, 32),
    ],
)
def test_published(build, layer, size, stride):
    with torch.device("meta"):
        net = build()
    for side in (227, 331):  # it does not depend on the image
        field = summarize(net, (3, side, side))[layer].field
        assert field.size == (size, size)
        assert field.stride == (stride, stride)


# --- gradients ---


def by_gradient(net, size):
    """The position of an output in the middle, and the first and the last pixel along
    each axis that it depends on, channels taken together.
    """
    net = copy.deepcopy(net).double().eval()
    for parameter in net.parameters():
        # Averages: positive everywhere, and neither too large nor too small.
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 2
        nn.init.constant_(parameter, 1 / fan_in)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):  # only one pixel has a derivative
                window = child.kernel_size, child.stride, child.padding
                setattr(module, name, nn.AvgPool2d(*window, child.ceil_mode))
    x = torch.ones(1, *size, dtype=torch.double, requires_grad=True)
    y = net(x)
    position = [side // 2 for side in y.shape[2:]]
    y[(0, slice(None), *position)].sum().backward()
    reached = x.grad[0].sum(0).nonzero()
    return position, reached.amin(0).tolist(), reached.amax(0).tolist()


def by_rule(summary, position):
    """The same from the field of the last row."""
    size, stride, center = summary.layers[-1].field
    axes = list(zip(size, stride, center, position, strict=True))
    first = [c - (s - 1) / 2 + step * i for s, step, c, i in axes]
    return first, [start + s - 1 for start, s in zip(first, size, strict=True)]


#: As far as the last feature maps. Images are high enough for a whole field, and
#: narrow.
TALL = {
    "AlexNet": (lambda: AlexNet("paper")[:5], (3, 355, 67)),
    "ZFNet": (lambda: ZFNet("paper")[:5], (3, 320, 64)),
    "VGG-16": (lambda: VGG(16)[:5], (3, 352, 32)),
    "ResNet-18": (lambda: ResNet(18)[:5], (3, 640, 32)),
    "ResNet-50": (lambda: ResNet(50)[:5], (3, 640, 32)),
    "ResNet-50, 1x1": (lambda: ResNet(50, stride_in="1x1")[:5], (3, 704, 32)),
    "GoogLeNet": (lambda: GoogLeNet("paper")[:-1], (3, 1056, 32)),
    "GoogLeNet, torchvision": (lambda: GoogLeNet("torchvision")[:-1], (3, 544, 32)),
    "squeezenet": (lambda: squeezenet1_1().features, (3, 300, 40)),
}


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", TALL)
def test_networks_by_gradient(name):
    build, size = TALL[name]
    net = build()
    position, first, last = by_gradient(net, size)
    lo, hi = by_rule(summarize(net, size), position)
    assert lo[0] >= 0
    assert hi[0] < size[1]
    assert (first[0], last[0]) == (lo[0], hi[0])


class Both(nn.Module):
    """Two branches, added or concatenated."""

    def __init__(self, one, two, add):
        super().__init__()
        self.one, self.two, self.add = one, two, add

    def forward(self, x):
        y, z = self.one(x), self.two(x)
        return y + z if self.add else torch.cat([y, z], 1)


@st.composite
def layers(draw, channels=2):
    """A layer with two output channels, of any stride."""
    kernel = draw(st.sampled_from([1, 3, 5]))
    stride, dilation = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (3, 1)]))
    padding = dilation * (kernel - 1) // 2
    conv = nn.Conv1d(channels, 2, kernel, stride, padding, dilation)
    pool = nn.AvgPool1d(
        3, stride, draw(st.integers(0, 1)), ceil_mode=draw(st.booleans())
    )
    return draw(st.sampled_from([conv, pool, nn.BatchNorm1d(channels), nn.Sigmoid()]))


@st.composite
def nets(draw):
    net = nn.Sequential(*draw(st.lists(layers(), min_size=1, max_size=4)))
    same = [
        nn.Conv1d(2, 2, k, padding=k // 2) for k in draw(st.permutations([1, 3, 7]))
    ]
    net.append(Both(same[0], nn.Sequential(*same[1:]), draw(st.booleans())))
    net.append(nn.Conv1d(2 if net[-1].add else 4, 2, draw(st.integers(1, 4)), 2))
    return net


@settings(max_examples=30, deadline=None)
@given(nets())
def test_any_chain_with_branches_by_gradient(net):
    size = (2, 900)
    position, first, last = by_gradient(net, size)
    lo, hi = by_rule(summarize(net, size), position)
    assume(lo[0] >= 0)
    assume(hi[0] < size[1])
    assert (first, last) == (lo, hi)


# --- operations one by one, behind a 3x3 convolution with stride 2 ---


class FunctionModule(nn.Module):
    """A function, and a module that it may use."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x):
        return self.function(x, *self.parts)


def behind(function, *parts):
    """A network that calls it with two 6x6 feature maps."""
    return nn.Sequential(nn.Conv2d(2, 2, 3, 2), FunctionModule(function, *parts))


def tokens(x):
    return x.flatten(2).transpose(1, 2)


def attention(x):
    return F.scaled_dot_product_attention(*[tokens(x)[:, None]] * 3)


def in_windows(x):
    return x.unflatten(2, (2, 3)).permute(0, 2, 1, 3, 4).flatten(0, 1)


def with_class_token(x, linear):
    token = torch.ones(len(x), 1, 2, dtype=x.dtype, device=x.device)
    y = torch.cat([token, tokens(x)], 1)
    return torch.relu(y + linear(y))


def written(x, y):
    y.copy_(x)
    return y.add_(1)


FOLLOWED = {
    "relu": [F.relu],
    "prelu": [lambda x, m: m(x), nn.PReLU()],
    "hardswish": [F.hardswish],
    "flatten": [lambda x: x.flatten(1)],
    "linear": [lambda x, m: m(x.flatten(1)), nn.Linear(72, 3)],
    "1x1 as linear": [lambda x, m: m(x.permute(0, 2, 3, 1)), nn.Linear(2, 3)],
    "tokens and back": [
        lambda x, m: m(tokens(x).mT.unflatten(2, (6, 6))),
        nn.Conv2d(2, 2, 3),
    ],
    "channel shuffle": [
        lambda x, m: m(x.unflatten(1, (2, 1)).transpose(1, 2).flatten(1, 2)),
        nn.Conv2d(2, 2, 3, groups=2),
    ],
    "row": [lambda x: x[:, :, 2]],
    "last column": [lambda x: x[..., -1]],
    "every other": [lambda x: x[:, :, 1::2, ::3]],
    "cut": [lambda x: x[:, :, -3:-1]],
    "half": [lambda x: x.chunk(2, dim=2)[1]],
    "parts": [lambda x: x.split([1, 2, 3], dim=3)[2]],
    "unbind": [lambda x: x.unbind(3)[4]],
    "crop": [lambda x: F.pad(x, (0, -1, -2, 0))],
    "stack": [lambda x: torch.stack([x, x.sigmoid()], 2)],
    "cat": [lambda x: torch.cat([x[..., 1:-1, 1:-1], F.avg_pool2d(x, 3, 1)], 1)],
    "mean": [lambda x: x.mean((2, 3))],
    "mean of all": [lambda x: x.mean()],
    "rows": [lambda x: x.mean(2)],
    "norm": [lambda x: F.normalize(x, dim=2)],
    "std": [lambda x: x.std(3)],
    "logsumexp": [lambda x: x.logsumexp((2, 3), keepdim=True)],
    "strip": [lambda x: x + x.mean(2, keepdim=True)],
    "gate": [lambda x: x * x.mean((2, 3), keepdim=True).sigmoid()],
    "softmax": [lambda x: x.softmax(3)],
    "max": [lambda x: torch.cat([x.amax(1, keepdim=True), x.max(1, True)[0]], 1)],
    "layer norm": [lambda x, m: m(x), nn.LayerNorm((2, 6, 6))],
    "layer norm of channels": [lambda x, m: m(x.movedim(1, 3)), nn.LayerNorm(2)],
    "group norm": [lambda x, m: m(x), nn.GroupNorm(1, 2)],
    "instance norm": [lambda x, m: m(x), nn.InstanceNorm2d(2)],
    "norm of the batch": [
        lambda x, m: m(x),
        nn.BatchNorm2d(2, track_running_stats=False),
    ],
    "channels, half of them": [lambda x: F.glu(x, 1)],
    "channels in another order": [lambda x: F.channel_shuffle(x, 2)],
    "random slopes": [F.rrelu],
    "local response norm": [lambda x, m: m(x), nn.LocalResponseNorm(2, alpha=1.0)],
    "pooled to halves": [lambda x: F.adaptive_avg_pool2d(x, 3)],
    "pooled to one": [lambda x: F.adaptive_avg_pool2d(x, 1)],
    "pooled to a column": [lambda x: F.adaptive_avg_pool2d(x, (4, 1))],
    "pooled unevenly": [lambda x: F.adaptive_avg_pool2d(x, 4)],
    "pooled unevenly, fully connected": [
        lambda x, m: m(F.adaptive_avg_pool2d(x, (4, 3)).flatten(1)),
        nn.Linear(24, 2),
    ],
    "pooled unevenly, all the same": [
        lambda x: F.adaptive_avg_pool2d(x.mean(2, True).expand_as(x), (4, 6))
    ],
    "windows": [lambda x: x.unflatten(2, (2, 3)).softmax(3)],
    "windows and back": [lambda x: x.unflatten(2, (2, 3)).sigmoid().flatten(2, 3)],
    "attention": [attention],
    "attention in windows": [lambda x: attention(in_windows(x))],
    "heads": [
        lambda x, m: m(tokens(x), tokens(x), tokens(x))[0],
        nn.MultiheadAttention(2, 1, batch_first=True),
    ],
    "class token": [with_class_token, nn.Linear(2, 2)],
    "class token, mean": [
        lambda x, m: with_class_token(x, m).mean(1),
        nn.Linear(2, 2),
    ],
    "gram matrix": [lambda x: torch.einsum("nchw,ndhw->ncd", x, x)],
    "product": [lambda x: x @ x.sigmoid()],
    "sum with a product": [lambda x: torch.baddbmm(x[:, 0], x[:, 0], x[:, 1])],
    "copied": [lambda x: written(x, torch.zeros_like(x))],
    "copied to new": [lambda x: written(x, x.new_ones(x.shape))],
    "in place": [lambda x: x.mul_(2).add_(x.mean((2, 3), keepdim=True))],
    "in place, the same view": [lambda x: (x.view(x.shape).sigmoid_(), x)[1]],
    "values of its own": [lambda x: x + torch.arange(6.0)],
    "written to values of its own": [lambda x: torch.zeros(6).copy_(x[0, 0, 0]) + 1],
    "uneven": [lambda x: F.avg_pool2d(F.adaptive_avg_pool2d(x, 4), 2)],
    "unfolded": [lambda x: x.unflatten(2, (2, 3)).flatten(3)[..., ::4]],
    **{
        f"transposed, {sizes}": [lambda x, m: m(x), nn.ConvTranspose2d(2, 3, **sizes)]
        for sizes in (
            {"kernel_size": 2, "stride": 2},
            {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
            {"kernel_size": 4, "stride": 2, "padding": 1},
            {"kernel_size": 3},
            {"kernel_size": 1, "stride": 2},
            {"kernel_size": (2, 3), "stride": (3, 1), "dilation": (1, 2)},
            {"kernel_size": 3, "stride": 2, "dilation": 2, "padding": 1},
        )
    },
    **{
        f"resized, {how}": [lambda x, how=how: F.interpolate(x, **how)]
        for how in (
            {"scale_factor": 2},
            {"scale_factor": (3, 1)},
            {"scale_factor": 0.5},
            {"size": 6},
            {"size": (9, 4)},
            {"scale_factor": 1.7},
            {"scale_factor": 2, "mode": "nearest-exact"},
            {"size": (4, 2), "mode": "nearest-exact"},
            {"scale_factor": 2, "mode": "bilinear"},
            {"scale_factor": 0.5, "mode": "bilinear"},
            {"size": (5, 8), "mode": "bilinear"},
            {"size": (11, 1), "mode": "bilinear", "align_corners": True},
            {"scale_factor": 2, "mode": "bicubic"},
            {"size": (3, 9), "mode": "area"},
        )
    },
    "resized twice": [
        lambda x: F.interpolate(F.interpolate(x, scale_factor=2), size=9)
    ],
    "pixel shuffle": [lambda x, m: F.pixel_shuffle(m(x), 2), nn.Conv2d(2, 8, 3)],
    "pixel unshuffle": [lambda x: F.pixel_unshuffle(x, 2)],
    "pixel unshuffle, convolution": [
        lambda x, m: m(F.pixel_unshuffle(x, 2)),
        nn.Conv2d(8, 2, 2),
    ],
    "repeated": [lambda x: x.repeat_interleave(2, 2)],
    "repeated, expanded": [
        lambda x: (
            x[..., None, :, None]
            .expand(-1, -1, -1, 2, -1, 3)
            .reshape(len(x), 2, 12, 18)
        )
    ],
    "repeated, stacked": [lambda x: torch.stack([x, x], -1).flatten(-2)],
    "resized, convolution": [
        lambda x, m: m(F.interpolate(x, scale_factor=2)),
        nn.Conv2d(2, 2, 3, padding=1),
    ],
    "transposed, pooled": [
        lambda x, m: F.avg_pool2d(m(x), 3, 2),
        nn.ConvTranspose2d(2, 2, 2, 2),
    ],
    "hourglass": [
        lambda x, a, b: torch.cat([x, b(a(x))], 1),
        nn.Conv2d(2, 2, 3, 2, 1),
        nn.ConvTranspose2d(2, 2, 2, 2),
    ],
    "hourglass, convolution": [
        lambda x, a, b: b(torch.cat([x, F.interpolate(a(x), scale_factor=2)], 1)),
        nn.Conv2d(2, 2, 3, 2, 1),
        nn.Conv2d(4, 2, 3, padding=1),
    ],
    "hourglass, of the same width": [
        lambda x, a: x + F.interpolate(a(x), scale_factor=2, mode="bilinear"),
        nn.AvgPool2d(2),
    ],
    "channels last": [
        lambda x: F.adaptive_avg_pool2d(x.to(memory_format=torch.channels_last), 1)
    ],
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_operations_by_gradient(name):
    """The largest window of all elements, and the center of the first."""
    torch.manual_seed(0)
    net = behind(*FOLLOWED[name]).double().eval()
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    summary = summarize(net, (2, 13, 13))
    assert not [note for note in summary.notes if not note.startswith("memory: as on")]
    size, stride, center = summary.stages[1].field
    x = torch.rand(1, 2, 13, 13, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(net, x)
    reached = jacobian.reshape(-1, 2, 13, 13).abs().sum(1) > 0
    boxes = [(s.nonzero().amin(0), s.nonzero().amax(0)) for s in reached if s.any()]
    for axis in range(2):
        assert size[axis] == max((hi - lo + 1)[axis] for lo, hi in boxes)
        starts = {int(lo[axis]) for lo, _ in boxes}
        if stride[axis] is None:
            assert len(starts) > 1
        elif center[axis] is not None:
            assert 2 * center[axis] == sum(edge[axis] for edge in boxes[0])


# --- what cannot be followed is said ---

UNKNOWN = {
    "roll": (lambda x: x.roll(1, 2), "roll"),
    "index": (lambda x: x[:, :, [0, 2]], "index"),
    "uneven, unknown": (
        lambda x: torch.cat([x, x], 2).flatten(2)[..., ::4],
        "a window over unevenly spaced positions",
    ),
    "antialiased": (
        lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
        "_upsample_bilinear2d_aa",
    ),
    "uneven, reshaped": (
        lambda x: F.adaptive_avg_pool2d(x, 4).unflatten(2, (2, 2)),
        "view",
    ),
    "reshaped across": (lambda x: x.reshape(1, 2, 4, 9), "view"),
    "viewed as another type": (lambda x: x.view(torch.float16), "view"),
    "strided": (lambda x: x.as_strided((2, 2), (1, 1)), "as_strided"),
    "weights from the image": (
        lambda x: F.conv2d(x, x[0, :, None, :3, :3], groups=2),
        "convolution",
    ),
    "tokens as channels": (
        lambda x: F.conv1d(tokens(x), x.new_ones(36, 1, 1), groups=36),
        "convolution",
    ),
    "half of the rows": (lambda x: F.glu(x, 2), "glu"),
    "side by side": (lambda x: torch.cat([x, x.sigmoid()], 2), "paths that diverge"),
    "rows in another order": (
        lambda x: F.max_pool2d(
            x.unflatten(2, (3, 2)).transpose(2, 3).flatten(2, 3), 3, 1
        ),
        "a window over positions out of order",
    ),
    "a part written": (
        lambda x: (x[:, :, 0].add_(x.mean((2, 3))[..., None]), x)[1],
        "a view that was written to",
    ),
    "written to a part": (
        lambda x: (y := torch.zeros_like(x), y[..., 0].copy_(x[..., 1]), y)[2],
        "a view that was written to",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_followed(name):
    function, reason = UNKNOWN[name]
    summary = summarize(behind(function), (2, 13, 13))
    assert summary.stages[0].field.size == (3, 3)
    assert summary.stages[1].field is None
    assert summary["1"].macs >= 0
    (note,) = (note for note in summary.notes if note.startswith("receptive"))
    assert note.startswith(f"receptive field: unknown after {reason}")
    assert note.endswith(" in 1")


PARTLY = {
    "a row left over": (nn.Conv2d(1, 1, 3, 2), nn.Conv2d(1, 1, 3, padding=1)),
    "every other pixel": (nn.Conv2d(1, 1, 1, 2),),
    "every other pixel, wider": (nn.Conv2d(1, 1, 1, 2), nn.Conv2d(1, 1, 3, padding=1)),
    "pooled, a row left over": (nn.AvgPool2d(3, 2), nn.Conv2d(1, 1, 5, padding=2)),
    "holes": (nn.Conv2d(1, 1, 2, dilation=2, stride=4),),
    "the first row cut off": (FunctionModule(lambda x: x[:, :, 1:]),),
    "every third kept": (
        FunctionModule(lambda x: F.interpolate(x, scale_factor=1 / 3)),
    ),
    "all": (nn.Conv2d(1, 1, 3, 2, 1),),
    "all, by another path": (
        FunctionModule(
            lambda x, m: m(x)[..., :6, :6] + x[..., :12:2, :12:2], nn.Conv2d(1, 1, 4, 2)
        ),
    ),
    "all, unevenly": (nn.AdaptiveAvgPool2d(5),),
    "all, larger": (FunctionModule(lambda x: F.interpolate(x, scale_factor=2)),),
    "the same for all": (nn.AdaptiveAvgPool2d(1), nn.ConvTranspose2d(1, 1, 3)),
}


@pytest.mark.parametrize("name", PARTLY)
@pytest.mark.parametrize("side", [15, 16, 17])
def test_all_only_if_all_is_seen(name, side):
    """By gradients: which rows and columns any of the output depends on."""
    torch.manual_seed(0)
    net = nn.Sequential(*PARTLY[name], nn.AdaptiveAvgPool2d(1)).double().eval()
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    x = torch.rand(1, 1, side, side, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x).sum(), x)
    seen = (gradient[0, 0] > 0).any(0).all() and (gradient[0, 0] > 0).any(1).all()
    summary = summarize(net, (1, side, side))
    assert (summary.table().splitlines()[-2].split()[-1] == "all") == bool(seen)


def test_behind_what_cannot_be_followed():
    net = nn.Sequential(*behind(lambda x: x.roll(1, 2)), nn.Flatten(), nn.Linear(72, 3))
    summary = summarize(net, (2, 13, 13))
    assert [row.field is None for row in summary.layers] == [False, True, True, True]
    assert summary.notes == ("receptive field: unknown after roll in 1",)
    assert summary.table().splitlines()[4].endswith("?")


def test_fields_along_one_and_three_axes():
    line = nn.Sequential(
        nn.Conv1d(1, 1, 5, 2), nn.MaxPool1d(3), nn.ReflectionPad1d(1), nn.AvgPool1d(2)
    )
    field = summarize(line, (1, 100)).layers[-1].field
    assert field == ((15,), (12,), (1.0,))  # 5, 9 with stride 6, 15 with stride 12
    box = nn.Sequential(nn.Conv3d(1, 1, (1, 3, 5)), nn.MaxPool3d(2), nn.AvgPool3d(2))
    field = summarize(box, (1, 20, 20, 20)).layers[-1].field
    assert field.size == (4, 6, 8)
    assert (
        summarize(box, (1, 20, 20, 20)).table().splitlines()[-2].endswith("4 x 6 x 8")
    )


def test_an_image_without_axes_has_no_field():
    summary = summarize(
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,)
    )
    assert [row.field.size for row in summary.layers] == [(), (), ()]
    assert (
        summary.table().splitlines()[3]
        == "0      4                     16    12     0 B"
    )


def test_one_pixel_keeps_its_stride():
    """So that a small image has the same fields as a large one."""
    with torch.device("meta"):
        net = ResNet(18)[:5]
    small, large = summarize(net, (3, 32, 32)), summarize(net, (3, 224, 224))
    assert small["conv5_x"].shape == (512, 1, 1)
    assert [r.field for r in small.layers] == [r.field for r in large.layers]


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_v2_t"])
def test_one_pixel_keeps_its_stride_through_other_layouts(name):
    """Where channels stand last, or are tokens, and back."""
    net = get_model(name)
    small, large = (summarize(net, (3, side, side)) for side in (32, 224))
    fields = [
        [row.field for row in summary.layers if row.kind == "Conv2d" and row.field]
        for summary in (small, large)
    ]
    assert [f.size for f in fields[0]] == [f.size for f in fields[1]]


LABELED = {
    "image first": lambda net, x, label: net.a(x) + net.b(label)[..., None, None],
    "label first": lambda net, x, label: net.b(label)[..., None, None] * net.a(x),
}


@pytest.mark.parametrize("name", LABELED)
def test_a_label_adds_nothing_to_where_an_image_is_seen(name):
    net = nn.ModuleDict({"a": nn.Conv2d(2, 4, 3), "b": nn.Linear(5, 4)})
    net.forward = lambda x, label: LABELED[name](net, x, label)
    summary = summarize(net, ((2, 9, 9), (5,)))
    assert summary.stages[-1].field == ((3, 3), (1, 1), (1.0, 1.0))


def test_images_of_other_dimensions():
    net = FunctionModule(lambda x: x)
    net.forward = lambda x, sound: x + sound[:, :, None]
    (note,) = summarize(net, ((2, 9, 9), (2, 9))).notes
    assert note.startswith("receptive field: unknown after add of images of other")


def test_a_module_that_is_made_in_forward_is_part_of_its_caller():
    net = behind(lambda x: nn.AvgPool2d(2)(nn.Identity()(x)))
    summary = summarize(net, (2, 13, 13))
    assert [row.name for row in summary.layers] == ["0", "1"]
    assert summary["1"].field == ((5, 5), (4, 4), (2.0, 2.0))
