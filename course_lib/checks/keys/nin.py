"""The exercises on NiN."""

from __future__ import annotations

import copy
import random
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.alexnet import AlexNet
from course_lib.checks import nets
from course_lib.checks.compare import Mistakes, WrongAnswer, compare
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import module, same_function
from course_lib.checks.played import counted
from course_lib.checks.shared import Number, case, combined, init_all, refuse
from course_lib.nin import NiN
from course_lib.summary import count_parameters

#: Kernel size, stride and padding.
Geometry: TypeAlias = tuple[int, int, int]


@exercise(
    "nin.without_fc_layers",
    kind="predict",
    goal="find out what saves the parameters of fully connected layers",
    minutes=10,
    first_hint="Begin with AlexNet's fc6: how many inputs does one of its units have?",
)
def without_fc_layers(answer: Answer) -> None:
    """Counted from the library's networks."""
    with torch.device("meta"):
        old = AlexNet("paper")[5:]
        new = NiN("imagenet")[3]
    shared = count_parameters(new)
    answer.expect(
        (count_parameters(old), shared, 36 * shared),
        tolerance=0,
        mistakes=combined(
            _old_numbers(count_parameters(old)),
            _new_numbers(shared),
            _own_numbers(shared),
        ),
    )


def _old_numbers(count: int) -> Number:
    """Of AlexNet's three FC layers."""
    biases = 4096 + 4096 + 1000
    every = "fc6 reads every position of all 256 feature maps."
    three = "There are three FC layers, and all have weights."
    last = 4097 * 1000
    middle = 4097 * 4096
    return [
        (count, ""),
        (count - biases, "Units of FC layers have biases, too."),
        (count / 1e6, "Write the whole number, not millions."),
        (257 * 4096 + middle + last, every),
        ((256 * 6 + 1) * 4096 + middle + last, every),
        (count - middle, three),
        (count - last, three),
        (count - middle - last, three),
    ]


def _new_numbers(count: int) -> Number:
    """Of NiN's convolutions behind its last pooling."""
    channels = 1024 + 1024 + 1000
    something = (
        "The pooling has none, but something computes the classes' feature maps."
    )
    once = "The weights of a convolution are the same at all positions."
    nine = "The first of them has kernels of 3x3, and the others of 1x1."
    three = "There are three convolutions behind the last pooling."
    first = (384 * 9 + 1) * 1024
    middle = 1025 * 1024
    last = 1025 * 1000
    return [
        (count, ""),
        (count - channels, "The output channels of convolutions have biases, too."),
        (count / 1e6, "Write the whole number, not millions."),
        (0, something),
        (36 * count, once),
        (36 * (count - channels) + channels, once),
        (385 * 1024 + middle + last, nine),
        (first + (9 * 1024 + 1) * (1024 + 1000), nine),
        (count - first, three),
        (count - middle, three),
        (first, three),
    ]


def _own_numbers(shared: int) -> Number:
    """Of NiN's convolutions if each position had its own kernels and biases."""
    count = 36 * shared
    channels = 1024 + 1024 + 1000
    positions = "There are 36 positions, and each has its own."
    return [
        (count, ""),
        (count / 1e6, "Write the whole number, not millions."),
        (count - 35 * channels, "Each position has biases of its own, too."),
        (count - 36 * channels, "Each position has biases of its own, too."),
        (shared, "That is with shared weights: now each position has its own."),
        (6 * shared, positions),
        (35 * shared, positions),
        ((384 * 36 + 1) * 1000, "The same three layers are meant, not an FC layer."),
        ((1000 * 36 + 1) * 1000, "The same three layers are meant, not an FC layer."),
    ]


@exercise(
    "nin.pointwise_gradients",
    kind="implement",
    goal="derive the backward pass of a layer whose weights are shared",
    minutes=20,
    first_hint="One pixel, one image: y = W x + b. Change one weight: which outputs"
    " change, and by how much?",
    banned=("autograd", "convolution"),
    instead="Write the sums, for instance with `torch.einsum`.",
)
def pointwise_gradients(answer: Answer) -> None:
    """Against autograd, for feature maps that are not square."""
    for images, channels, out, size in ((2, 3, 4, (2, 5)), (1, 4, 4, (4, 4))):
        x = torch.randn(images, channels, *size, requires_grad=True)
        weight = torch.randn(out, channels, requires_grad=True)
        bias = torch.randn(out, requires_grad=True)
        y = F.conv2d(x, weight[:, :, None, None], bias)
        gradient = torch.randn_like(y)
        want = torch.autograd.grad(y, (x, weight, bias), gradient)
        x = x.detach()
        weight = weight.detach()
        got = answer(x, weight, gradient)
        parts = list(got) if isinstance(got, tuple | list) else []
        refuse(
            len(parts) != 3,
            "three gradients are wanted",
            "Return those of x, of the weight and of the bias, in this order.",
        )
        mistakes = _pointwise_mistakes(x, weight, gradient)
        names = ("x", "the weight", "the bias")
        for part, right, name in zip(parts, want, names, strict=True):
            on = f"for {name}, with x of shape {tuple(x.shape)}"
            compare(part, right, on=on, mistakes=mistakes[name])


def _pointwise_mistakes(x: Tensor, weight: Tensor, g: Tensor) -> dict[str, Mistakes]:
    """What is returned for each, and the hint that fits."""
    images = len(x)
    of_x = torch.einsum("dc,ndhw->nchw", weight, g)
    of_bias = g.sum((0, 2, 3))
    turned: Mistakes = []
    if len(weight) == len(weight.T):
        wrong = torch.einsum("cd,ndhw->nchw", weight, g)
        turned = [(wrong, "Which outputs does x_c reach, and with which weights?")]
    return {
        "x": [
            *turned,
            (of_x.sum(0, keepdim=True), "Each x has a gradient of its own."),
            (of_x / images, NO_MEAN),
            (g, "How does y change with x? By the weights."),
        ],
        "the weight": _weight_mistakes(x, g),
        "the bias": [
            (of_bias / g[:, 0].numel(), NO_MEAN),
            (of_bias / images, NO_MEAN),
            (g.sum(0), f"The same biases are added {EVERYWHERE}"),
            (g.sum((2, 3)), "Biases are the same for all images: add up, too."),
            (torch.ones_like(of_bias), "By the chain rule: times the gradient of y."),
        ],
    }


#: Of gradients that are divided, and of those that are not added up.
NO_MEAN = "The outputs of all pixels add up in the loss: a sum, not a mean."
EVERYWHERE = "at every pixel: what becomes of their gradients?"


def _weight_mistakes(x: Tensor, g: Tensor) -> Mistakes:
    """What is returned for the weight."""
    of_weight = torch.einsum("ndhw,nchw->dc", g, x)
    pixels = x[0, 0].numel()
    first = torch.outer(g.sum((0, 2, 3)), x.sum((0, 2, 3)))
    images = torch.einsum("ndhw,nchw->ndc", g, x)
    return [
        (of_weight.T, "It has the shape of the weight, (D, C)."),
        (of_weight / pixels, NO_MEAN),
        (of_weight / (len(x) * pixels), NO_MEAN),
        (of_weight / len(x), NO_MEAN),
        (images, "Weights are the same for all images: add up over those, too."),
        (
            torch.einsum("ndhw,nchw->dchw", g, x),
            f"The same weights are used {EVERYWHERE}",
        ),
        (first, "Multiply at each pixel, and add up afterwards."),
    ]


@exercise(
    "nin.block",
    kind="implement",
    goal="build the block from what it does",
    minutes=10,
    first_hint="Build the first convolution alone, and look at its output's shape.",
)
def block(answer: Answer) -> None:
    """Against the same layers in a row, with more and fewer layers than three."""
    cases: list[tuple[int, list[int], int, int]] = [
        (3, [6, 5, 4], 5, 1),
        (2, [4, 4, 4], 3, 2),
        (1, [3, 5, 4, 2], 7, 3),
        (3, [5, 2], 1, 1),
    ]
    for channels, widths, size, stride in cases:
        net = _block(channels, widths, (size, stride, size // 2))
        mistakes = _block_mistakes(net, channels, widths, size, stride)
        got = answer(channels, widths, size, stride)
        x = torch.randn(2, channels, 13, 11)
        with case(f"block({channels}, {widths}, {size}, {stride}): "):
            same_function(got, net, x, mistakes=mistakes)


def _block_mistakes(
    net: nn.Sequential, channels: int, widths: list[int], size: int, stride: int
) -> Mistakes:
    half = size // 2
    first = (size, stride, half)
    same = "Only the first convolution reads more than a pixel."
    border = "A 1x1 kernel needs no border: what does padding add there?"
    once = "Only the first convolution has the stride; the others have a stride of 1."
    own = "Every layer has its own width."
    between = "Without a ReLU between them, layers are one linear layer."
    half_of_it = "The first convolution pads by half its kernel size, whatever that is."
    all_widths = "There are as many layers as `widths`, and not always three."
    batch_norm = [nn.BatchNorm2d(width) for width in widths]
    return [
        (_block(channels, widths, first, later=(size, 1, half)), same),
        (_block(channels, widths, first, later=first), same),
        (_block(channels, widths, first, later=(1, 1, half)), border),
        (_block(channels, widths, first, later=(1, stride, half)), once),
        (_block(channels, widths, first, later=(1, stride, 0)), once),
        (_block(channels, widths, (size, stride, 0)), "The first convolution pads."),
        (_block(channels, widths, (size, stride, 1)), half_of_it),
        (_block(channels, widths, (size, stride, 2)), half_of_it),
        (_block(channels, widths, (size, 1, half)), "The first layer has the stride."),
        (_block(channels, widths[:3], first), all_widths),
        (_block(channels, widths[:2], first), all_widths),
        (nn.Sequential(*net, *batch_norm), "There is no normalization in the block."),
        (_without_biases(net), "Every unit of the perceptron has a bias."),
        (_block(channels, widths[:1] * len(widths), first), own),
        (_block(channels, widths[-1:] * len(widths), first), own),
        (net[:-1], "The last layer of the block has a ReLU, too."),
        (net[::2], between),
        (nn.Sequential(*net[::2], nn.ReLU()), between),
    ]


def _block(
    channels: int, widths: list[int], first: Geometry, later: Geometry = (1, 1, 0)
) -> nn.Sequential:
    net = nn.Sequential()
    for width in widths:
        net.extend([nn.Conv2d(channels, width, *first), nn.ReLU()])
        channels = width
        first = later
    init_all(net)
    return net


def _without_biases(net: nn.Sequential) -> nn.Sequential:
    """A copy whose convolutions have none."""
    made = copy.deepcopy(net)
    for layer in made:
        if isinstance(layer, nn.Conv2d):
            layer.register_parameter("bias", None)
    return made


@exercise(
    "nin.depends_on_place",
    kind="implement",
    goal="write a test that symmetric cases cannot deceive",
    minutes=20,
    first_hint="Take random maps, rearrange their positions, and compare the logits.",
)
def depends_on_place(answer: Answer) -> None:
    """On heads that depend on the place, some of them hardly, and on heads that do not;
    twice, as a test may draw its cases.
    """
    for _ in range(2):
        for name, head, want, hint in _heads():
            compare(answer(head), want, on=f"for {name}", mistakes=[(not want, hint)])


def _heads() -> list[tuple[str, nn.Module, bool, str]]:
    """Heads, whether the place matters to them, and the hint for who says otherwise."""
    heads = _blind_heads()
    mirrored = nn.Linear(5 * 36, 3)
    with torch.no_grad():
        rows = mirrored.weight.view(3, 5, 6, 6)
        mirrored.weight.copy_(_symmetric(rows).flatten(1))
    around = nn.Conv2d(5, 3, 3, padding=1, padding_mode="circular")
    return [
        *((name, head, False, hint) for name, head, hint in heads),
        (
            "an FC layer",
            nn.Sequential(nn.Flatten(), nn.Linear(5 * 36, 3)),
            True,
            "It has a weight of its own for each position: do your maps vary?",
        ),
        (
            "an FC layer with symmetric weights",
            nn.Sequential(nn.Flatten(), mirrored),
            True,
            "Its weights are symmetric: to turn the maps over is not enough.",
        ),
        (
            "a convolution that continues at the opposite border, and average pooling",
            nn.Sequential(around, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            True,
            "Neighbors matter to it: to shift the maps is not enough.",
        ),
        (
            "average pooling that adds a little of one corner",
            nets.Corner(nn.Linear(5, 3)),
            True,
            "One position counts a little more than the others: look closely, at all.",
        ),
    ]


def _blind_heads() -> list[tuple[str, nn.Module, str]]:
    """Heads to which the place does not matter."""
    mean = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    fc = nn.Linear(5, 3)
    large = nn.Conv2d(5, 3, 1)
    with torch.no_grad():
        large.weight.mul_(300)
    rounding = "The place does not matter to it: the last digits of a sum may differ."
    each = "The same at each position, and then the mean of all."
    one = nn.Sequential(nn.Conv2d(5, 3, 1), nn.ReLU(), *mean)
    most = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), fc)
    wide = "a 1x1 convolution with large weights and average pooling"
    return [
        ("average pooling and an FC layer", nn.Sequential(*mean, fc), rounding),
        ("a 1x1 convolution and average pooling", one, each),
        (wide, nn.Sequential(large, *mean), rounding),
        (
            "max pooling and an FC layer",
            most,
            "The largest value is the largest, wherever it is.",
        ),
    ]


def _symmetric(rows: Tensor) -> Tensor:
    """The same in both directions, and with rows and columns swapped."""
    both = rows + rows.flip(2) + rows.flip(3) + rows.flip(2, 3)
    return both + both.transpose(2, 3)


@exercise(
    "nin.for_new_classes",
    kind="implement",
    goal="use what a network has learned for other classes",
    minutes=15,
    first_hint="Which parts of `net` does the new one share, and which are new? And who"
    " else uses what you freeze?",
)
def for_new_classes(answer: Answer) -> None:
    """By what can be trained, what it computes, and what became of the old network."""
    for channels, classes, new in ((4, 5, 3), (6, 2, 7)):
        body = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(),
        )
        conv = nn.Conv2d(channels, classes, 1)
        net = nn.Sequential(body, conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        x = torch.rand(2, 3, 6, 5)
        got = module(answer(net, new), x).float()
        old = answer.arguments[0]
        refuse(
            not all(each.requires_grad for each in old.parameters()),
            "it freezes the network that it was given",
            "The body of both is one and the same: which one should be frozen?",
        )
        _trained_anew(got, body, new, x)


def _trained_anew(got: nn.Module, body: nn.Module, new: int, x: Tensor) -> None:
    with torch.no_grad():
        y = got(x)
    refuse(
        tuple(y.shape) != (len(x), new),
        f"for {new} classes it returns the shape {tuple(y.shape)}",
        "The last convolution has an output channel for each class.",
    )
    trained = [each for each in got.parameters() if each.requires_grad]
    frozen = [each for each in got.parameters() if not each.requires_grad]
    ours = {_flat(each) for each in body.parameters()}
    refuse(
        any(_flat(each) in ours for each in trained),
        "weights of the body would be trained",
        "Whatever requires a gradient is trained: mark the body.",
    )
    refuse(
        {_flat(each) for each in frozen} != ours,
        "what is frozen is not the body as it was",
        "Copy its weights. And is the last layer free?",
    )
    _new_layer(y, trained, body(x).detach(), new)


def _new_layer(y: Tensor, trained: list[nn.Parameter], maps: Tensor, new: int) -> None:
    """What can be trained is the new layer, and `y` is what it makes of `maps`."""
    last = {each.numel(): each for each in trained}
    weight = last.get(new * maps.shape[1])
    bias = last.get(new)
    if weight is None or bias is None or len(trained) != 2:
        message = "the new layer has other parameters than wanted"
        raise WrongAnswer(message, "It is a 1x1 convolution with a bias, as before.")
    refuse(
        weight.std() < 1e-3,
        "the weights of the new layer are all the same",
        "A new layer is initialized at random, as PyTorch does it.",
    )
    with torch.no_grad():
        logits = F.conv2d(maps, weight.view(new, -1, 1, 1), bias)
    mean = logits.mean((2, 3))
    compare(
        y,
        mean,
        on="for its own weights",
        mistakes=[
            (mean.softmax(1), "Logits are wanted, without a softmax."),
            (logits.amax((2, 3)), "Average pooling was behind it, and stays."),
            (mean.relu(), "No activation function follows."),
        ],
    )


def _flat(parameter: Tensor) -> tuple[float, ...]:
    return tuple(parameter.detach().flatten().tolist())


@exercise(
    "nin.evidence",
    kind="implement",
    goal="divide a logit among the positions of the image",
    minutes=15,
    first_hint="Write the logit as a sum over channels and positions. In which order"
    " can it be added?",
)
def evidence(answer: Answer) -> None:
    """By the sum over channels, for labels whose logit is never the largest."""
    for channels, classes, size in ((5, 4, 8), (3, 6, 7)):
        convs = nn.Sequential(nn.Conv2d(2, channels, 3), nn.ReLU())
        fc = nn.Linear(channels, classes)
        fc.bias.data[0] = 10.0  # so that the largest logit is that of class 0
        net = nn.Sequential(convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), fc)
        x = torch.randn(6, 2, size, size + 2)
        images = torch.arange(6)
        maps = convs(x).detach()
        largest = net(x).argmax(1)
        labels = 1 + images % (classes - 1)
        shares = _shares(maps, fc)
        answer.expect(
            shares[images, labels],
            net,
            x,
            labels,
            on=f"images of {size} by {size + 2}, {channels} channels and {classes}"
            " classes",
            mistakes=[
                *_evidence_mistakes(maps, fc, labels, x.shape[2:]),
                (shares[images, labels[0]], "Every image has a label of its own."),
                (shares[images, largest], "Ask for the label that is given."),
                (shares, "One map per image: that of its label."),
            ],
        )


def _shares(maps: Tensor, fc: nn.Linear) -> Tensor:
    """What each position adds to each logit, (N, K, H, W): their sum and the bias are
    the logits.
    """
    positions = maps[0, 0].numel()
    return torch.einsum("nchw,kc->nkhw", maps, fc.weight.detach()) / positions


def _evidence_mistakes(
    maps: Tensor, fc: nn.Linear, labels: Tensor, size: torch.Size
) -> Mistakes:
    """Those that take the right labels, for images of this size."""
    images = torch.arange(len(labels))
    want = _shares(maps, fc)[images, labels]
    positions = want[0].numel()
    bias = fc.bias.detach()[labels, None, None]
    logits = fc(maps.mean((2, 3))).detach()[images, labels]
    logit = logits[:, None, None].expand_as(want)
    low = want.amin((1, 2), keepdim=True)
    high = want.amax((1, 2), keepdim=True)
    added = "The bias does not depend on the image. Leave it out."
    against = "A position may lower the logit of a class."
    stay = "Do not rescale it."
    counts = "Which weight does the class give to each channel?"
    return [
        (want * positions, "The mean divides by the number of positions."),
        (want + bias, added),
        (want * positions + bias, added),
        (want + bias / positions, added),
        (want.relu(), against),
        (want.abs(), against),
        ((want - low) / (high - low), stay),
        (want / high, stay),
        (logit, "That is the logit itself. What does each position add to it?"),
        (logit / positions, "The positions do not all add the same."),
        (maps.mean(1), counts),
        (maps.sum(1) / positions, counts),
        (want.flatten(1).softmax(1).view_as(want), stay),
        (want.sigmoid(), stay),
        (want[:, None], "One map per image: no dimension for channels is left."),
        (want.flatten(1), "A map has rows and columns: give them back."),
        *(
            (
                F.interpolate(want[:, None], size=size, mode=mode).view(-1, *size),
                "As large as the last feature maps: do not enlarge it.",
            )
            for mode in ("nearest", "bilinear", "bicubic")
        ),
    ]


@exercise(
    "nin.killed",
    kind="investigate",
    goal="measure what a single step does, and explain what it cannot tell",
    minutes=60,
    first_hint="Count the dead classes of the network as it is: that is a learning rate"
    " of zero. Then take one step on a copy.",
)
def killed(answer: Answer) -> None:
    """On small networks in which one class is dead already and others die, without
    batch normalization and with it, in either mode: for fixed learning rates and for
    others.
    """
    drawn = random.sample([0.0, 30.0, 0.5, 4.0], 4)
    fixed = [0.0, 2.0, 0.4, 3.0, 8.0]
    for rates, norm, training in (
        (fixed, False, True),
        (drawn, False, True),
        (fixed, True, True),
        (fixed, True, False),
    ):
        net = _dying_net(norm=norm).train(training)
        bright = torch.linspace(0.1, 1.0, 12)[:, None, None, None]
        x = bright * torch.rand(12, 2, 3, 4)
        y = torch.arange(12) % 2
        mode = "training" if training else "evaluation"
        named = f" with batch normalization, in {mode} mode," if norm else ""
        answer.expect(
            _dead([_after(net, x, y, rate) for rate in rates]),
            net,
            x,
            y,
            rates,
            on=f"a small network{named} with six classes, and rates {rates}",
            mistakes=_killed_mistakes(net, x, y, rates),
        )
        _as_it_was(answer.arguments[0], training)


def _as_it_was(net: nn.Module, training: bool) -> None:
    """Its modes and gradients; what it has learned is compared for every exercise."""
    refuse(
        any(each.training != training for each in net.modules()),
        "it leaves the network in another mode",
        "Work on a copy, in the mode that the net is in.",
    )
    refuse(
        any(each.grad is not None and each.grad.any() for each in net.parameters()),
        "it leaves gradients behind in the network",
        "`backward` writes into the network that it is called for: which one is that?",
    )


def _killed_mistakes(
    net: nn.Module, x: Tensor, y: Tensor, rates: list[float]
) -> Mistakes:
    after = [_after(net, x, y, rate) for rate in rates]
    zeros = [logits == 0 for logits in after]
    counts = _dead(after)
    uphill = [_after(net, x, y, -rate) for rate in rates]
    until = [rates[: i + 1] for i in range(len(rates))]
    # The gradient taken once is the gradient of a sum of steps.
    one_gradient = [_after(net, x, y, sum(steps)) for steps in until]
    one_copy = [_after(net, x, y, *steps) for steps in until]
    added_up = [_after(net, x, y, i * rate) for i, rate in enumerate(rates, 1)]
    summed = [_after(net, x, y, len(x) * rate) for rate in rates]
    copies = (
        "Every learning rate starts from the same weights: take the step on a copy."
    )
    every = "A class is dead if its logit is zero for every image."
    turned = copy.deepcopy(net).train(not net.training)
    in_the_other = _dead([_after(turned, x, y, rate) for rate in rates])
    known = [
        (in_the_other, "Loss and logits are those of the mode that the net is in."),
        ([int(zero.sum()) for zero in zeros], "Count classes, not logits."),
        ([int(zero.any(0).sum()) for zero in zeros], every),
        (_dead(uphill), "Descent goes against the gradient."),
        (_dead(one_gradient), copies),
        (_dead(one_copy), copies),
        (
            _dead(added_up),
            "`backward` adds to the gradients of before: set them to zero, or to None.",
        ),
        (_dead(summed), "The cross-entropy is a mean over the images, not a sum."),
        ([6 - count for count in counts], "Count the dead, not the living."),
        (counts[:1] * len(rates), "Count after the step, not before it."),
        (
            [6 - len(logits.argmax(1).unique()) for logits in after],
            "A class that is never the largest is not dead yet: look for zeros.",
        ),
    ]
    return [(counts, hint) for counts, hint in known if counts != _dead(after)]


def _dying_net(*, norm: bool) -> nn.Sequential:
    """With batch normalization, its logits depend on the mode."""
    first = nn.Conv2d(2, 3, 1)
    conv = nn.Conv2d(3, 6, 1)
    weight, bias = (each.detach() for each in first.parameters())
    weight.uniform_(0.2, 0.6)
    bias.fill_(0.1)
    weight, bias = (each.detach() for each in conv.parameters())
    weight.uniform_(0.0, 0.1)
    weight[5] = 3.0  # positive for bright images only
    bias.copy_(torch.tensor([1.0, 0.5, 0.1, -1.0, 2.0, -2.0]))
    norms = []
    if norm:
        norms = [nn.BatchNorm2d(3)]
        norms[0].load_state_dict(
            {
                "weight": torch.full((3,), 0.5),
                "bias": torch.full((3,), 0.3),
                "running_mean": torch.full((3,), -0.2),
                "running_var": torch.full((3,), 2.0),
                "num_batches_tracked": torch.tensor(1),
            }
        )
    layers = [first, *norms, nn.ReLU(), conv, nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _after(net: nn.Module, x: Tensor, y: Tensor, *rates: float) -> Tensor:
    """The logits after one step for each rate, without going back between them."""
    moved = copy.deepcopy(net)
    for rate in rates:
        loss = F.cross_entropy(moved(x), y)
        gradients = torch.autograd.grad(loss, list(moved.parameters()))
        for parameter, gradient in zip(moved.parameters(), gradients, strict=True):
            parameter.data -= rate * gradient
    return moved(x).detach()


def _dead(runs: list[Tensor]) -> list[int]:
    """How many classes have no logit but zero, in the logits of each run."""
    return [int((logits == 0).all(0).sum()) for logits in runs]


@exercise(
    "nin.shifted_down",
    kind="predict",
    goal="say of an invariance for which change it was measured",
    minutes=10,
    first_hint="Open the page in the state of the link, and press the button that"
    " measures on 200 images.",
)
def shifted_down(answer: Answer) -> None:
    """By the networks of the page, in PyTorch."""
    nin, resnet = (counted(name, down=4) for name in ("nin", "resnet"))
    wrong = {
        "That is the shift to the right; this one goes down.": {"right": 4},
        "That is the shift up; this one goes down.": {"down": -4},
        "Shift them by four pixels.": {"down": 2},
        "Only down, and not to the right as well.": {"right": 4, "down": 4},
    }
    others = [
        (
            tuple(n for name in ("nin", "resnet") for n in counted(name, **moved)[1:3]),
            hint,
        )
        for hint, moved in wrong.items()
    ]
    pairs = (nin.lost, nin.gained, resnet.lost, resnet.gained)
    answer.expect(
        pairs,
        tolerance=0,
        mistakes=[
            ((nin.gained, nin.lost, resnet.gained, resnet.lost), "Lost comes first."),
            ((*pairs[2:], *pairs[:2]), "NiN comes first."),
            (
                (nin.lost, nin.gained) * 2,
                "Choose the other network, and measure again.",
            ),
            (
                (nin.right, nin.lost, resnet.right, resnet.lost),
                "Lost, and then gained.",
            ),
            (tuple(each / 200 for each in pairs), "Numbers of answers, not shares."),
            *others,
        ],
    )
