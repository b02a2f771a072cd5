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
        logits[0, labels[0]] = logits[0].min() - size  # sure of the first, and wrong
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
    minutes=5,
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


@exercise(
    "training.train_and_keep",
    kind="implement",
    goal="write a training loop with an evaluation, and keep the best epoch",
    minutes=25,
    first_hint="Write the loop over epochs and batches first. What has to be done after"
    " each epoch, and what is different then?",
)
def train_and_keep(answer: Answer) -> None:
    """Four epochs, with labels such that the best is neither the first nor the last;
    against a loop done right.
    """
    for best in (1, 2):
        net, epochs, validation = _with_best(best)
        want = _kept(net, epochs, validation, set())
        got = answer(net, epochs, validation, 0.5, changes=[0])
        if not isinstance(got, nn.Module):
            raise WrongAnswer(
                "it does not return the network", "End with `return net`."
            )
        compare(
            _state(got),
            want,
            on="after four epochs",
            mistakes=[
                (_kept(net, epochs, validation, {flaw}), hint)
                for flaw, hint in LOOP_FLAWS.items()
            ],
        )


#: What may be wrong with the loop, and the hint for it.
LOOP_FLAWS = {
    "last": "These are the weights after the last epoch. Which epoch was the best?",
    "parameters": "Its weights are right, but not its buffers: what else is state?",
    "latest": "If several epochs are equally good, the first of them is wanted.",
    "once": "After an evaluation, who brings the network back into training mode?",
    "evaluation": "In which mode are batch normalization and dropout in training?",
    "training": "In which mode is the network evaluated? Batch normalization saw it.",
    "keep": "What becomes of the gradients of the step before?",
    "start": "These are the weights from before the training: was a step made?",
    "worst": "The epoch with the highest accuracy is wanted, not with the lowest.",
}


def _with_best(
    best: int,
) -> tuple[nn.Module, list[list[tuple[Tensor, Tensor]]], tuple[Tensor, Tensor]]:
    """A network, four epochs, and validation images of which it gets most right after
    epoch `best`, counted from 0, and after the one behind it.
    """
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        net(torch.randn(50, 6))  # so that the averages are those of no epoch
    net.zero_grad()
    while True:
        epochs = [
            [(torch.randn(10, 6), torch.randint(4, (10,))) for _ in range(2)]
            for _ in range(4)
        ]
        images = torch.randn(200, 6)
        ours = copy.deepcopy(net)
        said = []
        for batches in epochs:
            _epoch(ours, batches, set())
            said.append(ours.eval()(images).argmax(1))
        both = said[best] == said[best + 1] if best < 3 else said[best] >= 0
        others = torch.stack(
            [
                (each == said[best])
                for i, each in enumerate(said)
                if i not in (best, best + 1)
            ]
        )
        chosen = (both & ~others.all(0)).nonzero()[:, 0]
        if len(chosen) >= 10:
            validation = images[chosen], said[best][chosen]
            return net, epochs, validation


def _epoch(
    net: nn.Module, batches: list[tuple[Tensor, Tensor]], flaws: set[str]
) -> None:
    if "once" not in flaws:
        net.train("evaluation" not in flaws)
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        if "keep" not in flaws:
            net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=0.5)


def _kept(
    net: nn.Module,
    epochs: list[list[tuple[Tensor, Tensor]]],
    validation: tuple[Tensor, Tensor],
    flaws: set[str],
) -> Tensor:
    """What the network holds in the end, with some of `LOOP_FLAWS`."""
    ours = copy.deepcopy(net).train()
    initial = _state(ours)
    images, labels = validation
    best = -1.0
    kept = initial
    weights = copy.deepcopy(dict(ours.named_parameters()))
    for batches in epochs:
        _epoch(ours, batches, flaws)
        ours.train("training" in flaws)
        with torch.no_grad():
            accuracy = (ours(images).argmax(1) == labels).float().mean().item()
        if "worst" in flaws:
            accuracy = 1 - accuracy
        if accuracy > best or ("latest" in flaws and accuracy == best):
            best = accuracy
            kept = _state(ours)
            weights = copy.deepcopy(dict(ours.named_parameters()))
    if "last" in flaws:
        return _state(ours)
    if "start" in flaws:
        return initial
    if "parameters" in flaws:
        ours.load_state_dict(weights, strict=False)
        return _state(ours)
    return kept


def _state(net: nn.Module) -> Tensor:
    """Parameters and buffers, but for the counter of batches."""
    held = [*net.parameters(), *(b for b in net.buffers() if b.dim())]
    return torch.cat([each.detach().flatten() for each in held]).clone()


@exercise(
    "training.faults",
    kind="predict",
    goal="read from a curve what is wrong with a run",
    minutes=15,
    first_hint="Begin with the curves that end at the loss of guessing, and look at how"
    " they begin.",
)
def faults(answer: Answer) -> None:
    """Five numbers, as `experiments/curves.py` has the faults."""
    names = ["rate", "order", "labels", "softmax", "gradients"]
    want = tuple(1 + names.index(each) for each in CURVES.values())
    got = answer()
    given = list(got) if isinstance(got, tuple | list) else []
    for letter, right, came in zip(CURVES, want, given, strict=False):
        if came != right and len(given) == len(want):
            raise WrongAnswer(
                f"{came} is not the fault of curve {letter}", SIGNS[letter]
            )
    compare(got, want, secret=True)


#: Curve -> its fault.
CURVES = {
    "A": "softmax",
    "B": "order",
    "C": "rate",
    "D": "labels",
    "E": "gradients",
}

#: Curve -> what to look at.
SIGNS = {
    "A": "It falls, and stays high: what is the smallest value of this loss?",
    "B": "It is almost zero several times. What is easy to get right for a while?",
    "C": "Look at its first steps: how does it get above the loss of guessing?",
    "D": "It never was better than guessing, and never worse.",
    "E": "It begins as the gray one does. What grows with the number of steps?",
}
