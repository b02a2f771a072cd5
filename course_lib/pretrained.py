"""torchvision's trained weights in our networks, by name.

`torchvision_names` says which of our weights is which of theirs; `load_torchvision`
moves them. torchvision has those networks for which `course_lib.catalog` says so.

The weights are torchvision's, from https://download.pytorch.org, and were trained on
ImageNet. torchvision's code has the BSD 3-clause license; of the weights it says that
they may have terms of their own, from the data that they were trained on, and that
whoever uses them has to find out whether they may. Nothing is downloaded unless
`download_torchvision` is called.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.alexnet import AlexNet
from course_lib.blocks import Network
from course_lib.catalog import NETWORKS
from course_lib.googlenet import GoogLeNet, Inception
from course_lib.resnet import Residual, ResNet
from course_lib.vgg import VGG

#: Class -> mean and standard deviation of red, green and blue, with which images are
#: normalized for torchvision's weights.
NORMALIZATION = {
    entry.family.network: entry.family.normalization
    for entry in NETWORKS.values()
    if entry.torchvision
}


def download_torchvision(name: str, *, progress: bool = True) -> dict[str, Tensor]:
    """Download the weights of that name, like ``"ResNet18_Weights.IMAGENET1K_V1"``,
    check their hash, and keep them where `torch.hub` keeps files.

    Raises: ValueError if torchvision has no weights of that name; RuntimeError if the
        hash is another; urllib's errors if there is no way to the server.
    """
    from torchvision import models

    try:
        weights = models.get_weight(name)
    except (ValueError, KeyError, AttributeError) as error:
        known = [
            str(weight)
            for model in models.list_models(module=models)
            if re.fullmatch(r"alexnet|googlenet|vgg\d+(_bn)?|resnet\d+", model)
            for weight in models.get_model_weights(model)
        ]
        raise ValueError(
            f"torchvision has no weights of the name {name!r}; for networks of the"
            f" course it has {', '.join(known)}"
        ) from error
    state: dict[str, Tensor] = weights.get_state_dict(
        progress=progress, check_hash=True, map_location="cpu", weights_only=True
    )
    return state


def load_torchvision(
    net: Network, source: Mapping[str, Any] | str | PathLike[str]
) -> None:
    """Load torchvision's weights into `net`: a `state_dict`, or a file of one (.pth, or
    .safetensors where safetensors is installed).

    Every entry of `net` must be in the source, and the other way round. Two exceptions:
    GoogLeNet without `aux` leaves out the auxiliary classifiers, which torchvision has
    not trained; and the number of batches counted, which old files lack and nothing
    here reads, may be missing. `NORMALIZATION` says how to normalize the images.
    Choices that no weight shows, such as another activation, are not compared.

    Raises: ValueError, and `net` stays as it is, if torchvision has no such
        network, if names or shapes disagree, or if the file is not one of weights;
        ImportError for a .safetensors file if safetensors is not installed.
    """
    names = torchvision_names(net)
    state = source if isinstance(source, Mapping) else _read(Path(source))
    state = {str(name): value for name, value in state.items()}
    if isinstance(net, GoogLeNet) and not hasattr(net, "aux"):
        state = {name: state[name] for name in state if name[:5] not in AUXILIARY}
    own = net.state_dict()
    for ours, theirs in names.items():
        if ours.endswith("num_batches_tracked"):
            state.setdefault(theirs, own[ours])
    _check(type(net).__name__, {names[ours]: own[ours] for ours in own}, state)
    net.load_state_dict({ours: state[theirs] for ours, theirs in names.items()})


def torchvision_names(net: Network) -> dict[str, str]:
    """Our name of each weight of `net` -> torchvision's.

    Raises: ValueError if torchvision has no such network.
    """
    rules = {AlexNet: _alexnet, VGG: _vgg, GoogLeNet: _googlenet, ResNet: _resnet}
    if type(net) not in rules:
        return names_by_order(net)
    modules = rules[type(net)](net)
    names = {}
    for name in net.state_dict():
        module, _, entry = name.rpartition(".")
        if module not in modules:
            raise ValueError(
                f"torchvision has no counterpart of this {type(net).__name__}: nothing"
                f" there is its {name!r}, as far as the rules in"
                " course_lib/pretrained.py know"
            )
        names[name] = f"{modules[module]}.{entry}"
    return names


def names_by_order(net: Network) -> dict[str, str]:
    """The same for a network whose weights come in torchvision's order, as those of the
    course do: no rule is needed, but a network of torchvision to compare with.

    Raises: ValueError if the catalog knows none with weights of these shapes.
    """
    from torchvision import models

    shapes = [value.shape for value in net.state_dict().values()]
    for entry in NETWORKS.values():
        if entry.torchvision and type(net) is entry.family.network:
            with torch.device("meta"):
                theirs = models.get_model(entry.torchvision).state_dict()
            if [value.shape for value in theirs.values()] == shapes:
                return dict(zip(net.state_dict(), theirs, strict=True))
    raise ValueError(
        f"torchvision has no counterpart of this {type(net).__name__}, as far as"
        " course_lib/catalog.py knows"
    )


def _alexnet(net: Network) -> dict[str, str]:
    classifier = {
        "fc6.3": "classifier.1",
        "fc7.1": "classifier.4",
        "fc8": "classifier.6",
    }
    return _features(net) | classifier


def _vgg(net: Network) -> dict[str, str]:
    classifier = {
        "fc6.2": "classifier.0",
        "fc7.0": "classifier.3",
        "fc8": "classifier.6",
    }
    return _features(net) | classifier


def _features(net: Network) -> dict[str, str]:
    """Layer -> its number, as torchvision counts through all stages."""
    layers = [
        f"{name}.{index}"
        for name, stage in net.named_children()
        if name.startswith("conv") and isinstance(stage, nn.Sequential)
        for index in range(len(stage))
    ]
    return {ours: f"features.{index}" for index, ours in enumerate(layers)}


#: What torchvision calls the auxiliary classifiers, and the branches of a module.
AUXILIARY = {"aux1.": "aux.inception_4a", "aux2.": "aux.inception_4d"}
BRANCHES = {
    "conv1x1": "branch1",
    "conv3x3.0": "branch2.0",
    "conv3x3.1": "branch2.1",
    "conv5x5.0": "branch3.0",
    "conv5x5.1": "branch3.1",
    "pool_proj.1": "branch4.1",
}


def _googlenet(net: Network) -> dict[str, str]:
    units = {"conv1": "conv1", "conv2.0": "conv2", "conv2.1": "conv3"}
    modules = {"head.3": "fc"}
    for name, stage in net.named_children():
        if isinstance(stage, Inception):
            theirs = name.replace("_", "")
            units |= {f"{name}.{b}": f"{theirs}.{BRANCHES[b]}" for b in BRANCHES}
    for theirs, ours in AUXILIARY.items():
        units[f"{ours}.1"] = f"{theirs}conv"
        modules |= {f"{ours}.3": f"{theirs}fc1", f"{ours}.6": f"{theirs}fc2"}
    for ours, theirs in units.items():
        modules |= {f"{ours}.0": f"{theirs}.conv", f"{ours}.1": f"{theirs}.bn"}
    return modules


def _resnet(net: Network) -> dict[str, str]:
    modules = {"stem.0": "conv1", "stem.1": "bn1", "head.2": "fc"}
    for name, module in net.named_modules():
        if isinstance(module, Residual) and not _strides_in_1x1(module.body):
            stage, index = int(name[4]), int(name.split(".")[1])
            # Our conv2_x begins with the pooling.
            theirs = f"layer{stage - 1}.{index - (stage == 2)}"
            for part in range(3):
                modules[f"{name}.body.{part}.0"] = f"{theirs}.conv{part + 1}"
                modules[f"{name}.body.{part}.1"] = f"{theirs}.bn{part + 1}"
            for part in range(2):
                modules[f"{name}.shortcut.{part}"] = f"{theirs}.downsample.{part}"
    return modules


def _strides_in_1x1(body: nn.Module) -> bool:
    """The paper's bottleneck has weights like torchvision's, but is another
    network.
    """
    return any(
        layer.kernel_size == (1, 1) and layer.stride != (1, 1)
        for layer in body.modules()
        if isinstance(layer, nn.Conv2d)
    )


def _read(path: Path) -> Mapping[Any, Any]:
    load = _safetensors() if path.suffix == ".safetensors" else _torch
    try:
        state = load(path)
    except OSError:
        raise  # there is no such file, or no right to read it
    except Exception as error:  # each kind of damage has another exception
        raise ValueError(
            f"{path.name} is damaged, or not a file of weights: {error}"
        ) from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{path.name} has a {type(state).__name__}, not a state_dict")
    return state


def _safetensors() -> Callable[[Path], Any]:
    try:
        module = importlib.import_module("safetensors.torch")
    except ImportError as error:
        raise ImportError(
            "a .safetensors file needs that package: pip install safetensors"
        ) from error
    load: Callable[[Path], Any] = module.load_file
    return load


def _torch(path: Path) -> Any:
    # A pickle can run any program; with `weights_only`, torch reads nothing but data.
    return torch.load(path, map_location="cpu", weights_only=True)


def _check(net: str, wanted: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Compare names, then shapes."""
    shapes = [
        f"{name} {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if isinstance(state.get(name), Tensor)
        and state[name].shape != wanted[name].shape
    ]
    problems = {
        "missing": [n for n in wanted if not isinstance(state.get(n), Tensor)],
        "left over": [name for name in state if name not in wanted],
        "of another shape": shapes,
    }
    found = [
        f"{len(names)} {problem}: {', '.join(names[:3])}{', ...' * (len(names) > 3)}"
        for problem, names in problems.items()
        if names
    ]
    if found:
        raise ValueError(
            f"these are not the weights of this {net}; of {len(wanted)} entries,"
            f" {'; '.join(found)}"
        )
