"""Attribution: which pixels does an answer of a network depend on?

    gradient, deconvnet, guided   one backward pass each, which differ at the ReLUs
    smooth_grad                   the mean gradient of noisy copies
    integrated_gradients          gradients along the way from a baseline to the image
    cam, grad_cam                 where the last feature maps speak for a class
    occlusion                     how the answer changes while a part is covered

All of them take any module, whether its ReLUs are layers or calls of functions, and
leave it as it was: weights, gradients, modes, hooks, random state. Their maps are on
the CPU, to be plotted, wherever network and images are. `randomized` makes
the control experiment: a method that shows the same for random weights does not show
what was learned.

Zeiler and Fergus (2013), arXiv:1311.2901; Simonyan et al. (2013), arXiv:1312.6034;
Springenberg et al. (2014), arXiv:1412.6806; Zhou et al. (2015), arXiv:1512.04150;
Selvaraju et al. (2016), arXiv:1610.02391; Sundararajan et al. (2017), arXiv:1703.01365;
Smilkov et al. (2017), arXiv:1706.03825; Adebayo et al. (2018), arXiv:1810.03292.
Chapter: ZFNet.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from course_lib.arguments import check_one_of

#: Rule -> what a ReLU hands down in the backward pass, of the signal from above and of
#: where the unit was active in the forward pass (1) or was not (0).
RELU_RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradient": lambda signal, active: signal * active,
    "deconvnet": lambda signal, _: signal.clamp(min=0),
    "guided": lambda signal, active: signal.clamp(min=0) * active,
}

#: What PyTorch calls a ReLU: with these the rules take the place of the derivative.
RELUS = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
IN_PLACE = {torch.relu_, Tensor.relu_}

#: Other activation functions, for which the papers have no rule but the gradient.
OTHERS = {
    torch.tanh: "tanh",
    torch.sigmoid: "sigmoid",
    Tensor.tanh: "tanh",
    Tensor.sigmoid: "sigmoid",
    F.silu: "SiLU",
    F.gelu: "GELU",
    F.elu: "ELU",
    F.leaky_relu: "leaky ReLU",
    F.hardswish: "hardswish",
    F.softplus: "softplus",
}


def input_gradient(
    net: nn.Module, x: Tensor, target: int | Tensor, *, rule: str = "gradient"
) -> Tensor:
    """The derivative of the logit of class `target` with respect to each pixel; with
    another `rule` of `RELU_RULES`, what that makes of it.

    "deconvnet" rectifies the signal at each ReLU instead of closing it where the unit
    was not active, and passes over local response normalization; "guided" is guided
    backpropagation, which does both at a ReLU. Max pooling hands a signal back to the
    position of the maximum, the switch, under each rule. `target` is one class for all
    images, or one for each, (N,).

    Shape: (N, C, H, W) -> (N, C, H, W), on the CPU.
    Raises: ValueError if `x` is not a batch of images, `net` does not return one logit
        per class or has no class `target`, for an unknown `rule`, and for a rule but
        the gradient's where `net` has other activation functions than ReLU and ReLU6.
    """
    return _gradient(net, x, target, rule).cpu()


def _gradient(
    net: nn.Module, x: Tensor, target: int | Tensor, rule: str = "gradient"
) -> Tensor:
    """As `input_gradient`, where the images are."""
    with _prepared(net, x, rule) as (leaf, rules):
        with rules:
            logits = net(leaf.clone())  # a first ReLU may be in place
        (gradient,) = torch.autograd.grad(_chosen(logits, target).sum(), leaf)
    return gradient


def saliency(
    net: nn.Module, x: Tensor, target: int | Tensor, *, rule: str = "gradient"
) -> Tensor:
    """The saliency map of Simonyan et al. (2013), section 3.1: at each position, the
    largest absolute value of `input_gradient` over the channels.

    Shape: (N, C, H, W) -> (N, H, W), on the CPU.
    Raises: as `input_gradient`.
    """
    return input_gradient(net, x, target, rule=rule).abs().amax(dim=1)


def deconvnet(
    net: nn.Module, x: Tensor, layer: str, channel: int | None = None
) -> Tensor:
    """Project the strongest activation of `layer` for each image back to its pixels:
    Zeiler and Fergus (2013), figure 1 and section 2.1.

    `layer` is a stage ("conv2") or a layer of one ("conv2.0"). All but its strongest
    activation, of `channel` or of all channels, is set to zero; then the layers are
    undone from last to first. Max pooling: signals return to the positions of the
    maxima (the switches). ReLU: signals are rectified. Convolution and whatever else is
    linear: its transpose. Biases, local response normalization and dropout are skipped.
    The result is linear in the activation: without a ReLU, it is the activation times
    its gradient.

    Shape: (N, C, H, W) -> (N, C, H, W), on the CPU.
    Raises: ValueError as `input_gradient`, and if `net` has no such layer or channel,
        or the layer runs more than once.
    Differs from the paper: where overlapping windows share a maximum, their signals
        are added, as in the gradient; the paper does not say.
    """
    with _prepared(net, x, "deconvnet") as (leaf, rules):
        with rules, _recorded(net, layer) as outputs:
            net(leaf.clone())
        y = _only(outputs, layer)
        if channel is not None and not 0 <= channel < y.shape[1]:
            raise ValueError(
                f"channel must be from 0 to {y.shape[1] - 1} for {layer!r}, got"
                f" {channel}"
            )
        (pixels,) = torch.autograd.grad(y, leaf, _strongest(y.detach(), channel))
    return pixels.cpu()


def _strongest(y: Tensor, channel: int | None) -> Tensor:
    """`y` with zeros for all but the largest activation of each image."""
    first, count = (0, y.shape[1]) if channel is None else (channel, 1)
    values, places = y[:, first : first + count].flatten(1).max(dim=1, keepdim=True)
    places = places + first * y[0, 0].numel()
    return torch.zeros_like(y).flatten(1).scatter(1, places, values).view_as(y)


def smooth_grad(
    net: nn.Module,
    x: Tensor,
    target: int | Tensor,
    *,
    samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """SmoothGrad: the mean gradient of `samples` copies of each image with Gaussian
    noise, whose standard deviation is `noise` times the range of the image's values
    (Smilkov et al. 2017, section 3).

    Shape: (N, C, H, W) -> (N, C, H, W), on the CPU.
    Raises: ValueError as `input_gradient`, and for less than one sample, or negative
        noise.
    """
    _check_images(x)
    _at_least_one(samples=samples)
    if noise < 0:
        raise ValueError(f"noise must be at least 0, got {noise}")
    random = torch.Generator().manual_seed(seed)  # on the CPU, for all devices alike
    values = x.flatten(1)
    spread = noise * (values.amax(1) - values.amin(1)).view(-1, 1, 1, 1)
    total = torch.zeros_like(x)
    for _ in range(samples):
        drawn = torch.randn(x.shape, generator=random).to(x)
        total += _gradient(net, x + spread * drawn, target)
    return (total / samples).cpu()


def integrated_gradients(
    net: nn.Module,
    x: Tensor,
    target: int | Tensor,
    *,
    baseline: float | Tensor = 0.0,
    steps: int = 50,
) -> Tensor:
    """Integrated gradients: the difference of each pixel from the `baseline`, times the
    mean gradient on the straight way from there to the image (Sundararajan et al. 2017,
    equation 1), at the middles of so many `steps`.

    The sum over all pixels is the logit of the image minus that of the baseline, but
    for the error of the sum over steps: the axiom of completeness, proposition 1.

    Shape: (N, C, H, W) -> (N, C, H, W), on the CPU.
    Raises: ValueError as `input_gradient`, and for less than one step.
    """
    _check_images(x)
    _at_least_one(steps=steps)
    difference = x - baseline
    total = torch.zeros_like(x)
    for step in range(steps):
        total += _gradient(net, x - (1 - (step + 0.5) / steps) * difference, target)
    return (difference * total / steps).cpu()


def cam(net: nn.Module, x: Tensor, target: int | Tensor, layer: str) -> Tensor:
    """The class activation map: what each position of the feature maps of `layer` adds
    to the logit of `target` (Zhou et al. 2015, section 2).

    Behind `layer` there must be global average pooling and the only further layer with
    weights, an `nn.Linear`. The mean of the map, plus the bias, is the logit.

    Shape: (N, C, H, W) -> (N, h, w), the size of the feature maps, on the CPU.
    Raises: ValueError as `grad_cam`, and if the logits are not those of such a head.
    """
    with _prepared(net, x, "gradient") as (leaf, _), torch.no_grad():
        with _recorded(net, layer) as outputs:
            logits = net(leaf.clone())
        maps = _maps(_only(outputs, layer), layer)
        _chosen(logits, target)
        linear = [each for each in net.modules() if isinstance(each, nn.Linear)]
        head = linear[-1] if linear else None
        pooled = maps.mean(dim=(2, 3))
        fits = (
            head is not None
            and head.in_features == pooled.shape[1]
            and head.out_features == logits.shape[1]
            and torch.allclose(head(pooled), logits, rtol=1e-3, atol=1e-4)
        )
        if head is None or not fits:
            raise ValueError(
                f"a class activation map needs global average pooling and one"
                f" nn.Linear behind {layer!r}, and this {type(net).__name__} has"
                " something else there; grad_cam needs neither"
            )
        weights = head.weight[_targets(logits, target)]
        return torch.einsum("nk,nkhw->nhw", weights, maps).cpu()


def grad_cam(net: nn.Module, x: Tensor, target: int | Tensor, layer: str) -> Tensor:
    """Grad-CAM: the feature maps of `layer`, weighted by the mean gradient of the logit
    of `target` with respect to each, summed and rectified (Selvaraju et al. 2016,
    equations 1 and 2).

    With global average pooling and a linear layer behind `layer`, it is the positive
    part of `cam` divided by the number of positions.

    Shape: (N, C, H, W) -> (N, h, w), the size of the feature maps, on the CPU.
    Raises: ValueError as `input_gradient`, and if `net` has no such layer, the layer
        runs more than once, or its output has not four dimensions.
    """
    with _prepared(net, x, "gradient") as (leaf, _):
        with _recorded(net, layer) as outputs:
            logits = net(leaf.clone())
        maps = _maps(_only(outputs, layer), layer)
        (gradient,) = torch.autograd.grad(_chosen(logits, target).sum(), maps)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * maps.detach()).sum(dim=1).clamp(min=0).cpu()


@torch.no_grad()
def occlusion(
    net: nn.Module,
    x: Tensor,
    target: int | Sequence[int],
    *,
    size: int,
    stride: int,
    value: float = 0.0,
    batch_size: int = 64,
) -> Tensor:
    """The occlusion map: the probability of class `target` while a square covers a part
    of the image `x`, for each position of the square (Zeiler and Fergus 2013, figure 7
    (d)). Of several classes, it is the sum of their probabilities.

    The square has `size` x `size` pixels of `value` and moves by `stride` pixels,
    inside the image. Entry (i, j) of the map is for the square whose upper left
    corner is pixel (i * stride, j * stride).

    Shape: (C, H, W) or (1, C, H, W) -> ((H - size) // stride + 1, (W - size) // stride
        + 1), on the CPU, wherever `x` is.
    Raises: ValueError if `x` is not one image, the square is larger than it or empty,
        `stride` or `batch_size` is less than 1, or `net` has no class `target`.
    """
    height, width = _check_occlusion(x, size, stride=stride, batch_size=batch_size)
    classes = list(target) if isinstance(target, Sequence) else [target]
    rows = torch.arange(0, height - size + 1, stride, device=x.device)
    columns = torch.arange(0, width - size + 1, stride, device=x.device)
    probabilities = []
    with _evaluating(net):
        for corners in torch.cartesian_prod(rows, columns).split(batch_size):
            top, left = corners.T
            hidden = (
                _within(top, size, height)[:, None, :, None]
                & _within(left, size, width)[:, None, None, :]
            )
            logits = net(x.expand(len(hidden), -1, -1, -1).masked_fill(hidden, value))
            for each in classes:
                _targets(logits, each)
            probabilities.append(logits.softmax(dim=1)[:, classes].sum(dim=1))
    return torch.cat(probabilities).view(len(rows), len(columns)).cpu()


def randomized(
    net: nn.Module, stages: Sequence[str], x: Tensor, *, seed: int = 0
) -> nn.Module:
    """A copy of `net` in which all weights of these `stages` are random: the control of
    Adebayo et al. (2018), section 3.1.

    They are initialized as PyTorch does by default. The statistics of batch
    normalization, which belong to the weights, are those of the images `x` then, so
    that the activations keep their size; all else stays as it was trained.

    Raises: ValueError if `net` has no such stage, or `x` is not a batch of images.
    """
    _check_images(x)
    made = copy.deepcopy(net).eval()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for stage in stages:
            for layer in _layer(made, stage).modules():
                reset = getattr(layer, "reset_parameters", None)
                if callable(reset):
                    reset()
                if isinstance(layer, nn.BatchNorm2d):
                    layer.train()
                    layer.momentum = (
                        None  # the mean over all batches, of which x is one
                    )
        made(x.clone())
    return made.eval()


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two maps, 1 for the same order of all values, -1
    for the opposite; equal values share the mean of their ranks. It is how Adebayo et
    al. (2018), section 3, compare maps. Undefined for a constant map: nan.

    Raises: ValueError if the shapes differ.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 9.0]))
    1.0
    """
    if a.shape != b.shape:
        raise ValueError(
            f"the maps must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    ranks = torch.stack([_ranks(a.detach().flatten()), _ranks(b.detach().flatten())])
    return round(torch.corrcoef(ranks)[0, 1].item(), 12)


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value, in float64; equal ones share a mean."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return (last - (counts - 1) / 2).double()[inverse]


class _WithRule(torch.autograd.Function):
    """The output of a ReLU, with a rule of the table for its backward pass."""

    @staticmethod
    def forward(ctx: Any, _: Tensor, y: Tensor, active: Tensor, rule: str) -> Tensor:
        ctx.save_for_backward(active)
        ctx.rule = rule
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor | None, ...]:
        (active,) = ctx.saved_tensors
        return RELU_RULES[ctx.rule](signals[0], active), None, None, None


class _PassedOver(torch.autograd.Function):
    """The output of a layer that the backward pass leaves out."""

    @staticmethod
    def forward(_: Any, __: Tensor, y: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def backward(_: Any, *signals: Tensor) -> tuple[Tensor | None, ...]:
        return signals[0], None


class _Rules(TorchFunctionMode):
    """While this mode is on, every ReLU has the backward pass of `rule`, in whatever
    module and however it is called.
    """

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.rule == "gradient":
            return func(*args, **kwargs)
        if func in OTHERS:
            raise ValueError(
                f"the rule {self.rule!r} is for ReLU; this network has"
                f" {OTHERS[func]}, for which only the gradient is defined"
            )
        x: Any = kwargs.get("input", args[0] if args else None)
        bounds = _bounds(func, args, kwargs)
        if bounds is not None:
            low, high = bounds
            active = ((x > low) & (x < high)).to(x.dtype)
            y = _WithRule.apply(x, x.detach().clamp(low, high), active, self.rule)
            given = (kwargs.get("inplace"), *args[1:])
            in_place = func in IN_PLACE or any(each is True for each in given)
            return x.copy_(y) if in_place else y
        if func is F.local_response_norm and self.rule == "deconvnet":
            with torch.no_grad():
                y = func(*args, **kwargs)
            return _PassedOver.apply(x, y)
        return func(*args, **kwargs)


def _bounds(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[float, float] | None:
    """Between which values this function hands on its input, if it is a ReLU or a
    ReLU6, which PyTorch calls hardtanh.
    """
    if func in RELUS:
        return 0.0, float("inf")
    if func is F.relu6:
        return 0.0, 6.0
    if func is F.hardtanh:
        low = kwargs.get("min_val", args[1] if len(args) > 1 else -1.0)
        high = kwargs.get("max_val", args[2] if len(args) > 2 else 1.0)
        return (low, high) if low == 0 else None
    return None


@contextmanager
def _prepared(
    net: nn.Module, x: Tensor, rule: str
) -> Iterator[tuple[Tensor, TorchFunctionMode]]:
    """The images as a leaf of a graph of their own, and the mode of the `rule`; `net`
    is in evaluation mode meanwhile.
    """
    check_one_of(tuple(RELU_RULES), rule=rule)
    _check_images(x)
    with torch.inference_mode(False), torch.enable_grad(), _evaluating(net):
        yield x.detach().clone().requires_grad_(), _Rules(rule)


@contextmanager
def _recorded(net: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """The outputs of `layer`, in a list that fills while `net` runs."""
    outputs: list[Tensor] = []

    def record(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()  # what follows may be in place

    handle = _layer(net, layer).register_forward_hook(record)
    try:
        yield outputs
    finally:
        handle.remove()


def _layer(net: nn.Module, name: str) -> nn.Module:
    """The module of that name; its names differ if it is used in several places."""
    modules = dict(net.named_modules(remove_duplicate=False))
    modules.pop("")
    if name not in modules:
        stages = ", ".join(stage for stage, _ in net.named_children())
        raise ValueError(
            f"{type(net).__name__} has no layer {name!r}; its stages are {stages}, the"
            " layers of a stage 'stage.0', 'stage.1' and so on"
        )
    return modules[name]


def _only(outputs: list[Tensor], layer: str) -> Tensor:
    """The one output of `layer`."""
    if len(outputs) != 1:
        raise ValueError(
            f"the layer {layer!r} runs {len(outputs)} times; choose one that runs once"
        )
    return outputs[0]


def _maps(y: Tensor, layer: str) -> Tensor:
    """`y`, if it has feature maps."""
    if y.dim() != 4:
        raise ValueError(
            f"{layer!r} must have feature maps, (N, C, H, W); its output has the shape"
            f" {tuple(y.shape)}"
        )
    return y


def _check_images(x: Tensor) -> None:
    if x.dim() != 4:
        raise ValueError(f"x must have the shape (N, C, H, W), got {tuple(x.shape)}")


def _at_least_one(**values: int) -> None:
    for name, number in values.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")


def _targets(logits: Tensor, target: int | Tensor) -> Tensor:
    """The class of each image.

    Shape: (N, K) -> (N,).
    """
    if logits.dim() != 2:
        raise ValueError(
            f"the network must return logits, (N, classes), got {tuple(logits.shape)}"
        )
    classes = torch.as_tensor(target, device=logits.device)
    if classes.dim() > 1 or (classes.dim() == 1 and len(classes) != len(logits)):
        raise ValueError(
            f"target must be one class, or one for each of {len(logits)} images, got"
            f" {tuple(classes.shape)}"
        )
    if (
        classes.is_floating_point()
        or not 0 <= classes.min() <= classes.max() < (logits.shape[1])
    ):
        raise ValueError(
            f"target must be from 0 to {logits.shape[1] - 1}, got {classes.tolist()}"
        )
    return classes.expand(len(logits))


def _chosen(logits: Tensor, target: int | Tensor) -> Tensor:
    """The logit of the class of each image.

    Shape: (N, K) -> (N,).
    """
    return logits.gather(1, _targets(logits, target)[:, None])[:, 0]


def _check_occlusion(x: Tensor, size: int, **least_one: int) -> tuple[int, int]:
    """The height and width of the one image `x`, in which a square of `size` fits."""
    if x.dim() not in (3, 4) or (x.dim() == 4 and len(x) != 1):
        raise ValueError(
            f"x must be one image, (C, H, W) or (1, C, H, W), got {tuple(x.shape)}"
        )
    height, width = x.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(
            f"size must be from 1 to {min(height, width)}, for the square to fit in the"
            f" image, got {size}"
        )
    _at_least_one(**least_one)
    return height, width


def _within(starts: Tensor, size: int, length: int) -> Tensor:
    """Which of `length` pixels are among the `size` that begin at each start.

    Shape: (N,) -> (N, length).
    """
    distance = torch.arange(length, device=starts.device) - starts[:, None]
    return (distance >= 0) & (distance < size)


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode; each module's own mode comes back, also after an error."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
