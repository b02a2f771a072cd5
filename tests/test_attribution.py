from copy import deepcopy

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib import VGG, AlexNet, LeNet, NiN, ResNet, ZFNet
from course_lib.attribution import (
    RELU_RULES,
    cam,
    deconvnet,
    grad_cam,
    input_gradient,
    integrated_gradients,
    occlusion,
    randomized,
    rank_correlation,
    saliency,
    smooth_grad,
)

DRAWN = settings(max_examples=60, deadline=None, derandomize=True)


def projection(net, x, channel=None):
    """The strongest activation of the output of `net`, for one image, times its
    gradient: by autograd.
    """
    x = x.clone().requires_grad_()
    y = net(x)
    activation = (y if channel is None else y[:, channel]).max()
    return torch.autograd.grad(activation, x, activation)[0]


class Rectified(torch.autograd.Function):
    """A ReLU whose backward pass rectifies what comes in, and does not ask what went
    through on the way forward.
    """

    @staticmethod
    def forward(_ctx, x):
        return F.relu(x)

    @staticmethod
    def backward(_ctx, gradient):
        return F.relu(gradient)


class PassedOver(torch.autograd.Function):
    """Local response normalization whose backward pass does nothing."""

    @staticmethod
    def forward(_ctx, x, layer):
        return layer(x)

    @staticmethod
    def backward(_ctx, gradient):
        return gradient, None


class FunctionLayer(nn.Module):
    def __init__(self, function, *arguments):
        super().__init__()
        self.function, self.arguments = function, arguments

    def forward(self, x):
        return self.function(x, *self.arguments)


def with_the_paper_s_backward_pass(net):
    """A copy of `net` in which autograd does what section 2.1 describes."""
    layers = []
    for layer in deepcopy(net).modules():
        if isinstance(layer, nn.ReLU):
            layers.append(FunctionLayer(Rectified.apply))
        elif isinstance(layer, nn.LocalResponseNorm):
            layers.append(FunctionLayer(PassedOver.apply, layer))
        elif not isinstance(layer, nn.Sequential):
            layers.append(layer)
    return nn.Sequential(*layers).eval()


@st.composite
def convolutions(draw, in_channels=2, out_channels=4):
    sides = st.tuples(st.integers(1, 3), st.integers(1, 3))
    return nn.Conv2d(
        in_channels,
        out_channels,
        draw(sides),
        stride=draw(sides),
        padding=(draw(st.integers(0, 2)), draw(st.integers(0, 2))),
        dilation=draw(sides),
        groups=draw(st.sampled_from((1, 2))),
        bias=draw(st.booleans()),
    ).double()


@st.composite
def poolings(draw):
    kernel_size = draw(st.integers(1, 4))
    return nn.MaxPool2d(
        kernel_size,
        stride=draw(st.integers(1, 3)),
        padding=draw(st.integers(0, kernel_size // 2)),
        ceil_mode=draw(st.booleans()),
    )


@DRAWN
@given(
    first=convolutions(),
    second=convolutions(in_channels=4, out_channels=6),
    size=st.tuples(st.integers(25, 28), st.integers(25, 28)),
)
def test_without_relu_and_pooling_it_is_the_gradient(first, second, size):
    net, x = nn.Sequential(first, second), torch.randn(1, 2, *size).double()
    torch.testing.assert_close(deconvnet(net, x, "1"), projection(net, x))


@DRAWN
@given(pooling=poolings(), size=st.tuples(st.integers(8, 12), st.integers(8, 12)))
def test_with_pooling_it_is_the_gradient(pooling, size):
    """Overlapping, padded, and with windows that reach out: shared maxima included."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), pooling, nn.Conv2d(3, 2, 3, padding=1)
    ).double()
    x = torch.randn(1, 1, *size).double()
    torch.testing.assert_close(deconvnet(net, x, "2"), projection(net, x))


def test_signals_of_windows_that_share_a_maximum_add_up():
    """Four windows have the same maximum, four equal weights receive the four windows:
    the pixel gets four times what `F.max_unpool2d` would put there.
    """
    net = nn.Sequential(nn.MaxPool2d(2, stride=1), nn.Conv2d(1, 1, 2, bias=False))
    nn.init.ones_(net[1].weight)
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 1
    activation = net(x)
    assert torch.equal(deconvnet(net, x, "1"), 4 * activation * x)
    y, switches = F.max_pool2d(x, 2, 1, return_indices=True)
    once = F.max_unpool2d(activation * torch.ones_like(y), switches, 2, 1)
    assert torch.equal(once, activation * x)


def test_an_activation_of_the_first_layer_shows_its_filter():
    net, x = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2)), torch.randn(1, 3, 16, 15)
    y = net(x)[0, 2]
    row, column = divmod(y.argmax().item(), y.shape[1])
    expected = torch.zeros_like(x)
    expected[0, :, 2 * row : 2 * row + 5, 2 * column : 2 * column + 5] = (
        net[0].weight[2] * y.max()
    ).detach()
    torch.testing.assert_close(deconvnet(net, x, "0", channel=2), expected)


@pytest.mark.parametrize("channel", [None, 3])
@pytest.mark.parametrize(
    ("make", "layer", "depth"),
    [
        *((lambda: ZFNet("small"), f"conv{i}", i) for i in range(1, 6)),
        (lambda: ZFNet("small", stem="11x11/2", lrn=False), "conv5", 5),
        (lambda: LeNet("modern"), "s4", 4),
        (lambda: LeNet("modern", pool=nn.AvgPool2d), "output", 7),
        (lambda: AlexNet("small"), "fc8", 8),
        (lambda: VGG("small"), "conv4", 4),
        (lambda: VGG("small", batch_norm=True), "conv4", 4),
        (lambda: NiN("small"), "mlpconv3", 3),
        (lambda: NiN("small", batch_norm=True), "head", 4),
        (lambda: ResNet("small"), "stem", 1),
        (lambda: ResNet(18, in_channels=1), "stem.2", 1),
    ],
)
def test_nets_of_the_course(make, layer, depth, *, channel):
    torch.manual_seed(depth)
    net, x = make().double(), torch.randn(1, 1, 28, 28).double()
    expected = projection(with_the_paper_s_backward_pass(net[:depth]), x, channel)
    assert expected.abs().max() > 0
    torch.testing.assert_close(deconvnet(net, x, layer, channel), expected)


def test_rectification_makes_a_difference():
    torch.manual_seed(0)
    net, x = ZFNet("small", lrn=False).eval(), torch.randn(1, 1, 28, 28)
    assert not torch.allclose(deconvnet(net, x, "conv5"), projection(net[:5], x))


@pytest.mark.parametrize(
    "arguments", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}]
)
def test_other_paddings(arguments):
    net, x = nn.Sequential(nn.Conv2d(1, 2, 3, **arguments)), torch.randn(1, 1, 8, 8)
    torch.testing.assert_close(deconvnet(net, x, "0"), projection(net, x))


def test_a_layer_within_a_stage():
    net, x = ZFNet("small"), torch.randn(1, 1, 28, 28)
    expected = deconvnet(nn.Sequential(net.conv1, *net.conv2[:2]), x, "2")
    assert torch.equal(deconvnet(net, x, "conv2.1"), expected)


def test_a_module_used_twice():
    relu, x = nn.ReLU(), torch.randn(1, 1, 8, 8)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), relu, nn.Conv2d(4, 4, 3), relu)
    expected = projection(
        nn.Sequential(
            net[0],
            FunctionLayer(Rectified.apply),
            net[2],
        ),
        x,
    )
    torch.testing.assert_close(deconvnet(net, x, "2"), expected)
    with pytest.raises(ValueError, match="'3' runs 2 times"):
        deconvnet(net, x, "3")


def test_each_image_has_its_own_activation():
    net, x = ZFNet("small"), torch.randn(4, 1, 28, 28)
    apart = torch.cat([deconvnet(net, image[None], "conv4") for image in x])
    torch.testing.assert_close(deconvnet(net, x, "conv4"), apart)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_normalization_is_a_factor(affine):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=affine)).double()
    net(3 * torch.randn(8, 1, 9, 9).double() + 1)
    if affine:
        nn.init.normal_(net[1].weight)
    x = torch.randn(1, 1, 9, 9).double()
    torch.testing.assert_close(deconvnet(net, x, "1"), projection(net.eval(), x))


def test_nothing_is_left_changed():
    net = nn.Sequential(
        nn.ReLU(inplace=True), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.9)
    )
    net[2].eval()
    x = torch.randn(2, 1, 8, 8)
    before, state = x.clone(), deepcopy(net.state_dict())
    result = deconvnet(net, x, "3")
    assert torch.equal(x, before)
    assert not result.requires_grad
    assert all(torch.equal(net.state_dict()[name], state[name]) for name in state)
    assert [layer.training for layer in net] == [True, True, False, True]


@pytest.mark.parametrize(
    ("net", "shape", "layer", "channel", "message"),
    [
        ("zfnet", (1, 1, 28, 28), "conv6", None, "ZFNet has no layer 'conv6'.*conv1, "),
        ("zfnet", (1, 1, 28, 28), "", None, "no layer ''"),
        ("zfnet", (1, 1, 28, 28), "conv", None, "no layer 'conv'"),
        ("zfnet", (1, 1, 28, 28), "conv1", 16, "from 0 to 15 for 'conv1', got 16"),
        ("zfnet", (1, 1, 28, 28), "conv1", -1, "from 0 to 15 for 'conv1', got -1"),
        ("zfnet", (1, 28, 28), "conv1", None, r"\(N, C, H, W\), got \(1, 28, 28\)"),
        ("lenet", (1, 1, 28, 28), "c1", None, "'deconvnet' is for ReLU.* has tanh"),
    ],
)
def test_what_the_deconvnet_cannot_do(net, shape, layer, channel, message):
    nets = {"zfnet": ZFNet("small"), "lenet": LeNet("modern", activation=nn.Tanh)}
    with pytest.raises(ValueError, match=message):
        deconvnet(nets[net], torch.randn(shape), layer, channel)
    assert nets[net].training
    assert all(not layer._forward_hooks for layer in nets[net].modules())


class OnePixel(nn.Module):
    """Sure of class 1 where one pixel is bright, and of class 0 where it is not."""

    def __init__(self, row, column):
        super().__init__()
        self.row, self.column = row, column
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        bright = x[:, 0, self.row, self.column]
        return torch.stack([torch.zeros_like(bright), 20 * bright - 10], dim=1)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 5), (7, 9), (6, 2)])
def test_low_exactly_where_the_square_covers_the_pixel(row, column, stride):
    size = 3
    result = occlusion(
        OnePixel(row, column), torch.ones(1, 8, 10), 1, size=size, stride=stride
    )
    assert result.shape == (5 // stride + 1, 7 // stride + 1)
    for i, values in enumerate(result):
        for j, value in enumerate(values):
            top, left = i * stride, j * stride
            covered = top <= row < top + size and left <= column < left + size
            assert (value < 0.01) == covered
            assert (value > 0.99) != covered


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0])
def test_equals_one_image_at_a_time(value):
    torch.manual_seed(0)
    net, x = ZFNet("small", num_classes=4, in_channels=2), torch.rand(2, 28, 28)
    result = occlusion(net, x, 2, size=6, stride=9, value=value)
    assert net.training
    net.eval()
    for i in range(3):
        for j in range(3):
            hidden = x.clone()
            hidden[:, 9 * i : 9 * i + 6, 9 * j : 9 * j + 6] = value
            probability = net(hidden[None]).softmax(dim=1)[0, 2]
            torch.testing.assert_close(result[i, j], probability)


@pytest.mark.parametrize(
    ("batch_size", "batches"), [(100, [48]), (20, [20, 20, 8]), (48, [48])]
)
def test_images_go_through_the_net_in_batches(batch_size, batches):
    net = OnePixel(4, 4)
    x = torch.ones(1, 1, 8, 10)
    result = occlusion(net, x, 0, size=3, stride=1, batch_size=batch_size)
    assert net.batches == batches
    assert torch.equal(result, occlusion(OnePixel(4, 4), x, 0, size=3, stride=1))


def test_a_square_as_large_as_the_image():
    x = torch.ones(1, 8, 8)
    result = occlusion(OnePixel(4, 4), x, 1, size=8, stride=1, value=1)
    torch.testing.assert_close(result, torch.sigmoid(torch.tensor([[10.0]])))
    assert torch.equal(x, torch.ones(1, 8, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": 2}, "target must be from 0 to 1, got 2"),
        ({"target": -1}, "target must be from 0 to 1, got -1"),
        ({"size": 9}, "size must be from 1 to 8.*got 9"),
        ({"size": 0}, "size must be from 1 to 8.*got 0"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"x": torch.ones(2, 1, 8, 10)}, r"one image.*got \(2, 1, 8, 10\)"),
        ({"x": torch.ones(8, 10)}, r"one image.*got \(8, 10\)"),
    ],
)
def test_what_occlusion_cannot_do(arguments, message):
    net = OnePixel(0, 0)
    usual = {"x": torch.ones(1, 8, 10), "target": 1, "size": 3, "stride": 1}
    with pytest.raises(ValueError, match=message):
        occlusion(net, **usual | arguments)
    assert net.training


def test_several_classes_are_one_answer():
    net, x = ZFNet("small"), torch.randn(1, 1, 28, 28)
    each = [occlusion(net, x, label, size=9, stride=9) for label in (2, 5)]
    both = occlusion(net, x, [2, 5], size=9, stride=9)
    torch.testing.assert_close(both, each[0] + each[1])


class Functional(nn.Module):
    """ReLU in every way that PyTorch has: as a layer, a function, a method, in place,
    cut at six; a sum of two paths, and max pooling.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.third = nn.Conv2d(6, 8, 3)
        self.layer = nn.ReLU(inplace=True)
        self.six = nn.ReLU6()
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = x + torch.relu(self.second(x))
        x = F.max_pool2d((3 * self.second(x)).relu_(), 3, 2)
        x = self.layer(self.third(x)) + F.relu6(self.third(2 * x), inplace=True)
        x = self.six(x).relu()
        x = (
            F.relu(x.clone(), True)
            + F.hardtanh(x, 0, 1)
            + F.hardtanh(x)
            - F.relu(input=x)
        )
        return self.head(x.mean(dim=(2, 3)))


class Layers(nn.Module):
    """The same, with a layer for every ReLU, for captum."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.relus = nn.ModuleList(
            [*(nn.ReLU() for _ in range(7)), nn.ReLU6(), nn.ReLU6(), nn.Hardtanh(0, 1)]
        )

    def forward(self, x):
        net, (a, b, c, d, e, f, g, six, again, one) = self.net, self.relus
        x = a(net.first(x))
        x = x + b(net.second(x))
        x = F.max_pool2d(c(3 * net.second(x)), 3, 2)
        x = d(net.third(x)) + six(net.third(2 * x))
        x = e(again(x))
        x = f(x) + one(x) + F.hardtanh(x) - g(x)
        return net.head(x.mean(dim=(2, 3)))


class HandRules(nn.Module):
    """`Layers` with autograd functions that multiply by the rule's conditions."""

    def __init__(self, layers, rule):
        super().__init__()
        self.layers = deepcopy(layers)
        for i, layer in enumerate(self.layers.relus):
            high = {nn.ReLU: float("inf"), nn.ReLU6: 6.0, nn.Hardtanh: 1.0}[type(layer)]
            self.layers.relus[i] = FunctionLayer(ByHand.apply, high, rule)

    def forward(self, x):
        return self.layers(x)


class ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, high, rule):
        ctx.save_for_backward(x)
        ctx.high, ctx.rule = high, rule
        return x.clamp(0, high)

    @staticmethod
    def backward(ctx, signal):
        (x,) = ctx.saved_tensors
        forward = (x > 0) & (x < ctx.high)
        backward = signal > 0
        passes = {
            "gradient": forward,
            "deconvnet": backward,
            "guided": forward & backward,
        }[ctx.rule]
        return torch.where(passes, signal, 0.0), None, None


def functional():
    torch.manual_seed(3)
    return Functional().double(), torch.randn(3, 2, 15, 14).double()


@pytest.mark.parametrize("rule", RELU_RULES)
def test_the_rules_on_every_kind_of_relu(rule):
    net, x = functional()
    other = HandRules(Layers(net), rule)
    leaf = x.clone().requires_grad_()
    scores = other(leaf)[torch.arange(3), torch.tensor([4, 0, 2])]
    (expected,) = torch.autograd.grad(scores.sum(), leaf)
    result = input_gradient(net, x, torch.tensor([4, 0, 2]), rule=rule)
    assert expected.abs().max() > 0
    torch.testing.assert_close(result, expected)


def test_the_rules_differ():
    net, x = functional()
    found = [input_gradient(net, x, 1, rule=rule) for rule in RELU_RULES]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[1], found[2])


def test_the_table_of_rules():
    """Four pairs of an input of a ReLU and a signal from above."""
    x = torch.tensor([1.0, -1.0, 2.0, -3.0])
    signal = torch.tensor([-2.0, 3.0, 4.0, -1.0])
    found = {
        rule: hand_down(signal, (x > 0).float()).tolist()
        for rule, hand_down in RELU_RULES.items()
    }
    assert found == {
        "gradient": [-2, 0, 4, 0],
        "deconvnet": [0, 3, 4, 0],
        "guided": [0, 0, 4, 0],
    }


def plain_vgg():
    """A network that captum takes: no ReLU is used twice, none is in place."""
    torch.manual_seed(0)
    net = VGG("small", batch_norm=True)
    for layer in net.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    net.train()(torch.randn(16, 1, 28, 28))  # statistics that are not 0 and 1
    return net.eval(), torch.randn(2, 1, 28, 28)


@pytest.mark.filterwarnings("ignore:Setting (forward, )?backward hooks:UserWarning")
@pytest.mark.filterwarnings("ignore:Input Tensor . did not:UserWarning")
@pytest.mark.parametrize(
    ("method", "rule"),
    [
        (captum.attr.Saliency, "gradient"),
        (captum.attr.Deconvolution, "deconvnet"),
        (captum.attr.GuidedBackprop, "guided"),
    ],
)
def test_equal_to_captum_s(method, rule):
    net, x = plain_vgg()
    more = {"abs": False} if method is captum.attr.Saliency else {}
    theirs = method(net).attribute(x.clone().requires_grad_(), target=3, **more)
    ours = input_gradient(net, x, 3, rule=rule)
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-5, rtol=1e-5)


def test_grad_cam_equals_captum_s():
    net, x = plain_vgg()
    theirs = captum.attr.LayerGradCam(net, net.conv3).attribute(
        x.clone(), target=1, relu_attributions=True
    )
    ours = grad_cam(net, x, 1, "conv3")
    torch.testing.assert_close(ours, theirs[:, 0].detach(), atol=1e-5, rtol=1e-5)


def test_integrated_gradients_equal_captum_s():
    net, x = plain_vgg()
    theirs = captum.attr.IntegratedGradients(net).attribute(
        x.clone(), 0.25, target=4, n_steps=20, method="riemann_middle"
    )
    ours = integrated_gradients(net, x, 4, baseline=0.25, steps=20)
    torch.testing.assert_close(ours, theirs.detach().float(), atol=1e-5, rtol=1e-4)


def test_occlusion_equals_captum_s():
    """Captum gives each pixel the mean fall of the score over the squares on it."""
    net, x = plain_vgg()
    x = x[:1]
    size, stride = 7, 7

    def probability(x):
        return net(x).softmax(dim=1)

    theirs = captum.attr.Occlusion(probability).attribute(
        x, target=2, sliding_window_shapes=(1, size, size), strides=(1, stride, stride)
    )
    falls = probability(x)[0, 2] - occlusion(net, x, 2, size=size, stride=stride)
    expected = falls.repeat_interleave(size, 0).repeat_interleave(size, 1)
    torch.testing.assert_close(theirs[0, 0], expected.detach(), atol=1e-5, rtol=1e-4)


def test_smooth_grad_is_the_mean_of_noisy_gradients():
    net, x = plain_vgg()
    x = x * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)  # each has noise of its own size
    random = torch.Generator().manual_seed(5)
    copies = [torch.randn(x.shape, generator=random) for _ in range(4)]
    spread = torch.stack([0.2 * (image.max() - image.min()) for image in x])
    gradients = [
        input_gradient(net, x + spread.view(2, 1, 1, 1) * noise, 0) for noise in copies
    ]
    before = torch.random.get_rng_state()
    ours = smooth_grad(net, x, 0, samples=4, noise=0.2, seed=5)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.testing.assert_close(ours, torch.stack(gradients).mean(dim=0))
    still = smooth_grad(net, x, 0, samples=2, noise=0)
    torch.testing.assert_close(still, input_gradient(net, x, 0))


def test_integrated_gradients_add_up():
    """Completeness, and more closely so with more steps."""
    net, x = functional()
    baseline = torch.full_like(x, 0.1)
    want = (net(x) - net(baseline))[:, 2]
    errors = []
    for steps in (10, 1000):
        found = integrated_gradients(net, x, 2, baseline=baseline, steps=steps)
        errors.append((found.sum(dim=(1, 2, 3)) - want).abs().max().item())
    assert errors[1] < 2e-3 * want.abs().max() < want.abs().min()
    assert errors[1] < errors[0]


def test_integrated_gradients_of_a_linear_network_are_exact():
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.randn(2, 3, 2, 2)
    found = integrated_gradients(net, x, 1, steps=1)
    expected = (net[1].weight[1].view(3, 2, 2) * x).detach()
    torch.testing.assert_close(found, expected)


def gap_head(in_place=True):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 7, 3, stride=2),
        nn.BatchNorm2d(7),
        nn.ReLU(inplace=in_place),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(7, 4),
    )


def test_the_mean_of_a_class_activation_map_is_the_logit():
    net, x = gap_head().eval(), torch.randn(3, 2, 13, 11)
    maps = cam(net, x, torch.tensor([0, 3, 1]), "2")
    assert maps.shape == (3, 6, 5)
    logits = net(x)[torch.arange(3), torch.tensor([0, 3, 1])]
    bias = net[6].bias[torch.tensor([0, 3, 1])]
    torch.testing.assert_close(maps.mean(dim=(1, 2)) + bias, logits)


def test_grad_cam_is_the_positive_part_of_cam():
    net, x = gap_head(), torch.randn(2, 2, 13, 11)
    expected = cam(net, x, 2, "2").clamp(min=0) / 30
    assert expected.max() > 0
    torch.testing.assert_close(grad_cam(net, x, 2, "2"), expected.detach())


def test_grad_cam_before_a_relu_in_place():
    """It is of the layer's own output, whatever the next layer does to it."""
    x = torch.randn(1, 2, 13, 11)
    found = [grad_cam(gap_head(in_place), x, 0, "1") for in_place in (True, False)]
    torch.testing.assert_close(*found)
    assert not torch.allclose(found[0], grad_cam(gap_head(), x, 0, "2"))


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: VGG("small"), "conv4"),  # fully connected layers follow
        (lambda: NiN("small"), "mlpconv3"),  # no linear layer at all
        (lambda: ResNet("small"), "conv3_x"),  # a stage lies between
    ],
)
def test_no_class_activation_map(make, layer):
    with pytest.raises(ValueError, match=f"needs global.*{layer}.*grad_cam"):
        cam(make(), torch.randn(1, 1, 28, 28), 0, layer)


def test_a_residual_network_has_one():
    net, x = ResNet("small").eval(), torch.randn(1, 1, 28, 28)
    maps = cam(net, x, 5, "conv4_x")
    torch.testing.assert_close(maps.mean() + net.head[-1].bias[5], net(x)[0, 5])


def test_saliency_is_the_largest_over_the_channels():
    net, x = functional()
    found = saliency(net, x, 1, rule="guided")
    expected = input_gradient(net, x, 1, rule="guided").abs().amax(dim=1)
    assert torch.equal(found, expected)


ATTRIBUTIONS = {
    "gradient": lambda net, x: input_gradient(net, x, 1),
    "guided": lambda net, x: saliency(net, x, 1, rule="guided"),
    "deconvnet": lambda net, x: deconvnet(net, x, "2"),
    "smooth": lambda net, x: smooth_grad(net, x, 1, samples=2),
    "integrated": lambda net, x: integrated_gradients(net, x, 1, steps=2),
    "cam": lambda net, x: cam(net, x, 1, "2"),
    "grad_cam": lambda net, x: grad_cam(net, x, 1, "2"),
    "occlusion": lambda net, x: occlusion(net, x[:1], 1, size=5, stride=5),
    "randomized": lambda net, x: randomized(net, ["1", "2", "6"], x)[6].weight.detach(),
}


@pytest.mark.parametrize("context", [torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_nothing_of_the_network_changes(name, context):
    net = nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(2), *gap_head()[2:-1])
    net.append(nn.Linear(2, 3))
    net[4].eval()
    net[6].weight.grad = torch.ones(3, 2)
    hook = net[2].register_forward_hook(lambda *_: None)
    x = torch.randn(2, 2, 9, 9)
    before, state = x.clone(), deepcopy(net.state_dict())
    modes = [layer.training for layer in net.modules()]
    random = torch.random.get_rng_state()
    with context():
        result = ATTRIBUTIONS[name](net, x)
    assert torch.equal(x, before)
    assert not result.requires_grad
    assert result.isfinite().all()
    assert all(torch.equal(net.state_dict()[key], state[key]) for key in state)
    assert [layer.training for layer in net.modules()] == modes
    assert [*net[2]._forward_hooks] == [hook.id]
    assert all(not layer._forward_hooks for layer in net if layer is not net[2])
    assert torch.equal(net[6].weight.grad, torch.ones(3, 2))
    assert net[6].bias.grad is None
    assert torch.equal(random, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: input_gradient(net, x[0], 0), r"\(N, C, H, W\), got \(2, "),
        (lambda net, x: input_gradient(net, x, 5), "target must be from 0 to 4, got 5"),
        (lambda net, x: input_gradient(net, x, -1), "from 0 to 4, got -1"),
        (lambda net, x: input_gradient(net, x, 1.0), "from 0 to 4, got 1.0"),
        (lambda net, x: input_gradient(net, x, torch.tensor([1])), "each of 3 images"),
        (lambda net, x: input_gradient(net, x, 0, rule="both"), "rule must be one of"),
        (lambda net, x: input_gradient(net.first, x, 0), r"logits.*\(3, 6, 15, 14\)"),
        (lambda net, x: smooth_grad(net, x, 0, samples=0), "samples must be at least"),
        (lambda net, x: smooth_grad(net, x, 0, noise=-1), "noise must be at least 0"),
        (lambda net, x: integrated_gradients(net, x, 0, steps=0), "steps must be at"),
        (lambda net, x: grad_cam(net, x, 0, "fourth"), "Functional has no layer"),
        (lambda net, x: grad_cam(net, x, 0, "head"), r"feature maps.*\(3, 5\)"),
        (lambda net, x: grad_cam(net, x, 0, "second"), "'second' runs 2 times"),
        (lambda net, x: randomized(net, ["fourth"], x), "Functional has no layer"),
        (lambda net, x: rank_correlation(x, x[0]), "one shape"),
    ],
)
def test_what_attribution_cannot_do(call, message):
    net, x = functional()
    with pytest.raises(ValueError, match=message):
        call(net, x)
    assert net.training
    assert all(not layer._forward_hooks for layer in net.modules())


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid, nn.SiLU, nn.GELU, nn.ELU])
def test_other_activation_functions_have_the_gradient_only(activation):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), activation(), nn.Flatten())
    x = torch.randn(1, 1, 4, 4)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(leaf)[0, 3], leaf)
    torch.testing.assert_close(input_gradient(net, x, 3), expected)
    with pytest.raises(ValueError, match="'guided' is for ReLU"):
        input_gradient(net, x, 3, rule="guided")


def test_randomized_stages_alone_have_new_weights():
    net, x = gap_head(), torch.randn(8, 2, 13, 11)
    state = deepcopy(net.state_dict())
    made = randomized(net, ["6"], x, seed=3)
    again = randomized(net, ["6"], x, seed=3)
    changed = {n for n, value in made.state_dict().items() if (value != state[n]).any()}
    assert changed == {"6.weight", "6.bias"}
    assert torch.equal(made[6].weight, again[6].weight)
    assert not torch.equal(made[6].weight, randomized(net, ["6"], x)[6].weight)


def test_randomized_statistics_are_those_of_the_images():
    net, x = gap_head(), torch.randn(8, 2, 13, 11)
    made = randomized(net, ["0", "1"], x)
    y = made[:2](x)
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        y.std(dim=(0, 2, 3)), torch.ones(7), atol=1e-3, rtol=1e-3
    )


def spearman(a, b):
    """By definition, with the mean of the ranks of equal values."""

    def ranks(values):
        return [
            sum(other < each for other in values)
            + (sum(other == each for other in values) + 1) / 2
            for each in values
        ]

    return np.corrcoef(ranks(a.flatten().tolist()), ranks(b.flatten().tolist()))[0, 1]


@pytest.mark.parametrize("seed", range(4))
def test_rank_correlation(seed):
    random = torch.Generator().manual_seed(seed)
    a, b = torch.randint(0, 6, (2, 5, 7), generator=random).float()
    assert rank_correlation(a, b) == pytest.approx(spearman(a, b), abs=1e-9)
    assert rank_correlation(a, a.exp()) == 1
    assert rank_correlation(a, -a) == -1
