"""The exercises on ZFNet."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import he_init
from course_lib.checks.compare import Mistakes, WrongAnswer
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import same_function
from course_lib.checks.shared import all_with
from course_lib.convolution import receptive_field

#: Kernel size and stride up to conv5, and up to pool5.
ALEXNET = [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]
ZFNET = [(7, 2), (3, 2), (5, 2), *ALEXNET[3:]]


@exercise(
    "zfnet.projection_widths",
    kind="predict",
    goal="know the receptive fields of ZFNet",
    minutes=10,
    first_hint="Begin with conv1, whose receptive field is 7 pixels wide. How far apart"
    " are the receptive fields of two neighboring units?",
)
def projection_widths(answer: Answer) -> None:
    """Receptive fields, by the library."""
    right = _widths(ZFNET, (1, 5, 7))
    answer.expect(right, mistakes=_projection_widths_mistakes(right))


def _widths(layers: list[tuple[int, int]], ends: tuple[int, ...]) -> tuple[int, ...]:
    """Receptive fields after so many layers."""
    return tuple(receptive_field(layers[:end])[0] for end in ends)


def _projection_widths_mistakes(right: tuple[int, ...]) -> Mistakes:
    convs = [layer for layer in ZFNET if layer != (3, 2)]
    flat = [(kernel_size, 1) for kernel_size, _ in ZFNET]
    one_step = [layer if layer != (3, 2) else (3, 1) for layer in ZFNET]
    no_width = [layer if layer != (3, 2) else (1, 2) for layer in ZFNET]
    own = [1 + sum((k - 1) * s for k, s in ZFNET[:end]) for end in (1, 5, 7)]
    at_once = []
    for end in (1, 5, 7):
        step = 1
        width = 1
        for kernel_size, stride in ZFNET[:end]:
            step *= stride
            width += (kernel_size - 1) * step
        at_once.append(width)
    several = "After a stride, neighboring units are several pixels apart."
    pooling = "Pooling has a kernel size and a stride as well."
    counted = "Pooling comes between: conv3 is the fifth layer here, conv5 the seventh."
    later = "A layer's own stride affects the layers after it, not the layer itself."
    widths = tuple(_widths(ZFNET, (end,))[0] for end in range(1, 9))
    return [
        (_widths(flat, (1, 5, 7)), several),
        (_widths(convs, (1, 3, 5)), pooling),
        (_widths(one_step, (1, 5, 7)), pooling),
        (_widths(no_width, (1, 5, 7)), pooling),
        (_widths(ZFNET, (1, 3, 5)), counted),
        (_widths(ZFNET, (1, 3, 7)), counted),
        (_widths(ZFNET, (1, 5, 6)), counted),
        (
            _widths(ZFNET, (1, 4, 6)),
            "A layer sees more than the one before it: add it as well.",
        ),
        (_widths(ZFNET, (1, 5, 8)), "A unit of conv5 is before the pooling."),
        (_widths(ALEXNET, (1, 5, 7)), "These are AlexNet's. Where does ZFNet differ?"),
        (own, f"{later} The distances multiply."),
        (at_once, later),
        (tuple(width**2 for width in right), "The width is asked for, not the area."),
        (widths, "Three widths are asked for: those of conv1, conv3 and conv5."),
        (widths[:7], "Three widths are asked for: those of conv1, conv3 and conv5."),
    ]


@exercise(
    "zfnet.stem",
    kind="repair",
    goal="find the paddings from the sizes of the feature maps",
    minutes=10,
    first_hint="Run it on `torch.zeros(1, 3, 224, 224)`, layer by layer, and write"
    " down the sizes.",
)
def stem(answer: Answer) -> None:
    """Against all stems that have the sizes of figure 3: the paper does not say whether
    its pooling pads or rounds up.
    """
    x = torch.randn(1, 3, 224, 224)
    channels = (4, 6)
    got = answer(*channels)
    mistakes = _stem_mistakes(channels)
    failures = []
    for pools in itertools.product((1, -1), repeat=2):
        want = _stem(channels, pools=pools)
        he_init(want)
        try:
            same_function(got, want, x, mistakes=mistakes)
        except WrongAnswer as wrong:
            failures.append(wrong)
        else:
            return
    message = failures[0].message
    sizes = _sizes(got, x)
    if sizes not in ((), FIGURE_3):
        message = (
            f"its feature maps have {_listed(sizes)} pixels, not {_listed(FIGURE_3)}"
        )
    raise WrongAnswer(message, failures[0].hint or _size_hint(sizes))


#: The sizes of the feature maps of conv1, pool1, conv2 and pool2.
FIGURE_3 = (110, 55, 26, 13)


def _listed(sizes: tuple[int, ...]) -> str:
    """The sizes, in words."""
    return f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"


@torch.no_grad()
def _sizes(got: object, x: Tensor) -> tuple[int, ...]:
    """The sizes of the feature maps, if it is layers in a row, and they fit."""
    if not isinstance(got, nn.Sequential):
        return ()
    sizes = []
    for layer in got:
        try:
            x = layer(x)
        except RuntimeError:
            return ()
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            sizes.append(x.shape[-1])
    return tuple(sizes)


def _size_hint(sizes: tuple[int, ...]) -> str:
    """Which is the first layer to have another size than in figure 3."""
    layers = ("conv1", "the first pooling", "conv2", "the second pooling")
    rows = zip(layers, (224, *FIGURE_3), FIGURE_3, sizes, strict=False)
    for layer, before, wanted, size in rows:
        if size != wanted:
            return f"Which padding of {layer} makes {wanted} of {before}?"
    return ""


def _stem_mistakes(channels: tuple[int, int]) -> list[tuple[nn.Module, str]]:
    net = _stem(channels)
    conv1 = "Which padding of conv1 makes 110 of 224?"
    half = "Half of the kernel is too much: 112, not 110."
    conv2 = "conv2 is right without padding: 55 become 26."
    of_convs = [((3, 0), half), ((3, 2), half), ((1, 2), conv2), ((1, 1), conv2)]
    of_convs += [((2, 0), conv1), ((0, 0), conv1)]
    of_pools = [
        ((0, 0), "Pooling of 3x3 without padding leaves out the last column."),
        ((1, 0), "And the second pooling?"),
        ((0, 1), "And the first pooling?"),
    ]
    none = _stem(channels, convs=(0, 0), pools=(0, 0))
    # At the right and below alone; at the left and above alone is right.
    frame = nn.ZeroPad2d((0, 1, 0, 1))
    framed = [
        nn.Sequential(frame, *_stem(channels, convs=(0, 0), pools=pools))
        for pools in ((1, 1), (-1, -1))
    ]
    without_relus = [
        nn.Sequential(*net[:4], net[5]),
        nn.Sequential(net[0], *net[2:]),
        nn.Sequential(net[0], net[2], net[3], net[5]),
    ]
    return [
        (none, "Compare the sizes with figure 3's."),
        *((_stem(channels, convs=convs), hint) for convs, hint in of_convs),
        *((_stem(channels, pools=pools), hint) for pools, hint in of_pools),
        *all_with("The paddings are the same on all sides.", framed),
        *all_with("Keep both ReLUs.", without_relus),
    ]


def _stem(
    channels: tuple[int, int],
    *,
    convs: tuple[int, int] = (1, 0),
    pools: tuple[int, ...] = (1, 1),
) -> nn.Sequential:
    """conv1 to pool2 with these paddings; -1 for pooling that rounds up instead."""
    pool1, pool2 = (nn.MaxPool2d(3, 2, max(pad, 0), ceil_mode=pad < 0) for pad in pools)
    return nn.Sequential(
        nn.Conv2d(3, channels[0], 7, stride=2, padding=convs[0]),
        nn.ReLU(),
        pool1,
        nn.Conv2d(*channels, 5, stride=2, padding=convs[1]),
        nn.ReLU(),
        pool2,
    )


@exercise(
    "zfnet.through_relu",
    kind="implement",
    goal="tell the deconvnet from the gradient",
    minutes=10,
    first_hint="Begin with the deconvnet, which does not depend on x at all.",
)
def through_relu(answer: Answer) -> None:
    """The gradient against PyTorch's; all three rules on signals of both signs, and on
    activations that are exactly zero.
    """
    x = torch.randn(2, 3, 4, 5)
    signal = torch.randn(2, 3, 4, 5)
    x[:, 0] = 0.0
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(F.relu(x), x, signal)
    x = x.detach()
    forward = (x > 0).float()
    backward = (signal > 0).float()
    gates = {"gradient": forward, "deconvnet": backward, "both": forward * backward}
    for rule, gate in gates.items():
        answer.expect(
            gradient if rule == "gradient" else signal * gate,
            signal,
            x,
            rule,
            on=f'rule "{rule}"',
            mistakes=_through_relu_mistakes(signal, x, rule, gate),
        )


def _through_relu_mistakes(
    signal: Tensor, x: Tensor, rule: str, gate: Tensor
) -> Mistakes:
    forward = (x > 0).float()
    backward = (signal > 0).float()
    both = "Both conditions have to hold: a signal that fails one is zero."
    other = "One rule depends on x, the other on the signal."
    decides = "It is the signal that passes. x only decides where."
    alone = both if rule == "both" else other
    return [
        (signal * (x >= 0), "A unit that is at zero was not active."),
        (signal.relu() * (x >= 0), "A unit that is at zero was not active."),
        (signal * forward, alone),
        (signal * backward, alone),
        (signal * (forward + backward).clamp(max=1), both),
        (signal * (forward + backward), both),
        (signal * forward * backward, "Only one of the conditions has to hold here."),
        (signal.square() * gate, "The signal passes as it is, once."),
        (gate, "The signal itself passes, not a one in its place."),
        (signal, "A part of the signal becomes zero: which?"),
        *all_with(
            decides,
            [x.relu(), x * gate, signal * x.relu(), signal.relu() * x.relu()],
        ),
        (signal.abs() * gate, "The gradient may be negative."),
        (-signal * gate, "The signal keeps its sign."),
        (signal * (1 - gate), "The other part becomes zero."),
    ]


@exercise(
    "zfnet.unpool",
    kind="repair",
    goal="undo max pooling with overlapping windows",
    minutes=10,
    first_hint="Pool an image with one bright pixel, 3x3 with stride 2. How often is"
    " its position among the switches?",
    banned=("unpooling", "autograd"),
    instead="Write it with an addition for each signal, such as `scatter_add`.",
)
def unpool(answer: Answer) -> None:
    """Against the gradient of pooling, with maxima that several windows share."""
    for height, width in ((7, 7), (5, 9)):
        x = torch.rand(2, 3, height, width)
        x[:, :, 2::4, 2::4] += 1.0  # corners of four windows
        x.requires_grad_()
        pooled, switches = F.max_pool2d(x, 3, 2, return_indices=True)
        signals = torch.rand_like(pooled) + 0.1
        signals[0] *= -1
        (want,) = torch.autograd.grad(pooled, x, signals)
        answer.expect(
            want,
            signals,
            switches,
            (height, width),
            on=f"images of {height} by {width} pixels",
            mistakes=_unpool_mistakes(signals, switches, height, width),
        )


def _unpool_mistakes(
    signals: Tensor, switches: Tensor, height: int, width: int
) -> Mistakes:
    empty = torch.zeros(2, 3, height * width)
    positions = switches.flatten(2)
    flat = signals.flatten(2)

    def reduced(way: str) -> Tensor:
        """With this way to reduce signals for the same pixel to one."""
        y = empty.scatter_reduce(2, positions, flat, way, include_self=False)
        return y.view(2, 3, height, width)

    last = empty.scatter(2, positions, flat).view(2, 3, height, width)
    first = empty.scatter(2, positions.flip(2), flat.flip(2)).view_as(last)
    all_flat = torch.zeros(2 * 3 * height * width)
    all_flat.index_add_(0, switches.flatten(), signals.flatten())
    counts = empty.scatter_add(2, positions, torch.ones_like(flat)).view_as(last)
    lost = "Several windows share a maximum, and one signal of them is left."
    return [
        (reduced("amax"), lost),
        (reduced("amin"), lost),
        (reduced("mean"), "Signals for the same pixel are added, not averaged."),
        (last, lost),
        (first, lost),
        *all_with(
            "The indices begin at zero in each channel of each image.",
            [all_flat.view_as(last), all_flat.view(-1, height, width)],
        ),
        (counts, "It is the signals that are added, not ones."),
        (counts.sign() * last.abs(), "A signal keeps its sign."),
        (
            _unpooled(signals, switches, height, width),
            "Row after row: row i begins at index i times W.",
        ),
        (F.interpolate(signals, (height, width)), "A signal belongs to one position."),
    ]


@exercise(
    "zfnet.transposed",
    kind="implement",
    goal="write the transposed convolution from its definition",
    minutes=15,
    first_hint="With a single signal, at the upper left corner: what is the result?",
    banned=("convolution",),
    instead="Write it with loops over the positions, and additions.",
)
def transposed(answer: Answer) -> None:
    """Against PyTorch's, with strides that leave gaps and such that do not."""
    for (outputs, channels, size), stride in (
        ((1, 1, 3), 1),
        ((3, 2, 3), 2),
        ((2, 2, 3), 2),
        ((2, 3, 2), 3),
    ):
        signal = torch.randn(outputs, 4, 5)
        weight = torch.randn(outputs, channels, size, size)
        answer.expect(
            F.conv_transpose2d(signal, weight, stride=stride),
            signal,
            weight,
            stride,
            on=f"{outputs} filters, kernels {size}x{size}, stride {stride}",
            mistakes=_transposed_mistakes(signal, weight, stride),
        )


def _transposed_mistakes(signal: Tensor, weight: Tensor, stride: int) -> Mistakes:
    size = weight.shape[-1]
    right = F.conv_transpose2d(signal, weight, stride=stride)
    last = torch.zeros_like(right)
    for row, column in itertools.product(range(4), range(5)):
        top = row * stride
        left = column * stride
        filters = weight * signal[:, row, column, None, None, None]
        last[:, top : top + size, left : left + size] = filters.sum(0)
    dense = F.conv_transpose2d(signal, weight)
    missing = [right.shape[1] - dense.shape[1], right.shape[2] - dense.shape[2]]
    apart = "The filters of neighboring signals are one stride apart."
    every = "The filters of all channels of the signal are added."
    copies = F.conv_transpose2d(torch.ones_like(signal), weight, stride=stride)
    cut = (4 * stride, 5 * stride)
    mistakes = [
        (last, "Filters that overlap are added; none replaces another."),
        (
            F.conv_transpose2d(signal, weight.flip(2, 3), stride=stride),
            "The filter is added as it is, not rotated.",
        ),
        (
            F.conv_transpose2d(signal, weight.mT, stride=stride),
            "In `weight[d, c, i, j]`, i counts rows, as in `signal`.",
        ),
        (dense, apart),
        (F.pad(dense, (0, missing[1], 0, missing[0])), apart),
        (F.conv_transpose2d(signal[:1], weight[:1], stride=stride), every),
        (F.conv_transpose2d(signal[-1:], weight[-1:], stride=stride), every),
        (right / len(signal), "The filters are added, not averaged."),
        (copies, "A filter is multiplied by the signal."),
        (right[:, : cut[0], : cut[1]], "The last filters are added whole, too."),
        (right[None], "One image, no batch: the output has three dimensions."),
    ]
    if len(signal) == weight.shape[1]:
        mixed = F.conv_transpose2d(signal, weight.transpose(0, 1), stride=stride)
        hint = "`weight[d]` is the filter of channel d of the signal."
        mistakes.append((mixed, hint))
    return mistakes


def _unpooled(signals: Tensor, switches: Tensor, height: int, width: int) -> Tensor:
    """With indices that count column after column."""
    turned = torch.zeros(*signals.shape[:2], width * height)
    turned.scatter_add_(2, switches.flatten(2), signals.flatten(2))
    return turned.view(*signals.shape[:2], width, height).transpose(2, 3)


#: The mistakes in the code of `zfnet.cover`, and what is said if one of them is left.
LEFT_IN = {
    "fresh": "In the end most of the image is covered. Begin each time with a whole"
    " one.",
    "probability": "A logit may be any number. What turns logits into probabilities?",
    "to_the_end": "In the last row and column, the square still fits.",
}


@exercise(
    "zfnet.cover",
    kind="repair",
    goal="compute an occlusion map",
    minutes=15,
    first_hint="Print the image after the loops. Has it changed?",
    banned=("course_lib.attribution.occlusion",),
    instead="Correct the loops.",
)
def cover(answer: Answer) -> None:
    """With a small network, against every way to leave some of the mistakes in."""
    for (height, width), size, stride, label in (((6, 8), 3, 1, 2), ((9, 7), 3, 2, 0)):
        net = nn.Sequential(nn.Flatten(), nn.Linear(2 * height * width, 4)).eval()
        image = torch.randn(1, 2, height, width)
        answer.expect(
            _cover(net, image, label, size, stride),
            net,
            image,
            label,
            size,
            stride,
            on=f"{height} by {width} pixels, size {size}, stride {stride}",
            mistakes=_cover_mistakes(net, image, label, size, stride),
        )


def _cover_mistakes(
    net: nn.Module, image: Tensor, label: int, size: int, stride: int
) -> Mistakes:
    mistakes = []
    _, *unfinished = itertools.product((True, False), repeat=len(LEFT_IN))
    for mended in unfinished:
        options = dict(zip(LEFT_IN, mended, strict=True))
        left_in = next(name for name, done in options.items() if not done)
        made = _cover(net, image, label, size, stride, **options)
        mistakes.append((made, LEFT_IN[left_in]))
    turned = _cover(net, image, label, size, stride).T
    mistakes.append((turned, "Entry (i, j) is i steps down and j to the right."))
    right = _cover(net, image, label, size, stride)
    every = _cover(net, image, label, size, 1)
    top = _cover(net, image, None, size, stride)
    with torch.no_grad():
        whole = net(image).softmax(1)[0, label]
    return [
        *mistakes,
        (every, "The square moves by `stride` pixels, down and to the right."),
        (right.flatten(), "One entry for each position: rows and columns."),
        (1 - right, "It is the probability of the label, not of the others."),
        (whole - right, "It is the probability, not how much is lost of it."),
        (top, "It is the probability of `label`, not the largest."),
        (torch.ones_like(right), "The softmax is over the classes, which are columns."),
        (right.log(), "The probability, not its logarithm."),
        (right[None, None], "One entry for each position: two dimensions."),
    ]


@torch.no_grad()
def _cover(
    net: nn.Module,
    image: Tensor,
    label: int | None,
    size: int,
    stride: int,
    *,
    fresh: bool = True,
    probability: bool = True,
    to_the_end: bool = True,
) -> Tensor:
    """The occlusion map, of the most probable class without `label`, with the mistakes
    that are not mended.
    """
    height, width = (side - size + to_the_end for side in image.shape[-2:])
    rows = range(0, height, stride)
    columns = range(0, width, stride)
    covered = image.clone()
    probabilities = []
    for top, left in itertools.product(rows, columns):
        if fresh:
            covered = image.clone()
        covered[..., top : top + size, left : left + size] = 0
        logits = net(covered)[0]
        outputs = logits.softmax(0) if probability else logits
        probabilities.append(outputs.max() if label is None else outputs[label])
    return torch.stack(probabilities).view(len(rows), len(columns))


@exercise(
    "zfnet.class_map",
    kind="implement",
    goal="split a logit over the positions of the feature maps",
    minutes=10,
    first_hint="Write the logit as a double sum, over channels and positions. Which"
    " sum can be left for the end?",
    banned=("course_lib.attribution.cam",),
    instead="One line with a sum over the channels is enough.",
)
def class_map(answer: Answer) -> None:
    """Maps that are not square, and classes at both ends."""
    for channels, height, width, label in ((6, 3, 4, 0), (4, 5, 2, 2)):
        features = torch.randn(channels, height, width)
        weight = torch.randn(3, channels)
        want = torch.einsum("k,khw->hw", weight[label], features)
        answer.expect(
            want,
            features,
            weight,
            label,
            on=f"{channels} feature maps of {height} by {width}, class {label}",
            mistakes=_class_map_mistakes(want, features, weight, label),
        )


def _class_map_mistakes(
    want: Tensor, features: Tensor, weight: Tensor, label: int
) -> Mistakes:
    every = torch.einsum("ck,khw->chw", weight, features)
    signed = "A position may speak against the class, too."
    own = "The weights are those of the class: a row of `weight`."
    return [
        (want.mean(), "One value for each position: the mean comes afterwards."),
        (want / want.numel(), "The mean of the map, not its sum, is the logit."),
        (want.relu(), signed),
        (want.abs(), signed),
        (every, "The map of one class."),
        (every.sum(dim=0), own),
        (every.flip(0)[label], own),
        (features.sum(dim=0), "Each channel has its own weight."),
        (features.mean(dim=0), "Each channel has its own weight."),
        (want.T, "Rows stay rows."),
        (want.softmax(dim=0), "It is a part of a logit, no probability."),
        (want[None], "Two dimensions: rows and columns."),
    ]


@exercise(
    "zfnet.grad_cam",
    kind="implement",
    goal="compute Grad-CAM",
    minutes=10,
    first_hint="Begin with one number per channel.",
    banned=("course_lib.attribution.grad_cam",),
    instead="A mean, a product, a sum and a ReLU are enough.",
)
def grad_cam(answer: Answer) -> None:
    """Gradients that differ from position to position, and maps of both signs."""
    for channels, height, width in ((6, 3, 4), (5, 4, 2)):
        features = torch.randn(channels, height, width).relu()
        gradient = torch.randn(channels, height, width)
        features[0, 0, 0] += 3.0
        gradient[0] += 1.0  # one position is positive for sure
        features[1, 1, 1] += 9.0
        gradient[1] -= 2.0  # and one negative
        weights = gradient.mean(dim=(1, 2), keepdim=True)
        answer.expect(
            (weights * features).sum(dim=0).relu(),
            features,
            gradient,
            on=f"{channels} feature maps of {height} by {width}",
            mistakes=_grad_cam_mistakes(features, gradient, weights),
        )


def _grad_cam_mistakes(features: Tensor, gradient: Tensor, weights: Tensor) -> Mistakes:
    parts = weights * features
    total = parts.sum(dim=0)
    last = "The ReLU comes last, after the sum over the channels."
    mean = "One weight for each channel: the mean of its gradient."
    sums = gradient.sum(dim=(1, 2), keepdim=True)
    return [
        (total, "What speaks against the class is set to zero."),
        (total.abs(), "What speaks against the class is set to zero."),
        (parts.relu().sum(dim=0), last),
        ((weights.relu() * features).sum(dim=0), last),
        ((gradient * features).sum(dim=0).relu(), mean),
        ((gradient * features).sum(dim=0), mean),
        ((sums * features).sum(dim=0).relu(), "The mean of the gradient, not its sum."),
        (parts.mean(dim=0).relu(), "The channels are summed, not averaged."),
        (features.sum(dim=0), mean),
        (weights.flatten(), "One value for each position, not for each channel."),
        (total.relu().T, "Rows stay rows."),
        (total.relu()[None], "Two dimensions: rows and columns."),
        (total.relu() / total.max(), "As it is, not scaled to a maximum of one."),
    ]


@exercise(
    "zfnet.integrated",
    kind="implement",
    goal="attribute the whole difference of two scores",
    minutes=20,
    first_hint="With one step: at which image is the gradient taken?",
    banned=("course_lib.attribution.integrated_gradients",),
    instead="Write the loop over the steps.",
)
def integrated(answer: Answer) -> None:
    """On a smooth network, whose gradient changes along the way."""
    for side, steps, label in ((3, 1, 0), (4, 5, 2)):
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(2 * side * side, 6), nn.Tanh(), nn.Linear(6, 3)
        ).eval()
        image = 2 * torch.randn(1, 2, side, side)
        baseline = torch.randn(1, 2, side, side)
        answer.expect(
            _integrated(net, image, baseline, label, steps),
            net,
            image,
            baseline,
            label,
            steps,
            on=f"{side} by {side} pixels, {steps} steps",
            mistakes=_integrated_mistakes(net, image, baseline, label, steps),
        )


def _integrated(
    net: nn.Module,
    image: Tensor,
    baseline: Tensor,
    label: int,
    steps: int,
    *,
    shift: float = 0.5,
    factor: Tensor | None = None,
) -> Tensor:
    """With gradients at other parts of the steps, or multiplied by something else."""
    difference = image - baseline
    total = torch.zeros_like(image)
    for step in range(steps):
        x = (baseline + (step + shift) / steps * difference).requires_grad_()
        total += torch.autograd.grad(net(x)[0, label], x)[0]
    return (difference if factor is None else factor) * total / steps


def _integrated_mistakes(
    net: nn.Module, image: Tensor, baseline: Tensor, label: int, steps: int
) -> Mistakes:
    case = (net, image, baseline, label, steps)
    right = _integrated(*case)
    middle = "The gradients are taken at the middles of the steps."
    times = "The mean gradient is multiplied by the difference from the baseline."
    way = "The way begins at the baseline and ends at the image."
    ones = torch.ones_like(image)
    mistakes = [
        (_integrated(*case, shift=0.0), middle),
        (_integrated(*case, shift=1.0), middle),
        (_integrated(*case, factor=ones), times),
        (_integrated(*case, factor=image), times),
        (-right, "The difference is the image minus the baseline."),
        (
            _integrated(net, image, torch.zeros_like(image), label, steps),
            way,
        ),
        (right.abs(), "Attributions have a sign."),
        (right.sum(), "One value for each pixel and channel."),
        (right.sum(dim=1), "One value for each pixel and channel."),
        (right[0], "The shape of the image: four dimensions."),
        (_integrated(net, image, baseline, (label + 1) % 3, steps), "Which class?"),
    ]
    if steps > 1:
        mistakes.append((steps * right, "The mean over the steps, not the sum."))
    return mistakes


@exercise(
    "zfnet.measured_period",
    kind="investigate",
    goal="see the aliasing that made ZFNet's stride smaller",
    minutes=60,
    first_hint="Make a row of your own, of which you know the period, and plot it. How"
    " many waves are there, in how many pixels?",
)
def measured_period(answer: Answer) -> None:
    """On rows whose period and phase are drawn, some with an offset."""
    for stride, offset in ((1, 0.0), (4, 0.0), (2, 3.0), (4, -50.0)):
        period = stride * (2.5 + 15 * torch.rand(1).item())
        phase = 6 * torch.rand(1)
        units = torch.arange(500)
        row = offset + torch.cos(phase + 2 * torch.pi * stride * units / period)
        answer.expect(
            period,
            row,
            stride,
            on=f"a row of {len(row)} units with the mean {offset:g}, stride {stride}",
            tolerance=10.0,
            mistakes=_period_mistakes(row, period, stride),
        )


def _period_mistakes(row: Tensor, period: float, stride: int) -> Mistakes:
    units = "Neighboring units are `stride` pixels of the image apart."
    wave = "A period is a bright and a dark stripe: two changes of sign."
    inverse = "The period is asked for, not the frequency."
    count = "The period is asked for, not the number of periods."
    whole = "The offset is no wave: subtract the mean of the row first."
    in_units = period / stride
    return [
        (period / 2, wave),
        (2 * period, wave),
        (period * stride, "Count the stride once."),
        (in_units, units),
        (in_units / 2, units),
        (1 / period, inverse),
        (1 / in_units, inverse),
        (len(row) / in_units, count),
        (stride * float(len(row)), whole),
        (float("inf"), whole),
    ]
