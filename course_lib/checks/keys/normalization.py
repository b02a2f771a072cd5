"""The exercises on normalization."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes, WrongAnswer, compare, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import case
from course_lib.normalization import BatchNorm2d, LocalResponseNorm, batch_norm
from course_lib.summary import count_parameters


@exercise(
    "normalization.state",
    kind="predict",
    goal="know the state of a batch normalization and how it moves",
    minutes=8,
    first_hint="Make an `nn.BatchNorm2d(2)` and print its `state_dict()`.",
)
def state(answer: Answer) -> None:
    """Counted and computed by PyTorch's layer."""
    layer = nn.BatchNorm2d(128)
    parameters = count_parameters(layer)
    buffers = sum(each.numel() for each in layer.buffers())
    channel = nn.BatchNorm2d(1)
    channel(torch.tensor([1.0, 3.0, 5.0, 7.0]).view(2, 1, 1, 2))
    mean, var = (each.item() for each in list(channel.buffers())[:2])
    answer.expect(
        (parameters, buffers, mean, var),
        tolerance=0.1,
        mistakes=_state_mistakes(parameters, buffers, mean, var),
    )


def _state_mistakes(parameters: int, buffers: int, mean: float, var: float) -> Mistakes:
    """Every mistake in the counts with every one in the averages, each of them, or
    neither.
    """
    half = parameters // 2
    channels = buffers // 2
    counts = {
        (parameters, buffers): "",
        (parameters, buffers - 1): "Print the buffers: one of them counts batches.",
        (half, channels): "Each channel has a scale, a shift, a mean and a variance.",
        (2 * parameters, 0): "Which values does an optimizer update, and which not?",
        (half, channels + 1): "How many input channels does the normalization have?",
    }
    averages = {
        (mean, var): "",
        (mean, 0.9 + 0.5): "The running variance estimates that of all data.",
        (3.6, 0.1 + 6.0): "PyTorch's momentum is the weight of the new batch.",
        (mean, var - 0.9): "The running variance is initialized to one, not to zero.",
        (4.0, 20 / 3): "Running averages move only a part of the way.",
    }
    return [
        ((*count, *moved), f"{one} {other}".strip())
        for count, one in counts.items()
        for moved, other in averages.items()
    ]


@exercise(
    "normalization.response_norm",
    kind="repair",
    goal="use a library whose parameters mean something else than those of the formula",
    minutes=10,
    first_hint="Read the formula in the documentation of `nn.LocalResponseNorm`.",
)
def response_norm(answer: Answer) -> None:
    """Against the library's, for odd and even n, with large activations."""
    for n, alpha, beta in ((5, 1e-4, 0.75), (3, 0.5, 1.0), (4, 0.2, 2.0)):
        k = 1 + beta
        x = torch.randn(2, 8, 4, 5) / alpha**0.5
        with case(f"for n = {n}, "):
            same_function(
                answer(n, alpha, beta, k),
                LocalResponseNorm(n, alpha, beta, k),
                x,
                mistakes=_response_norm_mistakes(n, alpha, beta, k),
            )


def _response_norm_mistakes(n: int, alpha: float, beta: float, k: float) -> Mistakes:
    def with_mean(size: int, factor: float) -> nn.Module:
        return nn.LocalResponseNorm(size, factor * alpha, beta, k)

    odd = n // 2 * 2 + 1
    wide = "From i - n/2 to i + n/2, how many channels are there if n is even?"
    return [
        (
            with_mean(n, 1),
            "PyTorch uses the mean of the squares, the formula their sum.",
        ),
        (with_mean(n, 1 / n), "A mean is smaller than a sum; and alpha?"),
        (with_mean(n, n), wide),
        (with_mean(n, odd), wide),
        (
            with_mean(odd, n),
            "PyTorch's mean is over the channels of its first argument.",
        ),
        (with_mean(n + 1, n + 1), "For an odd n there are n channels."),
    ]


@exercise(
    "normalization.group_norm",
    kind="implement",
    goal="tell normalizations apart by the values over which they average",
    minutes=10,
    first_hint="How many means are there in all? Reshape x to that many rows.",
)
def group_norm(answer: Answer) -> None:
    """Against PyTorch's, for groups of several sizes."""
    for groups, eps in ((2, 0.1), (3, 1e-5), (1, 0.5), (6, 0.2)):
        x = 2 * torch.randn(3, 6, 2, 4) + torch.randn(3, 6, 1, 1)
        answer.expect(
            F.group_norm(x, groups, eps=eps),
            x,
            groups,
            eps,
            mistakes=_group_norm_mistakes(x, groups, eps),
        )


def _group_norm_mistakes(x: Tensor, groups: int, eps: float) -> Mistakes:
    rows = x.unflatten(1, (groups, -1))  # images, groups, channels of one, H, W
    mixed = x.unflatten(1, (-1, groups))
    var, mean = torch.var_mean(rows, (2, 3, 4), correction=0, keepdim=True)
    centered = rows - mean
    swapped = F.group_norm(x, 6 // groups, eps=eps)

    def over(*dims: int) -> Tensor:
        return _normalized(rows, dims, eps)

    return [
        (over(0, 2, 3, 4), "Each image is normalized by itself, not over the batch."),
        (over(0, 3, 4), "This is batch normalization."),
        (over(3, 4), "A group has one mean for all its channels."),
        (over(2), "The mean is over all positions, too."),
        (over(1, 2, 3, 4), "Each group has its own mean."),
        (
            _normalized(mixed, (1, 3, 4), eps),
            "The channels of a group are neighbors: x[:, :2], then x[:, 2:4].",
        ),
        (swapped, "`groups` is the number of groups, not their size."),
        (
            _normalized(rows, (2, 3, 4), eps, correction=1),
            "The variance divides by the number of values, not by one less.",
        ),
        (_normalized(rows, (2, 3, 4), eps=0.0), "What is eps for?"),
        ((centered / (var + eps)).flatten(1, 2), "Where is the square root?"),
        (
            (centered / (var.sqrt() + eps)).flatten(1, 2),
            "eps is added to the variance, under the square root.",
        ),
    ]


def _normalized(
    x: Tensor, dims: tuple[int, ...], eps: float, *, correction: int = 0
) -> Tensor:
    """N, groups, channels of one, H, W normalized over some of these."""
    var, mean = torch.var_mean(x, dims, correction=correction, keepdim=True)
    return ((x - mean) / torch.sqrt(var + eps)).flatten(1, 2)


#: Channels, eps and momentum of the layers of `normalization.norm`.
OPTIONS = (4, 0.01, 0.3)


@exercise(
    "normalization.norm",
    kind="repair",
    goal="keep running averages in buffers, and update them correctly",
    minutes=15,
    first_hint="Run three batches through `nn.BatchNorm2d` and through the layer as it"
    " is, and compare their running averages.",
)
def norm(answer: Answer) -> None:
    """Against PyTorch's, in both modes, and then a copy made from the state."""
    layer = answer(*OPTIONS)
    want = nn.BatchNorm2d(*OPTIONS)
    shapes = [tuple(each.shape) for each in layer.parameters()]
    if shapes != [(4,), (4,)]:
        raise WrongAnswer(
            f"its parameters have the shapes {shapes}",
            "A scale and a shift per channel are parameters, and nothing else is.",
        )
    std = torch.tensor([0.5, 1.0, 2.0, 3.0]).view(-1, 1, 1)
    *batches, last = (std * (1 + torch.randn(2, 4, 2, 3)) for _ in range(4))
    for x in batches:
        _norm_in_training(layer.train(), want, x)
    evaluated = layer.eval()(last.clone())
    compare(
        evaluated,
        want.eval()(last),
        on="in evaluation mode, after three batches",
        mistakes=_norm_mistakes(batches, last),
    )
    if any(each.requires_grad for each in layer.buffers()):
        raise WrongAnswer(
            "its running averages keep the graphs of all batches",
            "No gradient passes through them: update them under `torch.no_grad()`.",
        )
    loaded = answer(*OPTIONS).eval()
    loaded.load_state_dict(layer.state_dict())
    if not torch.allclose(loaded(last.clone()), evaluated):
        raise WrongAnswer(
            "a new layer that loads its state computes something else",
            "What is in its `state_dict()`, and what is missing there?",
        )


def _norm_in_training(layer: nn.Module, want: nn.Module, x: Tensor) -> None:
    """Run a batch through both, and compare the outputs and the gradients.

    Raises: WrongAnswer if they differ.
    """
    # Before x requires a gradient: none passes through these two.
    mean = x.mean((0, 2, 3))
    var = x.var((0, 2, 3), correction=0)
    came = layer(x.requires_grad_().clone())
    right = want(x)
    frozen = _standardized(x, mean, var)
    estimated = _standardized(x, mean, x.var((0, 2, 3)))
    compare(
        came,
        right,
        on="in training mode",
        mistakes=[(estimated, "The batch's own variance divides by m, not by m - 1.")],
    )
    through = "Mean and variance depend on x: the gradient goes through them, too."
    came, right, frozen = (
        torch.autograd.grad((each * x.square()).sum(), x)[0]
        for each in (came, right, frozen)
    )
    compare(came, right, on="for the gradient", mistakes=[(frozen, through)])


def _norm_mistakes(batches: list[Tensor], last: Tensor) -> Mistakes:
    """Of the averages over the batches, as the last one shows them in evaluation."""

    def averaged(momentum: float, correction: int) -> Tensor:
        mean = torch.zeros(4)
        var = torch.ones(4)
        for x in batches:
            mean = mean.lerp(x.mean((0, 2, 3)), momentum)
            var = var.lerp(x.var((0, 2, 3), correction=correction), momentum)
        return _standardized(last, mean, var)

    weight = "Momentum is the weight of the new batch, not of the old average."
    return [
        (averaged(0.7, correction=0), weight),
        (averaged(0.7, correction=1), weight),
        (
            averaged(0.3, correction=0),
            "The running variance estimates that of all data: which divisor?",
        ),
        (averaged(0.0, correction=0), "The running averages have not been updated."),
        (
            averaged(1.0, correction=1),
            "A running average is over more than the last batch.",
        ),
        (nn.BatchNorm2d(*OPTIONS)(last), "Evaluation mode uses the running averages."),
    ]


def _standardized(x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return batch_norm(x, mean, var, torch.ones(4), torch.zeros(4), OPTIONS[1])


@exercise(
    "normalization.train_the_head",
    kind="repair",
    goal="freeze a network with batch normalization",
    minutes=15,
    first_hint="Compare the backbone's `state_dict()` before and after a batch.",
)
def train_the_head(answer: Answer) -> None:
    """By two steps of training, from either mode."""
    for training in (True, False):
        backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        backbone(2 * torch.randn(16, 1, 6, 6) + 1)
        head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3))
        net = answer(nn.Sequential(backbone, head).train(training))
        if not isinstance(net, nn.Sequential) or len(net) != 2:
            raise WrongAnswer(
                "it does not return the network",
                "It still consists of the backbone and the head.",
            )
        if not all(each.requires_grad for each in net[1].parameters()):
            raise WrongAnswer("the head is frozen", "Freeze only the backbone.")
        x = torch.randn(8, 1, 6, 6)
        _train_twice(net, x, torch.randint(3, (8,)))
        _stays(backbone, net[0])
        hint = "In training mode, the backbone normalizes with the batch's statistics."
        want = backbone.eval()(x)
        of_the_batch = backbone.train()(x)
        compare(net[0](x), want, on="for the backbone", mistakes=[(of_the_batch, hint)])
        if not all(each.training for each in net[1].modules()):
            raise WrongAnswer(
                "the head is in evaluation mode", "What becomes of its dropout?"
            )


def _train_twice(net: nn.Module, x: Tensor, y: Tensor) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        F.cross_entropy(net(x), y).backward()
        optimizer.step()


def _stays(backbone: nn.Module, trained: nn.Module) -> None:
    """The training changes nothing in the backbone.

    Raises: WrongAnswer if something was.
    """
    values = trained.state_dict().values()
    for (name, before), after in zip(
        backbone.state_dict().items(), values, strict=False
    ):
        if before.is_floating_point() and not torch.equal(before, after):
            raise WrongAnswer(
                f"a training step changes `{name}` of the backbone",
                "No gradient changes it. In which mode does it stay the same?"
                if "running" in name
                else "A parameter that does not require a gradient is not updated.",
            )


@exercise(
    "normalization.fold",
    kind="implement",
    goal="fold a batch normalization into the convolution before it",
    minutes=15,
    first_hint="Write the formula for one output channel. Which factor multiplies it?",
)
def fold(answer: Answer) -> None:
    """Against the two layers; the first has as many columns as output channels, so
    that scaling the wrong dimension raises no error.
    """
    for conv in (
        nn.Conv2d(4, 3, 3, bias=False),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(2, 5, 1),
    ):
        x = torch.randn(2, conv.in_channels, 7, 6)
        norm = _random_norm(conv.out_channels)
        got = answer(conv, norm)
        if not isinstance(got, nn.Conv2d):
            raise WrongAnswer(
                f"for {conv}, it returns no `nn.Conv2d`",
                "A single layer is to be left.",
            )
        if _geometry(got) != _geometry(conv):
            raise WrongAnswer(
                f"for {conv}, it returns {got}",
                "Stride, padding and groups are those of the old convolution.",
            )
        compare(
            got(x),
            norm(conv(x)),
            on=f"for {conv}",
            mistakes=_fold_mistakes(x, conv, norm),
        )


def _random_norm(channels: int) -> BatchNorm2d:
    norm = BatchNorm2d(channels, eps=0.3).eval()
    for each in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(each, mean=1.0)
    nn.init.uniform_(norm.running_var, 0.2, 2.0)
    return norm


def _geometry(conv: nn.Conv2d) -> tuple[object, ...]:
    return conv.stride, conv.padding, conv.groups


def _fold_mistakes(x: Tensor, conv: nn.Conv2d, norm: BatchNorm2d) -> Mistakes:
    """Of a convolution with another scale for its weights, and another bias."""
    mean = norm.running_mean
    shift = norm.bias
    own = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
    one = torch.ones(conv.out_channels)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    without_eps = norm.weight / torch.sqrt(norm.running_var)
    without_root = norm.weight / (norm.running_var + norm.eps)
    moved = shift + scale * (own - mean)

    order = "The mean that is subtracted is scaled, too."
    foldings = [
        (one, moved, "How does the scale change the weights?"),
        (scale, shift - scale * mean, "The convolution has a bias of its own."),
        (scale, shift + own - scale * mean, "Its own bias is normalized, too."),
        (scale, shift + own - mean, order),
        (scale, shift - mean, order),
        (scale, shift + scale * own, "What becomes of the running mean?"),
        (scale, scale * (own - mean), "What becomes of the shift?"),
        (scale, 0 * shift, "The normalization also adds a constant: which?"),
        (without_eps, shift + without_eps * (own - mean), "What is eps for?"),
        (
            without_root,
            shift + without_root * (own - mean),
            "Divide by the square root.",
        ),
    ]
    mistakes = [
        (_folded(x, conv, factor.view(-1, 1, 1, 1), bias), hint)
        for factor, bias, hint in foldings
    ]
    if conv.kernel_size[1] == conv.out_channels:
        hint = "Here every column of a kernel is scaled, not every output channel."
        mistakes.append((_folded(x, conv, scale, moved), hint))
    return mistakes


def _folded(x: Tensor, conv: nn.Conv2d, scale: Tensor, bias: Tensor) -> Tensor:
    """`scale` multiplies the weights as PyTorch lines the shapes up."""
    return F.conv2d(
        x,
        conv.weight * scale,
        bias,
        stride=conv.stride,
        padding=conv.padding,
        groups=conv.groups,
    )
