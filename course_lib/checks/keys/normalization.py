"""The exercises on normalization."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes, WrongAnswer, compare
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import module
from course_lib.checks.remote import Remote
from course_lib.checks.shared import case, output_of, refuse
from course_lib.normalization import BatchNorm2d, batch_norm
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
    channel(torch.tensor([1.0, 3.0, 5.0, 15.0]).view(2, 1, 1, 2))
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
    each = "Each channel has a scale, a shift, a mean and a variance of its own."
    inputs = "How many input channels does the normalization have?"
    counts = {
        (parameters, buffers): "",
        (parameters, buffers - 1): "Print the buffers: one of them counts batches.",
        (half, channels): each,
        (2 * parameters, 0): "Which values does an optimizer update, and which not?",
        (half, channels + 1): inputs,
        (half // 2, channels // 2): inputs,
        (half // 2, channels // 2 + 1): inputs,
        (2, 2): each,
        (2, 3): f"{each} Count the values in the tensors.",
    }
    return [
        ((*count, *moved), f"{one} {other}".strip())
        for count, one in counts.items()
        for moved, other in _averages_mistakes(mean, var).items()
    ]


def _averages_mistakes(mean: float, var: float) -> dict[tuple[float, float], str]:
    """Running averages after the values 1, 3, 5 and 15, the right ones among them."""
    of_batch = 116 / 4
    of_all = 116 / 3
    all_data = "The running variance estimates that of all data: which divisor?"
    weight = "PyTorch's momentum is the weight of the new batch."
    begin = "The running variance is initialized to one, not to zero."
    part = "Running averages move only a part of the way."
    return {
        (mean, var): "",
        (mean, 0.9 + 0.1 * of_batch): all_data,
        (5.4, 0.1 + 0.9 * of_all): weight,
        (5.4, 0.1 + 0.9 * of_batch): f"{weight} {all_data}",
        (mean, var - 0.9): begin,
        (mean, 0.1 * of_batch): f"{begin} {all_data}",
        (6.0, of_all): part,
        (6.0, of_batch): f"{part} {all_data}",
        (0.9 + mean, var): "The running mean is initialized to zero, not to one.",
        (mean, 4.8): "That is rounded too much: give three decimals.",
    }


@exercise(
    "normalization.group_norm",
    kind="implement",
    goal="tell normalizations apart by the values over which they average",
    minutes=10,
    first_hint="How many means are there in all? Reshape x to that many rows.",
    banned=("normalization",),
    instead="Write it with a mean and a variance.",
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
    std = torch.sqrt(var + eps)
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
        (centered.flatten(1, 2), "The variance is to be one, too."),
        ((rows / std).flatten(1, 2), "The mean is to be zero, too."),
        (centered / std, "The output has the shape of x."),
        ((centered / std).flatten(2), "The output has the shape of x."),
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
    banned=(
        "normalization",
        "course_lib.normalization.batch_norm",
        "course_lib.normalization.BatchNorm2d",
    ),
    instead="Correct the layer as it is.",
)
def norm(answer: Answer) -> None:
    """Against PyTorch's, in both modes, and then a copy made from the state."""
    layer = module(answer(*OPTIONS), torch.randn(2, 4, 2, 3)).float()
    want = nn.BatchNorm2d(*OPTIONS)
    _draw_scale_and_shift(layer, want)
    std = torch.tensor([0.5, 1.0, 2.0, 3.0]).view(-1, 1, 1)
    *batches, last = (std * (1 + torch.randn(2, 4, 2, 3)) for _ in range(4))
    for x in batches:
        _norm_in_training(layer.train(), want, x)
    averages = [each.clone() for each in layer.buffers()]
    evaluated = layer.eval()(last.clone())
    if not all(map(torch.equal, averages, layer.buffers())):
        raise WrongAnswer(
            "evaluation mode changes its running averages",
            "They are averages over the batches of the training alone.",
        )
    compare(
        evaluated,
        want.eval()(last),
        on="in evaluation mode, after three batches",
        mistakes=_norm_mistakes(batches, last, want),
    )
    if any(each.requires_grad for each in layer.buffers()):
        raise WrongAnswer(
            "its running averages keep the graphs of all batches",
            "No gradient passes through them: update them under `torch.no_grad()`.",
        )
    loaded = module(answer(*OPTIONS), torch.randn(2, 4, 2, 3)).float().eval()
    loaded.load_state_dict(layer.state_dict())
    if not torch.allclose(loaded(last.clone()), evaluated):
        raise WrongAnswer(
            "a new layer that loads its state computes something else",
            "What is in its `state_dict()`, and what is missing there?",
        )


def _draw_scale_and_shift(layer: nn.Module, want: nn.BatchNorm2d) -> None:
    """Give both layers the same scale and the same shift, drawn at random.

    Raises: WrongAnswer if `layer` does not have them as they begin, and nothing else.
    """
    nn.init.uniform_(want.weight, 0.5, 2.0)
    nn.init.uniform_(want.bias, 1.0, 2.0)
    begin = {0.0: want.bias, 1.0: want.weight}
    shapes = [tuple(each.shape) for each in layer.parameters()]
    if [each.numel() for each in layer.parameters()] != [4, 4]:
        raise WrongAnswer(
            f"its parameters have the shapes {shapes}",
            "A scale and a shift per channel are parameters, and nothing else is.",
        )
    for each in layer.parameters():
        value = each.detach().flatten()[0].item()
        if value not in begin or (each != value).any():
            raise WrongAnswer(
                "its parameters have other initial values",
                "The scale is initialized to one, and the shift to zero.",
            )
        each.data = begin.pop(value).detach().clone().view_as(each)


def _norm_in_training(layer: nn.Module, want: nn.BatchNorm2d, x: Tensor) -> None:
    """Run a batch through both, and compare the outputs and the gradients.

    Raises: WrongAnswer if they differ.
    """
    # Before x requires a gradient: none passes through these two.
    mean = x.mean((0, 2, 3))
    var = x.var((0, 2, 3), correction=0)
    came = layer(x.requires_grad_().clone())
    right = want(x)
    frozen = _standardized(x, mean, var, want)
    compare(
        came,
        right,
        on="in training mode",
        mistakes=_norm_mistakes_in_training(x.detach(), want),
    )
    nothing = "Nothing is to be detached."
    if not came.requires_grad:
        raise WrongAnswer("its output has no gradient", nothing)
    ours = {
        each: next(p for p in want.parameters() if torch.equal(p, each.flatten()))
        for each in layer.parameters()
    }
    came, *trained = _gradients(came, x, *ours)
    right, *wanted = _gradients(right, x, *ours.values())
    (frozen,) = _gradients(frozen, x)
    through = "Mean and variance depend on x: the gradient goes through them, too."
    compare(came, right, on="for the gradient", mistakes=[(frozen, through)])
    for got, each in zip(trained, wanted, strict=True):
        if not torch.allclose(got.flatten(), each, 1e-3, 1e-3):
            raise WrongAnswer("its scale or its shift has another gradient", nothing)


def _gradients(y: Tensor, x: Tensor, *parameters: Tensor) -> list[Tensor]:
    """Of a sum over y, with respect to x and parameters; zeros if there is none."""
    leaves = [x, *parameters]
    found = torch.autograd.grad(
        (y * x.detach().square()).sum(), leaves, allow_unused=True
    )
    return [
        torch.zeros_like(leaf) if each is None else each
        for leaf, each in zip(leaves, found, strict=True)
    ]


def _norm_mistakes_in_training(x: Tensor, want: nn.BatchNorm2d) -> Mistakes:
    scale = want.weight.detach().view(-1, 1, 1)
    shift = want.bias.detach().view(-1, 1, 1)
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    estimated = x.var((0, 2, 3))
    x_hat = (_standardized(x, mean, var, want) - shift) / scale
    own = F.instance_norm(x, eps=want.eps) * scale + shift
    last_lines = "The last line of the layer was right: it has a scale and a shift."
    return [
        (
            _standardized(x, mean, estimated, want),
            "The batch's own variance divides by m, not by m - 1.",
        ),
        (x_hat, last_lines),
        (x_hat * scale, last_lines),
        (x_hat + shift, last_lines),
        (
            batch_norm(x, mean, var, want.weight, want.bias, 1e-5),
            "eps is an argument.",
        ),
        (own, "The mean is over all images of the batch."),
        (
            _standardized(x, torch.zeros(4), torch.ones(4), want),
            "In training mode, the batch is normalized with its own mean and variance.",
        ),
    ]


def _norm_mistakes(
    batches: list[Tensor], last: Tensor, want: nn.BatchNorm2d
) -> Mistakes:
    """Of the averages over the batches, as the last one shows them in evaluation."""

    def averaged(momentum: float, estimate: float, begin: float = 1.0) -> Tensor:
        """With variances that are `estimate` times that of the batch."""
        mean = torch.zeros(4)
        var = torch.full((4,), begin)
        for x in batches:
            own = x.detach()
            mean = mean.lerp(own.mean((0, 2, 3)), momentum)
            var_of_batch = own.var((0, 2, 3), correction=0)
            var = var.lerp(estimate * var_of_batch, momentum)
        return _standardized(last, mean, var, want)

    m = last.numel() // 4
    right = m / (m - 1)
    weight = "Momentum is the weight of the new batch, not of the old average."
    count = "m is the number of values of one channel: images times positions."
    training = _standardized(
        last, last.mean((0, 2, 3)), last.var((0, 2, 3), correction=0), want
    )
    return [
        (averaged(0.7, 1), weight),
        (averaged(0.7, right), weight),
        (
            averaged(0.3, 1),
            "The running variance estimates that of all data: which divisor?",
        ),
        (averaged(0.3, (m - 1) / m), "It is larger than that of the batch."),
        (averaged(0.3, 4 * m / (4 * m - 1)), count),
        (averaged(0.3, len(last) / (len(last) - 1)), count),
        (averaged(0.3, right, begin=0.0), "The running variance begins at one."),
        (averaged(0.1, right), "Momentum is an argument."),
        (averaged(0.0, 1), "The running averages have not been updated."),
        (averaged(1.0, right), "A running average is over more than the last batch."),
        (averaged(1.0, 1), "A running average is over more than the last batch."),
        (training, "Evaluation mode uses the running averages."),
    ]


def _standardized(
    x: Tensor, mean: Tensor, var: Tensor, layer: nn.BatchNorm2d
) -> Tensor:
    """`x` normalized with this mean and variance, as `layer` would scale and shift."""
    return batch_norm(x, mean, var, layer.weight, layer.bias, layer.eps)


@exercise(
    "normalization.train_the_head",
    kind="repair",
    goal="freeze a network with batch normalization",
    minutes=15,
    first_hint="Compare the backbone's `state_dict()` before and after a batch.",
)
def train_the_head(answer: Answer) -> None:
    """By two steps of training, from either mode, of two networks."""
    for training in (True, False):
        backbone = _backbone(nested=not training)
        backbone(2 * torch.randn(16, 1, 6, 6) + 1)
        head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3))
        given = nn.Sequential(backbone, head).train(training)
        net = module(answer(given, changes=[0]))
        if not isinstance(net, nn.Sequential | Remote) or len(net) != 2:
            raise WrongAnswer(
                "it does not return the network",
                "It still consists of the backbone and the head.",
            )
        _head_as_usual(head, net[1])
        x = torch.randn(8, 1, 6, 6)
        _train_twice(net, x, torch.randint(3, (8,)))
        _stays(backbone, net[0])
        came = net[0](x)
        again = net[0](x)
        compare(
            came,
            backbone.eval()(x),
            on="for the backbone",
            mistakes=_backbone_mistakes(backbone, x, came, again),
        )


def _backbone(*, nested: bool) -> nn.Sequential:
    """A small one, or one whose normalization lies deeper, with dropout."""
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    if not nested:
        return nn.Sequential(*layers)
    return nn.Sequential(nn.Sequential(*layers), nn.Dropout(0.5))


def _backbone_mistakes(
    backbone: nn.Module, x: Tensor, came: Tensor, again: Tensor
) -> Mistakes:
    """`came` and `again` are two outputs for `x`."""
    statistics = (
        "In training mode, the backbone normalizes with the batch's statistics."
    )
    other = "Normalization is not the only layer with two modes: what about dropout?"
    mistakes = [(backbone.train()(x), statistics)]
    if not torch.equal(came, again):
        mistakes.append((came, other))
    return mistakes


def _head_as_usual(head: nn.Module, got: nn.Module) -> None:
    """It is the same head, and in training mode.

    Raises: WrongAnswer if it is not.
    """
    if not all(each.requires_grad for each in got.parameters()):
        raise WrongAnswer("the head is frozen", "Freeze only the backbone.")
    if not all(each.training for each in got.modules()):
        raise WrongAnswer(
            "the head is in evaluation mode", "What becomes of its dropout?"
        )
    x = torch.randn(4, 4, 4, 4)
    if torch.equal(got(x), got(x)):
        raise WrongAnswer("the head drops nothing", "It is trained as usual.")
    modes = [each.training for each in got.modules()]
    same = torch.allclose(got.eval()(x), head.eval()(x))
    for each, mode in zip(got.modules(), modes, strict=True):
        each.training = mode
    if not same:
        raise WrongAnswer(
            "the head computes something else than before", "Leave it as it is."
        )


def _train_twice(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """By gradient descent with weight decay; the first use of PyTorch's takes seconds.

    Raises: WrongAnswer if there is no gradient.
    """
    for _ in range(2):
        logits = net(x)
        if not logits.requires_grad:
            raise WrongAnswer(
                "its output has no gradient", "Something in the head has to learn."
            )
        F.cross_entropy(logits, y).backward()
        with torch.no_grad():
            for each in net.parameters():
                if each.grad is not None:
                    each.sub_(0.1 * (each.grad + 0.1 * each))


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
    """Against the two layers; the first has as many rows, columns and inputs as output
    channels, so that scaling the wrong dimension raises no error.
    """
    for conv in (
        nn.Conv2d(3, 3, 3, bias=False),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(2, 5, 1),
        nn.Conv2d(2, 4, 3, padding=2, dilation=2, padding_mode="reflect"),
    ):
        x = torch.randn(2, conv.in_channels, 7, 6)
        norm = _random_norm(conv.out_channels)
        got = answer(conv, norm)
        if isinstance(got, nn.Module) and not isinstance(got, nn.Conv2d):
            raise WrongAnswer(
                f"for {conv}, it returns no `nn.Conv2d`",
                "A single layer is to be left.",
            )
        folded = module(got).float()
        other = _geometry(folded) != _geometry(conv)
        hint = (
            "Stride, padding, its mode, dilation and groups are those of the old"
            " convolution."
        )
        with case("", hint=hint if other else ""):
            compare(
                output_of(folded, x),
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


def _geometry(layer: nn.Module) -> list[object]:
    names = ("stride", "padding", "dilation", "groups", "padding_mode")
    return [getattr(layer, name) for name in names]


def _fold_mistakes(x: Tensor, conv: nn.Conv2d, norm: BatchNorm2d) -> Mistakes:
    """Of a convolution with another scale for its weights, and another bias."""
    mistakes = [
        (_folded(x, conv, factor.view(-1, 1, 1, 1), bias), hint)
        for factor, bias, hint in _foldings(conv, norm)
    ]
    if conv.weight.shape[:2] != conv.weight.shape[2:]:
        return mistakes
    right, _, bias = _scale_and_bias(conv, norm)
    return [
        *mistakes,
        *(
            (
                _folded(x, conv, right.view(shape), bias),
                f"Here every {part} is scaled, not every output channel.",
            )
            for shape, part in (
                ((-1,), "column of a kernel"),
                ((-1, 1), "row of a kernel"),
                ((-1, 1, 1), "input channel"),
            )
        ),
    ]


def _scale_and_bias(
    conv: nn.Conv2d, norm: BatchNorm2d
) -> tuple[Tensor, Tensor, Tensor]:
    """The scale, the bias of `conv`, and the bias of the folded convolution."""
    own = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, own, norm.bias + scale * (own - norm.running_mean)


def _foldings(conv: nn.Conv2d, norm: BatchNorm2d) -> list[tuple[Tensor, Tensor, str]]:
    """Wrong scales and biases, and what to say of them."""
    scale, own, moved = _scale_and_bias(conv, norm)
    mean = norm.running_mean
    shift = norm.bias
    one = torch.ones(conv.out_channels)
    std = torch.sqrt(norm.running_var + norm.eps)
    order = "The mean that is subtracted is scaled, too."
    scales = [
        (norm.weight / torch.sqrt(norm.running_var), "What is eps for?"),
        (norm.weight / std**2, "Divide by the square root."),
        (norm.weight * std, "Is it multiplied by the standard deviation?"),
        (1 / std, "What becomes of `norm.weight`?"),
        (
            norm.weight / (torch.sqrt(norm.running_var) + norm.eps),
            "eps is added to the variance, under the square root.",
        ),
    ]
    return [
        (one, own, "Here the normalization is left out: which factor does it have?"),
        (one, moved, "How does the scale change the weights?"),
        (scale, shift - scale * mean, "The convolution has a bias of its own."),
        (scale, shift + own - scale * mean, "Its own bias is normalized, too."),
        (scale, shift + own - mean, order),
        (scale, shift - mean, order),
        (scale, shift + scale * own, "What becomes of the running mean?"),
        (scale, shift + scale * (own + mean), "Is the running mean added?"),
        (scale, scale * (own - mean), "What becomes of the shift?"),
        (scale, own, "What becomes of the running mean and of the shift?"),
        (scale, 0 * shift, "The normalization also adds a constant: which?"),
        *((each, shift + each * (own - mean), hint) for each, hint in scales),
    ]


def _folded(x: Tensor, conv: nn.Conv2d, scale: Tensor, bias: Tensor) -> Tensor:
    """`scale` multiplies the weights as PyTorch lines the shapes up."""
    return conv._conv_forward(x, conv.weight * scale, bias)


@exercise(
    "normalization.layer_norm_backward",
    kind="implement",
    goal="derive a backward pass through a mean, a variance and a scale that varies",
    minutes=40,
    first_hint="Write h for the gradient in the normalized values. How does h depend on"
    " the scale? From there on it is the derivation of the chapter.",
    banned=("autograd", "normalization"),
    instead="Write the sums that you have derived.",
)
def layer_norm_backward(answer: Answer) -> None:
    """Against autograd, with scales of both signs and a large epsilon."""
    for shape, eps in (((2, 3, 2, 4), 0.1), ((3, 4, 3, 2), 0.5), ((1, 2, 3, 3), 1e-5)):
        g = torch.randn(shape)
        x = 2 * torch.randn(shape) + torch.randn(shape[0], 1, 1, 1)
        weight = torch.randn(shape[1]) + 1.5
        got = answer(g, x, weight, eps)
        parts = list(got) if isinstance(got, tuple | list) else []
        refuse(
            len(parts) != 3,
            "three gradients are wanted",
            "Return those of x, of the scales and of the shifts, in this order.",
        )
        leaves = [x.requires_grad_(), weight.requires_grad_(), torch.zeros(shape[1])]
        y = F.group_norm(x, 1, weight, leaves[2].requires_grad_(), eps)
        want = torch.autograd.grad(y, leaves, g)
        mistakes = _backward_mistakes(g, x.detach(), weight.detach(), eps)
        for part, right, name in zip(parts, want, mistakes, strict=True):
            on = f"for {name}, with x of shape {shape} and eps {eps:g}"
            compare(part, right, on=on, mistakes=mistakes[name])


def _backward_mistakes(
    g: Tensor, x: Tensor, weight: Tensor, eps: float
) -> dict[str, Mistakes]:
    """What is returned for each, and the hint that fits."""
    dims = (1, 2, 3)
    var, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
    x_hat = (x - mean) / torch.sqrt(var + eps)
    where = "A scale is used in all images and at all positions."
    once = "A shift is added in all images and at all positions."
    product = g * x_hat
    return {
        "x": _mistakes_in_x(g, x, weight, eps),
        "the scales": [
            (g.sum((0, 2, 3)), "That is the gradient in the shifts."),
            ((g * x).sum((0, 2, 3)), "What does the scale multiply?"),
            (product.sum((2, 3)), where),
            (product.sum(0), where),
            (product.mean((0, 2, 3)), "It is a sum, not a mean."),
            (
                (weight.view(-1, 1, 1) * product).sum((0, 2, 3)),
                "Once too often: gamma.",
            ),
        ],
        "the shifts": [
            (g.sum((2, 3)), once),
            (g.sum(0), once),
            (g.mean((0, 2, 3)), "It is a sum, not a mean."),
            (weight * g.sum((0, 2, 3)), "The scale does not multiply the shift."),
            (product.sum((0, 2, 3)), "That is the gradient in the scales."),
        ],
    }


def _mistakes_in_x(g: Tensor, x: Tensor, weight: Tensor, eps: float) -> Mistakes:
    scale = weight.view(-1, 1, 1)
    h = scale * g

    def backward(h: Tensor, dims: tuple[int, ...], eps: float = eps) -> Tensor:
        """With lists over these dimensions."""
        var, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
        s = torch.sqrt(var + eps)
        x_hat = (x - mean) / s
        along = (h * x_hat).mean(dims, keepdim=True)
        return (h - h.mean(dims, keepdim=True) - x_hat * along) / s

    image = (1, 2, 3)
    var, mean = torch.var_mean(x, image, correction=0, keepdim=True)
    s = torch.sqrt(var + eps)
    x_hat = (x - mean) / s
    along = (h * x_hat).mean(image, keepdim=True)
    changes = "Each x also changes the mean and the standard deviation of its image."
    batch = "The list is one image, with all its channels."
    return [
        (scale * backward(g, image), "Inside a mean, each g has its own scale."),
        (backward(g, image), "What becomes of the scale?"),
        (h / s, changes),
        ((h - h.mean(image, keepdim=True)) / s, "Each x also changes the variance."),
        ((h - x_hat * along) / s, "Each x also changes the mean."),
        (s * backward(h, image), "By what was x divided on the way forward?"),
        (backward(h, image) / s, "One division by s is enough."),
        (backward(h, image, eps=0.0), "What becomes of eps?"),
        (backward(h, (0, 2, 3)), batch),
        (backward(h, (2, 3)), batch),
        (backward(h, (0, 1, 2, 3)), "Each image is a list of its own."),
    ]
