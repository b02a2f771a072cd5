"""Answers to the exercises on training: wrong ones with the hint that they must get,
and right ones, written differently from the solution.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn


def picked(logits, labels):
    return logits[torch.arange(len(labels)), labels]


def overflowing(logits, labels):
    return (logits.exp().sum(1).log() - picked(logits, labels)).mean()


def underflowing(logits, labels):
    e = (logits - logits.max()).exp()
    return -(picked(e / e.sum(1, keepdim=True), labels)).log().mean()


def hidden(logits, labels):
    return -(picked(logits.softmax(1), labels) + 1e-8).log().mean()


def gradient(target, *, images=True, sign=1, dim=1):
    def answer(logits, labels, smoothing):
        classes = logits.shape[1]
        y = F.one_hot(labels, classes).float()
        p = logits.softmax(dim)
        return sign * (p - target(y, smoothing, classes)) / (len(y) if images else 1)

    return answer


def smoothed(y, smoothing, classes):
    return (1 - smoothing) * y + smoothing / classes


def loop(*, mode=True, softmax=False, zero=True, order="right", reduction="mean"):
    def train(net, batches, lr):
        optimizer = torch.optim.SGD(net.parameters(), lr)
        net.train(mode)
        for x, y in batches:
            outputs = net(x).softmax(1) if softmax else net(x)
            loss = F.cross_entropy(outputs, y, reduction=reduction)
            if order == "late":
                optimizer.step()
            if zero:
                optimizer.zero_grad()
            loss.backward()
            if order == "early":
                optimizer.zero_grad()
            if order in ("right", "early"):
                optimizer.step()
        return net

    return train


def rate(rising=lambda i, warmup: (i + 1) / warmup, falling=None):
    def learning_rate(i, steps, warmup, highest):
        if i < warmup:
            return highest * rising(i, warmup)
        return highest * falling(i, steps, warmup)

    return learning_rate


def cosine(i, steps, warmup):
    return (1 + math.cos(math.pi * (i - warmup) / (steps - 1 - warmup))) / 2


def keeping(
    *,
    train="each",
    evaluate=True,
    kept="state",
    zero=True,
    better=lambda new, best: new > best,
):
    """A loop with an evaluation; mistakes change a part."""

    def train_and_keep(net, epochs, validation, lr):
        optimizer = torch.optim.SGD(net.parameters(), lr)
        x_val, y_val = validation
        best, state = None, net.state_dict()
        net.train(train != "never")
        for batches in epochs:
            if train == "each":
                net.train()
            for x, y in batches:
                loss = F.cross_entropy(net(x), y)
                if zero:
                    optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if evaluate:
                net.eval()
            with torch.no_grad():
                accuracy = (net(x_val).argmax(1) == y_val).sum()
            if best is None or better(accuracy, best):
                best = accuracy
                if kept == "state":
                    state = copy.deepcopy(net.state_dict())
                elif kept == "references":
                    state = net.state_dict()
                elif kept == "parameters":
                    named = net.named_parameters()
                    state = {name: p.detach().clone() for name, p in named}
        net.load_state_dict(state, strict=False)
        return net

    return train_and_keep


def not_begun(net, epochs, validation, lr):
    return net


THREE = -0.1 * (1 + 1.9 + 2.71)

#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "training.cross_entropy": [
        (overflowing, "e to the 1000"),
        (underflowing, "e to the 1000"),
        (hidden, "added to a probability"),
        (lambda z, y: -F.cross_entropy(z, y), "look at its sign"),
        (lambda z, y: F.cross_entropy(z, y, reduction="sum"), "not the sum"),
        (lambda z, y: F.cross_entropy(z, y, reduction="sum") / z.numel(), "as well"),
        (lambda z, y: -picked(z.log_softmax(0), y).mean(), "not over images"),
        (lambda z, y: -picked(z.softmax(1), y).mean(), "Where is the logarithm"),
        (lambda z, y: F.cross_entropy(z, y) / math.log(2), "natural logarithm"),
        (lambda z, y: None, "it returns nothing"),
    ],
    "training.logit_gradient": [
        (gradient(smoothed, images=False), "divides the gradient"),
        (gradient(lambda y, e, k: y), "Which target"),
        (gradient(smoothed, sign=-1), "look at the sign"),
        (
            gradient(lambda y, e, k: (1 - e) * y + e / (k - 1) * (1 - y)),
            "for the right class, too",
        ),
        (gradient(lambda y, e, k: (1 - e) * y), "add up to one"),
        (gradient(lambda y, e, k: e * y + (1 - e) / k), "not what is left"),
        (gradient(smoothed, dim=0), "over classes"),
    ],
    "training.train": [
        (loop(softmax=True), "a softmax of its own"),
        (loop(zero=False), "the step before"),
        (loop(mode=False), "In which mode"),
        (loop(mode=False, softmax=True, zero=False), "More than one thing"),
        (loop(mode=False, zero=False), "More than one thing"),
        (loop(order="late"), "RuntimeError"),
        (loop(order="early"), "with which gradients"),
        (loop(order="never"), "is a step made"),
        (loop(reduction="sum"), "not the sum"),
        (lambda net, batches, lr: None, "does not return the network"),
    ],
    "training.momentum": [
        (lambda: (-THREE, 1.0, 1.0), "against the gradient"),
        (lambda: (-0.0561, -0.1, 0.1), "a sum, without a factor"),
        (lambda: (-0.3, -1, 1), "the velocity grows"),
        (lambda: (-0.271, -1, 1), "sum of three steps"),
        (lambda: (-0.8049, -1, 1), "Nesterov"),
        (lambda: (THREE, -10, 1), "multiplies the velocity"),
        (lambda: (THREE, -1, 0.01), "become smaller"),
        (lambda: (THREE, -1, 10), "times which factor"),
        (lambda: THREE, "a tuple is wanted"),
    ],
    "training.learning_rate": [
        (rate(lambda i, w: i / w, cosine), "In step 0"),
        (
            rate(
                falling=lambda i, n, w: (1 + math.cos(math.pi * (i - w) / (n - w))) / 2
            ),
            "number steps - 1",
        ),
        (
            rate(
                falling=lambda i, n, w: (
                    (1 + math.cos(math.pi * (i - w + 1) / (n - w))) / 2
                )
            ),
            "t = 0",
        ),
        (
            rate(falling=lambda i, n, w: (1 + math.cos(math.pi * i / (n - 1))) / 2),
            "counted from there",
        ),
        (rate(falling=lambda i, n, w: 1 - (i - w) / (n - 1 - w)), "a straight line"),
        (rate(falling=lambda i, n, w: 2 * cosine(i, n, w)), "a half in front"),
        (rate(falling=lambda i, n, w: 1 - cosine(i, n, w)), "which sign"),
        (lambda i, n, w, high: rate(falling=cosine)(i, n, w, 1.0), "multiplied by"),
    ],
    "training.train_and_keep": [
        (keeping(kept="references"), "after the last epoch"),
        (keeping(kept="nothing"), "after the last epoch"),
        (keeping(kept="parameters"), "not its buffers"),
        (keeping(better=lambda new, best: new >= best), "the first of them"),
        (keeping(better=lambda new, best: new < best), "epoch"),
        (keeping(train="first"), "back into training mode"),
        (keeping(train="never"), "In which mode are"),
        (keeping(evaluate=False), "is the network evaluated"),
        (keeping(zero=False), "the step before"),
        (not_begun, "was a step made"),
        (lambda *_: None, "does not return the network"),
    ],
    "training.faults": [
        (lambda: (2, 4, 1, 3, 5), "smallest value of this loss"),
        (lambda: (4, 5, 1, 3, 2), "almost zero"),
        (lambda: (4, 2, 3, 1, 5), "first steps"),
        (lambda: (4, 2, 1, 5, 3), "never was better"),
        (lambda: (4, 2, 1, 3, 1), "grows with the number"),
        (lambda: (4, 2, 1), "3 values, where 5"),
        (lambda: 42135, "a tuple is wanted"),
    ],
}


def image_by_image(logits, labels):
    losses = []
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        largest = max(z)
        total = sum(math.exp(each - largest) for each in z)
        losses.append(math.log(total) + largest - z[y])
    return torch.tensor(sum(losses) / len(losses))


def by_differences(logits, labels):
    """The largest difference to the label's logit is subtracted."""
    gaps = logits - picked(logits, labels)[:, None]
    top = gaps.amax(1)
    return (top + (gaps - top[:, None]).exp().sum(1).log()).mean()


def with_one_hot(logits, labels):
    shifted = (logits - logits.amax(1, keepdim=True)).double()
    logs = shifted - shifted.exp().sum(1, keepdim=True).log()
    return -(logs * F.one_hot(labels, logits.shape[1])).sum() / len(labels)


def by_autograd(logits, labels, smoothing):
    z = logits.clone().requires_grad_()
    F.cross_entropy(z, labels, label_smoothing=smoothing).backward()
    return z.grad


def in_place(logits, labels, smoothing):
    e = logits.exp()
    grad = e / e.sum(1, keepdim=True) - smoothing / logits.shape[1]
    for i, label in enumerate(labels):
        grad[i, label] -= 1 - smoothing
    return grad / logits.shape[0]


def without_an_optimizer(net, batches, lr):
    net.train()
    for x, y in batches:
        net.zero_grad()
        (-net(x).log_softmax(1)[range(len(y)), y].mean()).backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= lr * parameter.grad
    return net


def with_autograd_grad(net, batches, lr):
    for module in net.modules():
        module.training = True
    parameters = list(net.parameters())
    for x, y in batches:
        loss = nn.CrossEntropyLoss()(net(x), y)
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, each in zip(parameters, gradients, strict=True):
            parameter.data.sub_(each, alpha=lr)
    return net


def zeroed_at_the_end(net, batches, lr):
    optimizer = torch.optim.SGD(net.parameters(), lr)
    for x, y in batches:
        net.train()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
    return net.eval()


def stepped():
    w, v = 0.0, 0.0
    places = []
    for _ in range(500):
        v = 0.9 * v + 1
        w -= 0.1 * v
        places.append(w)
    return places[2], places[-1] - places[-2], 0.1 / (1 - 0.9)


def by_pytorch():
    w = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([w], 0.1, 0.9)
    for _ in range(3):
        optimizer.zero_grad()
        w.backward()
        optimizer.step()
    return [w.detach(), torch.tensor(-1.0), 1]


def squared_cosine(i, steps, warmup, highest):
    rising = min((i + 1) / warmup, 1.0)
    t = max(i - warmup, 0) / (steps - 1 - warmup)
    return highest * rising * math.cos(math.pi * t / 2) ** 2


def listed(i, steps, warmup, highest):
    up = [highest * (j + 1) / warmup for j in range(warmup)]
    t = torch.linspace(0, 1, steps - warmup, dtype=torch.float64)
    down = highest * (1 + (math.pi * t).cos()) / 2
    return [*up, *down.tolist()][i]


def as_a_tensor(i, steps, warmup, highest):
    return torch.tensor(listed(i, steps, warmup, highest), dtype=torch.float64)


def with_a_copy_of_the_net(net, epochs, validation, lr):
    """Returns a copy of the network."""
    scores, copies = [], []
    for batches in epochs:
        net.train()
        for x, y in batches:
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
            for p in net.parameters():
                p.data -= lr * p.grad
        copies.append(copy.deepcopy(net).eval())
        hits = copies[-1](validation[0]).argmax(1) == validation[1]
        scores.append(hits.float().mean().item())
    return copies[scores.index(max(scores))]


def listed_first(net, epochs, validation, lr):
    """With a step without an optimizer, and the state as a list of tensors."""
    x_val, y_val = validation
    best, kept = -1, []
    for batches in epochs:
        for module in net.modules():
            module.training = True
        for x, y in batches:
            loss = F.nll_loss(net(x).log_softmax(1), y)
            for p, g in zip(
                net.parameters(),
                torch.autograd.grad(loss, list(net.parameters())),
                strict=True,
            ):
                p.data.sub_(lr * g)
        hits = int((net.eval()(x_val).argmax(1) == y_val).sum())
        if hits > best:
            best = hits
            kept = [t.detach().clone() for t in net.state_dict().values()]
    net.load_state_dict(dict(zip(net.state_dict(), kept, strict=True)))
    return net


#: Exercise -> right answers that look different.
RIGHT = {
    "training.cross_entropy": [image_by_image, by_differences, with_one_hot],
    "training.logit_gradient": [by_autograd, in_place, gradient(smoothed)],
    "training.train": [without_an_optimizer, with_autograd_grad, zeroed_at_the_end],
    "training.momentum": [stepped, by_pytorch, lambda: (-0.561, -1.0, 1.0)],
    "training.learning_rate": [squared_cosine, listed, as_a_tensor],
    "training.train_and_keep": [keeping(), with_a_copy_of_the_net, listed_first],
    "training.faults": [
        lambda: [4, 2, 1, 3, 5],
        lambda: torch.tensor([4, 2, 1, 3, 5]),
        lambda: map(int, "42135"),
    ],
}
