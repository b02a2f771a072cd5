"""The exercises on training."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes, WrongAnswer, compare
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import all_with, case


@exercise(
    "training.cross_entropy",
    kind="implement",
    goal="compute the cross-entropy of large logits",
    minutes=12,
    first_hint="Write it as ln(sum of exponentials) minus the logit of the label. Which"
    " number may be subtracted from all logits?",
)
def cross_entropy(answer: Answer) -> None:
    """Against PyTorch's, for logits of moderate size, and for large ones."""
    labels = torch.tensor([2, 0, 1, 1, 3])
    overflow = "e to the 1000 is infinite, and e to the -1000 is zero."
    for size, hint in ((1.0, ""), (1000.0, overflow)):
        logits = size * torch.randn(5, 4)
        with case("", hint):
            answer.expect(
                F.cross_entropy(logits, labels),
                logits,
                labels,
                on=f"logits of about {size:g}",
                mistakes=_cross_entropy_mistakes(logits, labels),
            )


def _cross_entropy_mistakes(logits: Tensor, labels: Tensor) -> Mistakes:
    rows = torch.arange(len(labels))
    over_batch = logits.log_softmax(0)[rows, labels]
    probability = logits.softmax(1)[rows, labels]
    clamped = -(probability + 1e-8).log().mean()
    sums = F.cross_entropy(logits, labels, reduction="sum")
    plain = F.cross_entropy(logits, labels)
    hidden = "Something added to a probability keeps its logarithm finite, and wrong."
    return [
        (-plain, "A loss is larger where the network is wrong: look at its sign."),
        (sums, "The mean over the batch is wanted, not the sum."),
        (sums / logits.numel(), "The mean is over images, not over classes as well."),
        (-over_batch.mean(), "The softmax is over classes, not over images."),
        (-probability.mean(), "Where is the logarithm?"),
        ((1 - probability).mean(), "Where is the logarithm?"),
        (plain / math.log(2), "The natural logarithm is wanted."),
        (plain / math.log(10), "The natural logarithm is wanted."),
        *all_with(hidden, [clamped, -probability.clamp(1e-8).log().mean()]),
    ]


@exercise(
    "training.logit_gradient",
    kind="implement",
    goal="derive the gradient of the loss with label smoothing",
    minutes=10,
    first_hint="Without smoothing it is p - y for one image. What has smoothing put in"
    " the place of y?",
)
def logit_gradient(answer: Answer) -> None:
    """Against autograd, for several numbers of images and classes."""
    for images, classes, smoothing in ((3, 4, 0.0), (2, 5, 0.1), (6, 3, 0.4)):
        logits = torch.randn(images, classes, requires_grad=True)
        labels = torch.randint(classes, (images,))
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        (want,) = torch.autograd.grad(loss, logits)
        answer.expect(
            want,
            logits.detach(),
            labels,
            smoothing,
            on=f"{images} images, {classes} classes and a smoothing of {smoothing}",
            mistakes=_logit_gradient_mistakes(logits.detach(), labels, smoothing),
        )


def _logit_gradient_mistakes(logits: Tensor, labels: Tensor, eps: float) -> Mistakes:
    images, classes = logits.shape
    p = logits.softmax(1)
    y = F.one_hot(labels, classes)
    q = (1 - eps) * y + eps / classes
    shared = (1 - eps) * y + eps / (classes - 1) * (1 - y)
    return [
        (p - q, "The mean over a batch divides the gradient by something."),
        ((p - y) / images, "Which target does label smoothing have?"),
        ((q - p) / images, "Along the gradient the loss grows: look at the sign."),
        (
            (p - shared) / images,
            "A share of the smoothing is for the right class, too.",
        ),
        ((p - (1 - eps) * y) / images, "The target has to add up to one."),
        ((p - q) / images / classes, "The mean is over images, not over classes."),
        (
            (p - (eps * y + (1 - eps) / classes)) / images,
            "The smoothing is the share that is spread, not what is left.",
        ),
        ((logits.softmax(0) - q) / images, "The softmax is over classes."),
        ((logits - q) / images, "Probabilities are compared with the target."),
    ]


@exercise(
    "training.train",
    kind="repair",
    goal="find the mistakes in a training loop that raises no error",
    minutes=12,
    first_hint="Ask of each line what it changes, and what it needs to have been done"
    " before.",
)
def train(answer: Answer) -> None:
    """Three steps, from evaluation mode, against three steps done right."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    batches = [(torch.randn(10, 6), torch.randint(4, (10,))) for _ in range(3)]
    single = [(_steps(net, batches, {flaw}), hint) for flaw, hint in FLAWS.items()]
    several = "More than one thing is wrong: the mode, the softmax, old gradients?"
    groups = (
        {"softmax", "keep"},
        {"softmax", "evaluation"},
        {"keep", "evaluation"},
        {"softmax", "keep", "evaluation"},
    )
    got = answer(net.eval(), batches, 0.5, changes=[0])
    if not isinstance(got, nn.Module):
        raise WrongAnswer("it does not return the network", "End with `return net`.")
    compare(
        _parameters(got),
        _steps(net, batches, set()),
        on="after three batches",
        mistakes=[*single, *((_steps(net, batches, each), several) for each in groups)],
    )


#: What may be wrong with a step, and the hint for it.
FLAWS = {
    "softmax": "`F.cross_entropy` takes logits: it has a softmax of its own.",
    "keep": "What becomes of the gradients of the step before?",
    "evaluation": "In which mode are batch normalization and dropout in training?",
    "still": "The weights have not changed: is a step made, and with which gradients?",
    "sum": "The mean over the batch is minimized, not the sum.",
}


def _parameters(net: nn.Module) -> Tensor:
    return torch.cat([each.detach().flatten() for each in net.parameters()])


def _steps(
    net: nn.Module, batches: list[tuple[Tensor, Tensor]], flaws: set[str]
) -> Tensor:
    """All parameters after a step for each batch, with some of `FLAWS`."""
    ours = copy.deepcopy(net).train("evaluation" not in flaws)
    optimizer = torch.optim.SGD(ours.parameters(), 0.5)
    for x, y in batches:
        outputs = ours(x).softmax(1) if "softmax" in flaws else ours(x)
        reduction = "sum" if "sum" in flaws else "mean"
        loss = F.cross_entropy(outputs, y, reduction=reduction)
        if "keep" not in flaws:
            optimizer.zero_grad()
        loss.backward()
        if "still" not in flaws:
            optimizer.step()
    return _parameters(ours)


@exercise(
    "training.momentum",
    kind="predict",
    goal="compute what momentum does to the steps",
    minutes=8,
    first_hint="Write down the velocity after the first, second and third step.",
)
def momentum(answer: Answer) -> None:
    """Three numbers, each to one percent; the first by PyTorch itself."""
    w = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([w], 0.1, momentum=0.9)
    for _ in range(3):
        w.grad = torch.ones(1)
        optimizer.step()
    three = w.item()
    sign = "The weight goes against the gradient."
    average = "PyTorch's velocity is a sum, without a factor of 1 - m."
    answer.expect(
        (three, -1.0, 1.0),
        tolerance=1,
        mistakes=[
            ((-three, 1.0, 1.0), sign),
            ((-three, -1.0, 1.0), sign),
            ((three, 1.0, 1.0), sign),
            ((-0.0561, -0.1, 0.1), average),
            ((three, -0.1, 0.1), average),
            ((-0.3, -1.0, 1.0), "That is without momentum: the velocity grows."),
            ((-0.3, -0.1, 0.1), "That is without momentum: the velocity grows."),
            (
                (-0.271, -1.0, 1.0),
                "The weight is the sum of three steps, not the last.",
            ),
            ((-0.19 - 0.271 - 0.3439, -1.0, 1.0), "That is Nesterov's."),
            ((three, -10.0, 1.0), "The learning rate multiplies the velocity."),
            ((three, -1.0, 0.01), "Without momentum the steps become smaller."),
            ((three, -1.0, 10.0), "The learning rate is 0.1, times which factor?"),
        ],
    )


@exercise(
    "training.learning_rate",
    kind="implement",
    goal="read a schedule's definition and write it as a function of the step",
    minutes=12,
    first_hint="Which t has the first step after the warmup, and which the last?",
)
def learning_rate(answer: Answer) -> None:
    """At the first step, at the border between the two parts, and inside of them; not
    at the last step, where rounding is all that is left.
    """
    for steps, warmup, highest in ((20, 5, 0.4), (11, 1, 1.0), (8, 4, 0.1)):
        for i in (0, warmup - 1, warmup, warmup + 1, steps - 2):
            answer.expect(
                _rate(i, steps, warmup, highest),
                i,
                steps,
                warmup,
                highest,
                on=f"step {i} of {steps}, {warmup} of warmup, at most {highest}",
                mistakes=_rate_mistakes(i, steps, warmup, highest),
            )


def _rate(
    i: int, steps: int, warmup: int, highest: float, first: int = 0, last: int = 1
) -> float:
    """The schedule, with t counted from another step, or to another one."""
    if i < warmup:
        return highest * (i + 1) / warmup
    t = (i - warmup + first) / (steps - last - warmup + first)
    return highest * (1 + math.cos(math.pi * t)) / 2


def _rate_mistakes(i: int, steps: int, warmup: int, highest: float) -> Mistakes:
    want = _rate(i, steps, warmup, highest)
    rising = highest * i / warmup
    t = (i - warmup) / (steps - 1 - warmup)
    end = "In the last step, number steps - 1, t is one."
    return [
        (rising, "In step 0 the learning rate is not zero: it is (i + 1) / warmup."),
        (_rate(i, steps, warmup, highest, last=0), end),
        (
            _rate(i, steps, warmup, highest, first=1),
            "In the first step after it, t = 0.",
        ),
        (_rate(i, steps, warmup, highest, first=1, last=0), "There, t begins at 0."),
        (
            highest * (1 + math.cos(math.pi * i / (steps - 1))) / 2,
            "The cosine begins after the warmup, and t is counted from there.",
        ),
        (
            highest * (1 - t),
            "Half a period of a cosine is wanted, not a straight line.",
        ),
        (highest * math.cos(math.pi * t / 2), "A quarter of a period is too little."),
        (2 * want, "The formula has a half in front."),
        (want / highest, "It is multiplied by the highest learning rate."),
        (highest * (1 - math.cos(math.pi * t)) / 2, "It falls: which sign?"),
    ]
