import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.convolution import (
    avg_pool2d,
    corr2d,
    cross_correlate,
    max_pool2d,
    output_size,
    receptive_field,
    windows,
)

drawn = settings(max_examples=40, deadline=None)
dtypes = st.sampled_from([torch.float32, torch.float64])
seeds = st.integers(0, 2**32 - 1)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
POOLS = [(max_pool2d, F.max_pool2d), (avg_pool2d, F.avg_pool2d)]


def close(ours, theirs):
    tolerance = TOLERANCE[theirs.dtype]
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def pairs(least, most):
    """Two numbers, as PyTorch takes them for height and width."""
    return st.tuples(st.integers(least, most), st.integers(least, most))


def both_ways(numbers):
    """A pair of equal numbers as one number, as often as it is drawn."""
    return numbers[0] if numbers[0] == numbers[1] else numbers


@st.composite
def convolutions(draw):
    """Shapes of x and weight and the arguments, the kernel in places as large as the
    padded image.
    """
    kernel, padding = draw(pairs(1, 4)), draw(pairs(0, 3))
    dilation, stride = draw(pairs(1, 3)), draw(pairs(1, 3))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    more = draw(pairs(0, 5))
    image = [
        max(span - 2 * pad, 1) + extra
        for span, pad, extra in zip(spans, padding, more, strict=True)
    ]
    groups, inside, outside = (draw(st.integers(1, 3)) for _ in range(3))
    arguments = {"stride": stride, "padding": padding, "dilation": dilation}
    arguments = {name: both_ways(value) for name, value in arguments.items()}
    return (
        (draw(st.integers(1, 2)), groups * inside, *image),
        (groups * outside, inside, *kernel),
        arguments | {"groups": groups},
    )


@st.composite
def poolings(draw):
    """The shape of x and the arguments, padding up to half of the kernel."""
    kernel, stride = draw(pairs(1, 5)), draw(st.none() | pairs(1, 4))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    image = [
        max(k - 2 * p, 1) + draw(st.integers(0, 6))
        for k, p in zip(kernel, padding, strict=True)
    ]
    stride = stride and both_ways(stride)
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *image)
    return shape, (both_ways(kernel), stride, both_ways(padding))


def with_gradients(function, *inputs):
    """The output, and the gradients of a sum of it with different factors."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    y = function(*inputs)
    factors = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    return y, *torch.autograd.grad((y * factors).sum(), inputs)


def test_corr2d_by_hand():
    x = torch.arange(9.0).reshape(3, 3)
    kernel = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    assert corr2d(x, kernel).tolist() == [[19, 25], [37, 43]]
    assert corr2d(x.long(), kernel / 2).tolist() == [[9.5, 12.5], [18.5, 21.5]]


@drawn
@given(kernel=pairs(1, 4), more=pairs(0, 4), dtype=dtypes, seed=seeds)
def test_corr2d_equals_pytorch(kernel, more, dtype, seed):
    torch.manual_seed(seed)
    x = torch.randn(kernel[0] + more[0], kernel[1] + more[1], dtype=dtype)
    weight = torch.randn(kernel, dtype=dtype)
    close(corr2d(x, weight), F.conv2d(x[None, None], weight[None, None])[0, 0])


def test_an_impulse_gives_the_kernel_turned_round():
    """Convolution proper would give the kernel as it is."""
    kernel = torch.randn(2, 3)
    impulse = torch.zeros(3, 5)
    impulse[1, 2] = 1
    assert torch.equal(corr2d(impulse, kernel), kernel.flip(0, 1))


@drawn
@given(convolutions(), st.booleans(), dtypes, seeds)
@example(((2, 6, 5, 4), (12, 1, 3, 2), {"groups": 6}), True, torch.float32, 0)
@example(((1, 3, 7, 9), (4, 3, 7, 9), {}), False, torch.float64, 0)
@example(((0, 2, 5, 5), (4, 1, 3, 3), {"groups": 2}), True, torch.float32, 0)
def test_cross_correlate_equals_pytorch(convolution, has_bias, dtype, seed):
    x_shape, weight_shape, arguments = convolution
    torch.manual_seed(seed)
    x = torch.randn(x_shape, dtype=dtype)
    weight = torch.randn(weight_shape, dtype=dtype)
    bias = torch.randn(weight_shape[0], dtype=dtype) if has_bias else None
    close(
        cross_correlate(x, weight, bias, **arguments),
        F.conv2d(x, weight, bias, **arguments),
    )


def test_gradients_of_cross_correlate():
    arguments = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}
    inputs = [torch.randn(s).double() for s in ((2, 4, 6, 7), (6, 2, 3, 2), (6,))]
    ours = with_gradients(lambda *each: cross_correlate(*each, **arguments), *inputs)
    theirs = with_gradients(lambda *each: F.conv2d(*each, **arguments), *inputs)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


def test_gradcheck_of_cross_correlate():
    inputs = [torch.randn(s).double() for s in ((1, 2, 4, 3), (2, 1, 2, 2), (2,))]
    assert torch.autograd.gradcheck(
        lambda *each: cross_correlate(*each, stride=2, padding=1, groups=2),
        [x.requires_grad_() for x in inputs],
    )


def test_a_layer_adds_up_corr2d_over_the_channels():
    x, weight = torch.randn(3, 5, 6), torch.randn(2, 3, 2, 3)
    sums = [
        sum(corr2d(*each) for each in zip(x, kernels, strict=True))
        for kernels in weight
    ]
    close(cross_correlate(x[None], weight)[0], torch.stack(sums))


@drawn
@given(convolutions(), seeds)
def test_windows_equal_unfold(convolution, seed):
    shape, (_, _, *kernel), arguments = convolution
    del arguments["groups"]
    torch.manual_seed(seed)
    x = torch.randn(shape)
    seen = windows(x, tuple(kernel), **arguments)
    columns = seen.permute(0, 1, 4, 5, 2, 3).flatten(4).flatten(1, 3)
    assert torch.equal(columns, F.unfold(x, kernel, **arguments))


def test_windows_without_padding_take_no_memory():
    x = torch.randn(1, 2, 6, 6)
    seen = windows(x, 3, stride=2, dilation=2)
    assert seen.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


@pytest.mark.parametrize(("ours", "theirs"), POOLS)
@drawn
@given(poolings(), dtypes, seeds)
def test_pooling_equals_pytorch(ours, theirs, pooling, dtype, seed):
    """Values, and gradients with many equal values in a window, as after a ReLU."""
    shape, arguments = pooling
    torch.manual_seed(seed)
    x = torch.randn(shape, dtype=dtype)
    close(ours(x, *arguments), theirs(x, *arguments))
    expected = with_gradients(lambda x: theirs(x, *arguments), x.relu().round())
    for a, b in zip(
        with_gradients(lambda x: ours(x, *arguments), x.relu().round()),
        expected,
        strict=True,
    ):
        close(a, b)


def test_padding_never_wins_and_always_counts():
    x = -torch.ones(1, 1, 2, 2)
    assert max_pool2d(x, 3, 1, padding=1).unique().tolist() == [-1]
    close(avg_pool2d(x, 3, 1, padding=1), torch.full((1, 1, 2, 2), -4 / 9))


@drawn
@given(
    *(st.integers(1, most) for most in (30, 7, 4)), st.integers(0, 5), st.integers(1, 3)
)
def test_output_size_of_a_convolution(size, kernel_size, stride, padding, dilation):
    arguments = kernel_size, stride, padding, dilation
    layer = nn.Conv2d(1, 1, *arguments, device="meta")
    try:
        expected = layer(torch.empty(1, 1, size, size, device="meta")).shape[-1]
    except RuntimeError:
        with pytest.raises(ValueError, match="an output of size"):
            output_size(size, *arguments)
    else:
        assert output_size(size, *arguments) == expected


@settings(max_examples=200, deadline=None)
@given(
    *(st.integers(1, most) for most in (30, 7, 9)),
    st.integers(0, 3),
    st.integers(1, 3),
    st.booleans(),
)
@example(5, 2, 3, 1, 1, True)  # the last window would start behind the image
@example(2, 3, 3, 0, 1, True)  # a window larger than the image
def test_output_size_of_pooling(size, kernel, stride, padding, dilation, ceil_mode):
    arguments = kernel, stride, min(padding, kernel // 2), dilation, ceil_mode
    layer = nn.MaxPool2d(*arguments[:4], ceil_mode=ceil_mode)
    try:
        expected = layer(torch.empty(1, 1, size, size, device="meta")).shape[-1]
    except RuntimeError:
        with pytest.raises(ValueError, match="an output of size"):
            output_size(size, *arguments)
    else:
        assert output_size(size, *arguments) == expected


CONV3, POOL2, POOL3 = (3, 1), (2, 2), (3, 2)
BOTTLENECK, STRIDED = [(1, 1), (3, 1), (1, 1)], [(1, 2), (3, 1), (1, 1)]
#: Araujo, Norris and Sim (2019), doi:10.23915/distill.00021.
PUBLISHED = {
    "AlexNet up to pool5": (
        [(11, 4), POOL3, (5, 1), POOL3, CONV3, CONV3, CONV3, POOL3],
        (195, 32),
    ),
    "VGG-16 up to pool5": (
        [*[CONV3, CONV3, POOL2] * 2, *[CONV3, CONV3, CONV3, POOL2] * 3],
        (212, 32),
    ),
    "ResNet-50 up to conv5_x": (
        [
            *[(7, 2), POOL3, *BOTTLENECK * 3, *STRIDED, *BOTTLENECK * 3],
            *[*STRIDED, *BOTTLENECK * 5, *STRIDED, *BOTTLENECK * 2],
        ],
        (483, 32),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_receptive_fields(name):
    layers, expected = PUBLISHED[name]
    assert receptive_field(layers) == expected


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 2)), max_size=4
    )
)
@example([(*layer, 1) for layer in PUBLISHED["AlexNet up to pool5"][0]])
@example([(*layer, 1) for layer in PUBLISHED["VGG-16 up to pool5"][0]])
def test_receptive_field_is_where_the_gradient_is(layers):
    """A column of pixels, just long enough for two outputs of a stack of convolutions
    whose weights are all 1.
    """
    size, jump = receptive_field(layers)
    x = torch.zeros(1, 1, size + jump, 1, dtype=torch.float64, requires_grad=True)
    y = x
    for kernel_size, stride, dilation in layers:
        ones = torch.ones(1, 1, kernel_size, 1, dtype=torch.float64)
        y = F.conv2d(y, ones, stride=(stride, 1), dilation=(dilation, 1))
    assert y.numel() == 2
    seen = [
        torch.autograd.grad(output, x, retain_graph=True)[0].flatten().nonzero()
        for output in y.flatten()
    ]
    assert [pixels.min().item() for pixels in seen] == [0, jump]
    assert [pixels.max().item() for pixels in seen] == [size - 1, size - 1 + jump]


X, WEIGHT = torch.zeros(1, 4, 5, 6), torch.zeros(6, 2, 3, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corr2d(X, X), r"x must be \(H, W\), got \(1, 4, 5, 6\)"),
        (lambda: corr2d(X[0, 0], X[0]), r"kernel must be \(h, w\), got \(4, 5, 6\)"),
        (
            lambda: corr2d(torch.zeros(2, 2), torch.zeros(1, 3)),
            "a kernel that spans 3 does not fit into 2 .*an output of size 0",
        ),
        (lambda: windows(X[0], 2), r"x must be \(N, C, H, W\), got \(4, 5, 6\)"),
        (
            lambda: windows(X, (1, 3), padding=(2, 0), dilation=3),
            "a kernel that spans 7 does not fit into 6 .*an output of size 0",
        ),
        (
            lambda: windows(X, (4, 1), padding=1, dilation=3),
            "spans 10 does not fit into 7 .5 and twice a padding of 1.*size 0",
        ),
        (lambda: windows(X, (2, 2, 2)), r"kernel_size must be .* got \(2, 2, 2\)"),
        (lambda: windows(X, 2, padding="same"), "padding must be .* got 'same'"),
        (lambda: windows(X, 2, stride=(1, 0)), "stride must be .* least 1, got 0"),
        (lambda: windows(X, 2, padding=-1), "padding must be .* least 0, got -1"),
        (lambda: windows(X, 2, dilation=0), "dilation must be .* least 1, got 0"),
        (lambda: cross_correlate(X[0], WEIGHT), r"x must be .* got \(4, 5, 6\)"),
        (
            lambda: cross_correlate(X, WEIGHT[0]),
            r"weight must be \(O, C / groups, h, w\), got \(2, 3, 3\)",
        ),
        (
            lambda: cross_correlate(X, WEIGHT),
            r"weight \(6, 2, 3, 3\) with groups=1 wants 2 input channels,"
            r" got x \(1, 4, 5, 6\)",
        ),
        (
            lambda: cross_correlate(X, WEIGHT, groups=4),
            "groups must divide the 6 output channels, got 4",
        ),
        (
            lambda: cross_correlate(X, WEIGHT, groups=0),
            "groups must be an integer of at least 1, got 0",
        ),
        (
            lambda: cross_correlate(X, WEIGHT, torch.zeros(5), groups=2),
            r"bias must be \(6,\), got \(5,\)",
        ),
        (lambda: max_pool2d(X.int(), 2), "floating-point numbers, got torch.int32"),
        (lambda: avg_pool2d(X[0], 2), r"x must be \(N, C, H, W\), got \(4, 5, 6\)"),
        (lambda: max_pool2d(X, 7), "a kernel that spans 7 does not fit into 5"),
        (lambda: max_pool2d(X, 2, 0), "stride must be .* at least 1, got 0"),
        (lambda: avg_pool2d(X, 2, padding=-1), "padding must be .* least 0, got -1"),
        (
            lambda: max_pool2d(X, (3, 4), padding=2),
            r"at most half of kernel_size \(3, 4\), got \(2, 2\)",
        ),
        (lambda: output_size(0, 1), "size must be an integer of at least 1, got 0"),
        (lambda: output_size(5.0, 1), "size must be an integer .* got 5.0"),
        (lambda: output_size(5, 0), "kernel_size must be .* got 0"),
        (lambda: receptive_field([(3, 1), (3,)]), r"each at least 1; got \(3,\)"),
        (lambda: receptive_field([(3, 0)]), r"each at least 1; got \(3, 0\)"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
