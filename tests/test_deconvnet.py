from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib import VGG, AlexNet, GoogLeNet, LeNet, NiN, ResNet, ZFNet
from course_lib.deconvnet import deconvnet, occlusion

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
            FunctionLayer(Rectified.apply),
        ),
        x,
    )
    torch.testing.assert_close(deconvnet(net, x, "3"), expected)


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
        ("resnet", (1, 1, 28, 28), "conv3_x", None, "through 'conv2_x.0', Residual"),
        ("residual", (1, 16, 8, 8), "body", None, "nn.Sequential.*got Residual"),
        (
            "googlenet",
            (1, 1, 28, 28),
            "head",
            None,
            "through 'inception_3a', Inception",
        ),
        ("lenet", (1, 1, 28, 28), "c1", None, "through 'c1.1', Tanh"),
        ("batch", (1, 1, 8, 8), "0", None, "through '0', BatchNorm2d.*running stat"),
    ],
)
def test_what_the_deconvnet_cannot_do(net, shape, layer, channel, message):
    resnet = ResNet("small")
    nets = {
        "zfnet": ZFNet("small"),
        "resnet": resnet,
        "residual": resnet.conv2_x[0],
        "googlenet": GoogLeNet("small"),
        "lenet": LeNet("modern", activation=nn.Tanh),
        "batch": nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)),
    }
    with pytest.raises(ValueError, match=message):
        deconvnet(nets[net], torch.randn(shape), layer, channel)
    assert nets[net].training


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
        ({"label": 2}, "label must be from 0 to 1, got 2"),
        ({"label": -1}, "label must be from 0 to 1, got -1"),
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
    usual = {"x": torch.ones(1, 8, 10), "label": 1, "size": 3, "stride": 1}
    with pytest.raises(ValueError, match=message):
        occlusion(net, **usual | arguments)
    assert net.training
