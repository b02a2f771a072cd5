import pickle
import sys
import types

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models._api import Weights, WeightsEnum

from course_lib import LeNet, ResNet
from course_lib.alexnet import AlexNet
from course_lib.catalog import NETWORKS
from course_lib.googlenet import GoogLeNet
from course_lib.pretrained import (
    NORMALIZATION,
    download_torchvision,
    load_torchvision,
    names_by_order,
    torchvision_names,
)
from course_lib.vgg import VGG
from tests.parity import sized

models = torchvision.models

#: torchvision's name -> how to build ours.
NETS = {
    entry.torchvision: entry.build for entry in NETWORKS.values() if entry.torchvision
}


def build(name, **kwargs):
    """torchvision's network, without the time that its initialization takes."""
    if name == "googlenet":
        kwargs = {"init_weights": False, "aux_logits": False, **kwargs}
    if name.startswith("vgg"):
        kwargs = {"init_weights": False, **kwargs}
    return getattr(models, name)(**kwargs)


def empty(build, *args, **kwargs):
    """A network without the time that its initialization takes, to be filled."""
    with torch.device("meta"):
        return build(*args, **kwargs).to_empty(device="cpu")


def randomize(state):
    """Random weights, small enough for deep networks; statistics as after some
    training.
    """
    torch.manual_seed(0)
    for name, value in state.items():
        if value.dim() == 0:  # the number of batches
            value.zero_()
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.dim() == 1:
            value.normal_(std=0.1)
            if name.endswith("weight"):  # residual blocks add up: halve what they add
                value.add_(0.5 if name.startswith("layer") else 1)
        elif value.dim() > 1:
            nn.init.kaiming_uniform_(value, nonlinearity="relu")
    return state


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", sized(NETS))
def test_logits_equal_torchvision(name):
    theirs = empty(build, name).eval()
    ours = empty(NETS[name]).eval()
    load_torchvision(ours, randomize(theirs.state_dict()))
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        logits, expected = ours(x), theirs(x)
    scale = expected.abs().max()  # untrained, a deep network's logits can be huge
    torch.testing.assert_close(logits / scale, expected / scale, rtol=1e-5, atol=1e-5)
    assert expected.std(dim=0).max() > 0.01 * scale  # what is in the images arrives


@pytest.mark.parametrize("name", sized(NETS))
def test_every_name_has_its_counterpart(name):
    """Ours cover torchvision's, and its shapes and order too."""
    with torch.device("meta"):
        ours, theirs = NETS[name](), build(name)
    names, state = torchvision_names(ours), theirs.state_dict()
    own = ours.state_dict()
    assert list(names) == list(own)
    assert list(names.values()) == list(state)
    for mine, other in names.items():
        assert own[mine].shape == state[other].shape


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("alexnet", "conv3.0.weight", "features.6.weight"),
        ("alexnet", "fc7.1.bias", "classifier.4.bias"),
        ("vgg16", "conv3.4.weight", "features.14.weight"),
        ("vgg16_bn", "conv2.1.running_mean", "features.8.running_mean"),
        ("googlenet", "conv2.1.0.weight", "conv3.conv.weight"),
        (
            "googlenet",
            "inception_4b.conv5x5.1.1.bias",
            "inception4b.branch3.1.bn.bias",
        ),
        ("resnet50", "conv2_x.1.shortcut.0.weight", "layer1.0.downsample.0.weight"),
        ("resnet50", "conv4_x.5.body.2.1.bias", "layer3.5.bn3.bias"),
    ],
)
def test_names(name, ours, theirs):
    with torch.device("meta"):
        assert torchvision_names(NETS[name]())[ours] == theirs


def test_auxiliary_classifiers():
    """torchvision's file has them; without `aux` they stay out, with it they load."""
    theirs = empty(build, "googlenet", aux_logits=True)
    state = randomize(theirs.state_dict())
    for aux in (False, True):
        ours = empty(GoogLeNet, "torchvision", aux=aux)
        load_torchvision(ours, state)
        assert torch.equal(ours.head[3].bias, theirs.fc.bias)
    assert torch.equal(ours.aux["inception_4a"][6].bias, theirs.aux1.fc2.bias)
    assert torch.equal(ours.aux["inception_4d"][3].weight, theirs.aux2.fc1.weight)


def test_images_for_googlenet():
    """What torchvision does to its images inside the network is done before ours."""
    theirs = empty(build, "googlenet", transform_input=True).eval()
    ours = empty(GoogLeNet, "torchvision").eval()
    load_torchvision(ours, randomize(theirs.state_dict()))
    preset = models.GoogLeNet_Weights.DEFAULT.transforms()
    x = torch.rand(2, 3, 64, 64)

    def normalize(mean, std):
        return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[
            :, None, None
        ]

    with torch.inference_mode():
        torch.testing.assert_close(
            ours(normalize(*NORMALIZATION[GoogLeNet])),
            theirs(normalize(preset.mean, preset.std)),
            rtol=1e-4,
            atol=1e-4,
        )


@pytest.mark.parametrize(
    ("family", "weights"),
    [
        (AlexNet, models.AlexNet_Weights.IMAGENET1K_V1),
        (VGG, models.VGG16_Weights.IMAGENET1K_V1),
        (ResNet, models.ResNet50_Weights.IMAGENET1K_V1),
    ],
)
def test_images_for_the_others(family, weights):
    preset = weights.transforms()
    assert NORMALIZATION[family] == (tuple(preset.mean), tuple(preset.std))


@pytest.fixture
def state():
    """That of a ResNet-18 of torchvision."""
    return randomize(empty(build, "resnet18").state_dict())


def test_a_file(tmp_path, state):
    torch.save(state, tmp_path / "resnet18.pth")
    net = empty(ResNet, 18)
    for path in (tmp_path / "resnet18.pth", str(tmp_path / "resnet18.pth")):
        nn.init.zeros_(net.head[2].weight)
        load_torchvision(net, path)
        assert torch.equal(net.head[2].weight, state["fc.weight"])


def test_an_old_file_without_the_number_of_batches(state):
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    net = empty(ResNet, 18)
    load_torchvision(net, old)
    assert torch.equal(net.stem[1].running_var, state["bn1.running_var"])
    assert len(old) == 102  # the dictionary that was given is not added to


def unchanged(net, source, message, error=ValueError):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(error, match=message):
        load_torchvision(net, source)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_wrong_weights(state):
    deeper, net = empty(ResNet, 34), empty(ResNet, 18)
    for value in (*deeper.state_dict().values(), *net.state_dict().values()):
        value.fill_(1)
    unchanged(deeper, state, "of 218 entries, 80 missing: layer1.2.conv1.weight")
    unchanged(ResNet("small"), state, "left over")
    without = {name: value for name, value in state.items() if name != "fc.bias"}
    unchanged(net, without, "1 missing: fc.bias$")
    unchanged(net, state | {"more": torch.ones(1)}, "1 left over: more$")
    unchanged(net, state | {"fc.bias": 3}, "1 missing: fc.bias$")
    unchanged(net, state | {7: torch.ones(1)}, "1 left over: 7$")
    unchanged(
        ResNet(18, num_classes=10),
        state,
        r"2 of another shape: fc.weight \(1000, 512\), not \(10, 512\), fc.bias",
    )
    plain = GoogLeNet("torchvision", batch_norm=False)
    unchanged(plain, state, "114 missing: conv1.conv.weight")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeNet("modern"), "no counterpart of this LeNet, as far as"),
        (lambda: GoogLeNet("paper"), "of this GoogLeNet: nothing there is its 'conv2"),
        (lambda: AlexNet("paper"), "of this AlexNet: nothing there is its 'fc6.1"),
        (lambda: ResNet(50, stride_in="1x1"), "its 'conv3_x.0.body.0.0.weight'"),
        (lambda: ResNet(18, shortcut="none"), "its 'conv2_x.1.0.0.weight'"),
    ],
)
def test_nets_that_torchvision_has_not(make, message):
    with torch.device("meta"):
        net = make()
    with pytest.raises(ValueError, match=message):
        load_torchvision(net, {})


class Malicious:
    def __reduce__(self):
        return print, ("this must never run",)


def test_bad_files(tmp_path, capsys, state):
    net, path = ResNet("small"), tmp_path / "weights.pth"
    torch.save(state, path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>404</html>"):
        path.write_bytes(content)
        unchanged(net, path, "weights.pth is damaged, or not a file of weights")
    path.write_bytes(pickle.dumps(Malicious()))
    unchanged(net, path, "weights.pth is damaged, or not a file of weights")
    torch.save(Malicious(), path)
    unchanged(net, path, "weights.pth is damaged, or not a file of weights")
    assert capsys.readouterr().out == ""
    torch.save([1, 2], path)
    unchanged(net, path, "weights.pth has a list, not a state_dict")
    unchanged(net, tmp_path / "none.pth", "none.pth", FileNotFoundError)


def test_safetensors(tmp_path, monkeypatch, state):
    path = tmp_path / "r.safetensors"
    path.touch()
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    unchanged(ResNet("small"), path, "pip install safetensors", ImportError)
    package = types.SimpleNamespace(load_file={path: state}.__getitem__)
    monkeypatch.setitem(sys.modules, "safetensors", types.ModuleType("safetensors"))
    monkeypatch.setitem(sys.modules, "safetensors.torch", package)
    net = empty(ResNet, 18)
    load_torchvision(net, path)
    assert torch.equal(net.head[2].bias, state["fc.bias"])


@pytest.mark.parametrize("hash_is_right", [False, True])
def test_download(tmp_path, monkeypatch, capsys, hash_is_right):
    """From a file:// address: torch.hub does what it does on the network."""
    import hashlib

    torch.save({"weight": torch.ones(2)}, tmp_path / "tiny.pth")
    digest = hashlib.sha256((tmp_path / "tiny.pth").read_bytes()).hexdigest()[:8]
    source = tmp_path / f"tiny-{digest if hash_is_right else '0' * 8}.pth"
    (tmp_path / "tiny.pth").rename(source)

    class Tiny(WeightsEnum):
        V1 = Weights(url=source.as_uri(), transforms=None, meta={})

    monkeypatch.setattr(models, "get_weight", {"Tiny.V1": Tiny.V1}.__getitem__)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    if hash_is_right:
        state = download_torchvision("Tiny.V1", progress=False)
        assert torch.equal(state["weight"], torch.ones(2))
        assert (tmp_path / "hub/checkpoints" / source.name).is_file()
        assert "100" not in capsys.readouterr().err
    else:
        with pytest.raises(RuntimeError, match="invalid hash value"):
            download_torchvision("Tiny.V1", progress=False)


@pytest.mark.parametrize(
    "name", ["resnet18", "LeNet_Weights.V1", "ResNet18_Weights.V9"]
)
def test_unknown_weights(name):
    with pytest.raises(ValueError, match=f"torchvision has no weights .*{name}"):
        download_torchvision(name)


@pytest.mark.parametrize("name", sized(sorted(NETS.keys() - {"googlenet"})))
def test_names_by_order_are_those_of_the_rules(name):
    """What a network without a rule of its own gets; GoogLeNet's order is tested with
    its auxiliary classifiers, which torchvision builds by default.
    """
    with torch.device("meta"):
        net = NETS[name]()
    assert names_by_order(net) == torchvision_names(net)


def test_a_network_that_no_rule_knows(monkeypatch):
    class Other(LeNet):
        pass

    with torch.device("meta"):
        net = Other("modern")
    with pytest.raises(ValueError, match="no counterpart of this Other, as far as"):
        torchvision_names(net)
