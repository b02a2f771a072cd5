"""The exercises on normalisation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Wrong, compare, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.normalization import BatchNorm2d, LocalResponseNorm, batch_norm


@exercise(
    "normalization.state",
    kind="predict",
    goal="know the state of a batch normalisation and how it moves",
    minutes=8,
    first="Make an `nn.BatchNorm2d(2)` and print its `state_dict()`.",
)
def state(answer: Answer) -> None:
    """Counted and computed by PyTorch's layer."""
    layer, channel = nn.BatchNorm2d(128), nn.BatchNorm2d(1)
    channel(torch.tensor([1.0, 3.0, 5.0, 7.0]).view(2, 1, 1, 2))
    trained = sum(each.numel() for each in layer.parameters())
    kept = sum(each.numel() for each in layer.buffers())
    mean, var = (each.item() for each in list(channel.buffers())[:2])
    counts = {
        (trained, kept): "",
        (trained, kept - 1): "Print the buffers: there is one that counts.",
        (
            trained // 2,
            kept // 2,
        ): "Each channel has a scale and a shift, and averages.",
        (2 * trained, 0): "What does an optimiser move, and what is kept beside it?",
        (trained // 2, kept // 2 + 1): "How many channels reach the normalisation?",
    }
    averages = {
        (mean, var): "",
        (mean, 0.9 + 0.5): "What is kept is an estimate of the variance of all data.",
        (3.6, 0.1 + 6.0): "PyTorch's momentum is the share of the new batch.",
        (mean, var - 0.9): "The variance starts at one: nothing is multiplied by zero.",
        (4.0, 20 / 3): "The averages move only a part of the way.",
    }
    answer.gives(
        (trained, kept, mean, var),
        tolerance=0.1,
        mistakes=[
            ((*count, *moved), f"{one} {other}".strip())
            for count, one in counts.items()
            for moved, other in averages.items()
        ],
    )


@exercise(
    "normalization.response_norm",
    kind="repair",
    goal="carry a formula over to a library that reads its letters otherwise",
    minutes=10,
    first="Read the formula in the documentation of `nn.LocalResponseNorm`.",
)
def response_norm(answer: Answer) -> None:
    """Against the library's, for odd and even n, on loud channels."""
    sums = "PyTorch has the mean of the squares, the formula their sum."
    wide = "From i - n/2 to i + n/2, how many channels are there if n is even?"
    for n, alpha, beta in ((5, 1e-4, 0.75), (3, 0.5, 1.0), (4, 0.2, 2.0)):
        x, m, k = torch.randn(2, 8, 4, 5) / alpha**0.5, n // 2 * 2 + 1, 1 + beta
        try:
            same_function(
                answer(n, alpha, beta, k),
                LocalResponseNorm(n, alpha, beta, k),
                x,
                mistakes=[
                    (nn.LocalResponseNorm(size, factor * alpha, beta, k), hint)
                    for size, factor, hint in (
                        (n, 1, sums),
                        (n, 1 / n, "A mean is smaller than a sum; and alpha?"),
                        (n, n, wide),
                        (n, m, wide),
                        (m, n, "The mean is over as many channels as PyTorch takes."),
                        (n + 1, n + 1, "For an odd n there are n channels."),
                    )
                ],
            )
        except Wrong as wrong:
            raise Wrong(f"for n = {n}, {wrong.message}", wrong.hint) from None


@exercise(
    "normalization.group_norm",
    kind="implement",
    goal="tell normalisations apart by the numbers that they average",
    minutes=10,
    first="How many means are there in all? Bring x into that many rows.",
)
def group_norm(answer: Answer) -> None:
    """Against PyTorch's, for groups of several sizes."""
    for groups, eps in ((2, 0.1), (3, 1e-5), (1, 0.5), (6, 0.2)):
        x = 2 * torch.randn(3, 6, 2, 4) + torch.randn(3, 6, 1, 1)
        rows, mixed = x.unflatten(1, (groups, -1)), x.unflatten(1, (-1, groups))

        def over(
            *dims: int, x: Tensor = rows, eps: float = eps, correction: int = 0
        ) -> Tensor:
            var, mean = torch.var_mean(x, dims, correction=correction, keepdim=True)
            return ((x - mean) / torch.sqrt(var + eps)).flatten(1, 2)

        var, mean = torch.var_mean(rows, (2, 3, 4), correction=0, keepdim=True)
        centred, under = rows - mean, "eps is added to the variance, under the root."
        answer.gives(
            F.group_norm(x, groups, eps=eps),
            *(x, groups, eps),
            mistakes=[
                (over(0, 2, 3, 4), "No picture knows of the others here."),
                (over(0, 3, 4), "This is batch normalisation."),
                (over(3, 4), "The channels of a group are averaged together."),
                (over(2), "The average is over all pixels, too."),
                (over(1, 2, 3, 4), "Each group has its own mean."),
                (over(1, 3, 4, x=mixed), "The channels of a group are neighbours."),
                (
                    F.group_norm(x, 6 // groups, eps=eps),
                    "groups is how many there are.",
                ),
                (over(2, 3, 4, correction=1), "Divide by how many numbers there are."),
                (over(2, 3, 4, eps=0.0), "What is eps for?"),
                ((centred / (var + eps)).flatten(1, 2), "Where is the root?"),
                ((centred / (var.sqrt() + eps)).flatten(1, 2), under),
            ],
        )


@exercise(
    "normalization.norm",
    kind="repair",
    goal="keep what is not trained, and move it the right way",
    minutes=15,
    first="Run three batches through `nn.BatchNorm2d` and through the layer as it is,"
    " and compare what they have kept.",
)
def norm(answer: Answer) -> None:
    """Against PyTorch's, in both modes, and then a copy made from the state."""
    options = (4, 0.01, 0.3)
    layer, want = answer(*options), nn.BatchNorm2d(*options)
    shapes = [tuple(each.shape) for each in layer.parameters()]
    if shapes != [(4,), (4,)]:
        raise Wrong(
            f"its parameters have the shapes {shapes}",
            "A scale and a shift are trained for each channel, and nothing else is.",
        )
    spread = torch.tensor([0.5, 1.0, 2.0, 3.0]).view(-1, 1, 1)
    batches = [spread * (1 + torch.randn(2, 4, 2, 3)) for _ in range(4)]
    last, ones, zeros = batches.pop(), torch.ones(4), torch.zeros(4)

    def with_averages(share: float, correction: int) -> Tensor:
        mean, var = zeros, ones
        for x in batches:
            mean = mean.lerp(x.mean((0, 2, 3)), share)
            var = var.lerp(x.var((0, 2, 3), correction=correction), share)
        return batch_norm(last, mean, var, ones, zeros, 0.01)

    for x in batches:
        # Before x asks for gradients: through these two none will flow.
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        y, right = layer.train()(x.requires_grad_().clone()), want(x)
        still = batch_norm(x, mean, var, ones, zeros, 0.01)
        other = batch_norm(x, mean, x.var((0, 2, 3)), ones, zeros, 0.01)
        hint = "The batch itself is divided by m, not by m - 1."
        compare(y, right, on="in training mode", mistakes=[(other, hint)])
        hint = "Mean and variance depend on x: the gradient goes through them, too."
        y, right, still = (
            torch.autograd.grad((each * x.square()).sum(), x)[0]
            for each in (y, right, still)
        )
        compare(y, right, on="for the gradient", mistakes=[(still, hint)])
    share = "Momentum is the share of the new batch, not of what was there."
    kept = layer.eval()(last.clone())
    compare(
        kept,
        want.eval()(last),
        on="in evaluation mode, after three batches",
        mistakes=[
            (with_averages(0.7, 0), share),
            (with_averages(0.7, 1), share),
            (with_averages(0.3, 0), "What is kept estimates the variance of all data."),
            (with_averages(0.0, 0), "The averages have not moved."),
            (with_averages(1.0, 1), "An average is of more than the last batch."),
            (nn.BatchNorm2d(*options)(last), "Evaluation uses what was kept."),
        ],
    )
    if any(each.requires_grad for each in layer.buffers()):
        raise Wrong(
            "its averages hold on to the graphs of all batches",
            "Nothing is trained through them: compute them without gradients.",
        )
    loaded = answer(*options).eval()
    loaded.load_state_dict(layer.state_dict())
    if not torch.allclose(loaded(last.clone()), kept):
        raise Wrong(
            "a new layer that loads its state computes something else",
            "What is in its `state_dict()`, and what is missing?",
        )


@exercise(
    "normalization.train_the_head",
    kind="repair",
    goal="freeze a net with batch normalisation",
    minutes=15,
    first="Compare the body's `state_dict()` before and after a batch.",
)
def train_the_head(answer: Answer) -> None:
    """By two steps of training, from either mode."""
    for training in (True, False):
        body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        body(2 * torch.randn(16, 1, 6, 6) + 1)
        head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3))
        net = answer(nn.Sequential(body, head).train(training))
        if not isinstance(net, nn.Sequential) or len(net) != 2:
            raise Wrong("it does not return the net", "Body and head remain its parts.")
        if not all(each.requires_grad for each in net[1].parameters()):
            raise Wrong("the head does not learn", "Only the body is frozen.")
        x, y = torch.randn(8, 1, 6, 6), torch.randint(3, (8,))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
        for _ in range(2):
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        was, now = body.state_dict(), net[0].state_dict().values()
        for (name, before), after in zip(was.items(), now, strict=False):
            if before.is_floating_point() and not torch.equal(before, after):
                raise Wrong(
                    f"a step of training changes `{name}` of the body",
                    "No gradient moves it. In which mode does it stay?"
                    if "running" in name
                    else "A parameter that asks for no gradient stays what it is.",
                )
        hint = "The averages stay, but the body uses those of the batch."
        want, other = body.eval()(x), body.train()(x)
        compare(net[0](x), want, on="for the body", mistakes=[(other, hint)])
        if not all(each.training for each in net[1].modules()):
            raise Wrong("the head is in evaluation mode", "What about its dropout?")


@exercise(
    "normalization.fold",
    kind="implement",
    goal="see that in evaluation a batch normalisation is part of the convolution"
    " before it",
    minutes=15,
    first="Write down what becomes of one output channel. By what is it multiplied?",
)
def fold(answer: Answer) -> None:
    """Against the two layers, first where one scale for each column fits, too."""
    order, names = "What is subtracted is scaled, too.", ("stride", "padding", "groups")
    for conv in (
        nn.Conv2d(4, 3, 3, bias=False),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(2, 5, 1),
    ):
        channels, x = conv.out_channels, torch.randn(2, conv.in_channels, 7, 6)
        norm = BatchNorm2d(channels, eps=0.3).eval()
        mean, var, shift = norm.running_mean, norm.running_var, norm.bias
        for each in (norm.weight, shift, mean):
            nn.init.normal_(each, mean=1.0)
        nn.init.uniform_(var, 0.2, 2.0)
        got = answer(conv, norm)
        if not isinstance(got, nn.Conv2d):
            raise Wrong(f"for {conv}, it returns no `nn.Conv2d`", "One layer is left.")
        rest: Any = {name: getattr(conv, name) for name in names}
        if any(getattr(got, name) != rest[name] for name in names):
            raise Wrong(
                f"for {conv}, it returns {got}",
                "The new convolution looks at the same places as the old one.",
            )
        own = torch.zeros(channels) if conv.bias is None else conv.bias
        s = norm.weight / torch.sqrt(var + norm.eps)
        close, square = norm.weight / torch.sqrt(var), norm.weight / (var + norm.eps)
        moved = shift + s * (own - mean)
        mistakes = [
            (F.conv2d(x, t.view(-1, 1, 1, 1) * conv.weight, bias, **rest), hint)
            for t, bias, hint in (
                (s / s, moved, "What does the scale do to the weights?"),
                (s, shift - s * mean, "The convolution has a bias of its own."),
                (s, shift + own - s * mean, "Its own bias is normalised, too."),
                (s, shift + own - mean, order),
                (s, shift - mean, order),
                (s, shift + s * own, "What becomes of the running mean?"),
                (s, s * (own - mean), "What becomes of the shift?"),
                (s, 0 * shift, "Something is added, too: where does it go?"),
                (close, shift + close * (own - mean), "What is eps for?"),
                (square, shift + square * (own - mean), "Divide by the square root."),
            )
        ]
        if conv.kernel_size[1] == channels:
            hint = "Here every column of a kernel is scaled, not every output channel."
            mistakes.append((F.conv2d(x, conv.weight * s, moved, **rest), hint))
        compare(got(x), norm(conv(x)), on=f"for {conv}", mistakes=mistakes)
