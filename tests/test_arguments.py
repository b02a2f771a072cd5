import ast
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import course_lib
from course_lib import FashionMNIST, Split, diagram, lab, resnet, sharing
from course_lib.arguments import check_one_of, check_variant, data_shape
from course_lib.attribution import cam, grad_cam, input_gradient, saliency
from course_lib.diagram import marks
from course_lib.diagram.svg import svg
from course_lib.imagenet import class_index
from course_lib.initialization import weight_variance
from course_lib.pages import claims, expressions
from course_lib.pages.lab import Lab
from course_lib.photographs import photograph
from course_lib.plotting import family_style
from course_lib.training.__main__ import NETS


def test_a_known_variant_passes():
    check_variant("Net", 16, {11: None, 16: None})


def test_an_unknown_variant_is_told_those_that_there_are():
    with pytest.raises(ValueError, match=r"Net has the variants 11, 'small'; got 12"):
        check_variant("Net", 12, [11, "small"])


def test_one_of():
    check_one_of(("a", "b"), kind="a", other="b")
    with pytest.raises(ValueError, match="other must be one of 'a', 'b'; got 'c'"):
        check_one_of(("a", "b"), kind="a", other="c")


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (("imagenet", None, None), (1000, 3)),
        (("fashion", None, None), (10, 1)),
        (("cifar", 7, None), (7, 3)),
        (("cifar", None, 5), (10, 5)),
    ],
)
def test_what_is_not_said_is_of_the_data(given, shape):
    assert data_shape(*given) == shape


def test_no_classes():
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        data_shape("fashion", 0, None)
    with pytest.raises(ValueError, match="in_channels must be at least 1, got -1"):
        data_shape("fashion", None, -1)


LEDGER = claims.load_claims()
SUMMARY = course_lib.summarize(nn.Sequential(nn.Conv2d(1, 2, 3)), (1, 8, 8))
LENET = course_lib.LeNet("small")
RESNET = course_lib.ResNet("small")
IMAGE = torch.zeros(1, 1, 28, 28)
SPLIT = Split(IMAGE.byte(), torch.zeros(1, dtype=torch.int64))
DATA = FashionMNIST(SPLIT, SPLIT, SPLIT, source="here")

#: The `variant` of each network: the class, and the last key of its table.
VARIANTS = {
    f"{net.__module__}.{net.__name__}.variant".removeprefix("course_lib."): (
        net,
        str([*sys.modules[net.__module__].VARIANTS][-1]),
    )
    for net in NETS.values()
}

#: Argument -> a call with a value for it, and one of the values that there are.
CHOICES = {
    **VARIANTS,
    "lab.network.name": (lab.network, "resnet"),
    "lab.trained.name": (lab.trained, "resnet"),
    "pages.lab.Lab.net": (Lab, "resnet"),
    "summary.table.Summary.training_bytes.optimizer": (
        lambda x: course_lib.summarize(nn.ReLU(), (3,)).training_bytes(1, x),
        "adam",
    ),
    "initialization.weight_variance.init": (
        lambda x: weight_variance(x, 10, 10),
        "Xavier",
    ),
    "arguments.data_shape.data": (lambda x: data_shape(x, None, None), "cifar"),
    "blocks.he_init.mode": (lambda x: course_lib.he_init(LENET, x), "fan_in"),
    "attribution.deconvnet.layer": (
        lambda x: course_lib.deconvnet(LENET, IMAGE, x),
        "f6",
    ),
    "attribution.cam.layer": (lambda x: cam(RESNET, IMAGE, 0, x), "conv4_x"),
    "attribution.grad_cam.layer": (lambda x: grad_cam(LENET, IMAGE, 0, x), "c3"),
    "attribution.input_gradient.rule": (
        lambda x: input_gradient(RESNET, IMAGE, 0, rule=x),
        "guided",
    ),
    "attribution.saliency.rule": (
        lambda x: saliency(RESNET, IMAGE, 0, rule=x),
        "deconvnet",
    ),
    "imagenet.class_index.name": (class_index, "espresso"),
    "photographs.photograph.name": (
        lambda x: pytest.importorskip("skimage") and photograph(x),
        "chelsea",
    ),
    "diagram.draw.level": (
        lambda x: diagram.draw(LENET, (1, 28, 28), level=x),
        "blocks",
    ),
    "diagram.draw.direction": (
        lambda x: diagram.draw(LENET, (1, 28, 28), direction=x),
        "down",
    ),
    "diagram.marks.Label.anchor": (
        lambda x: marks.Label(0, 0, "text", 12, anchor=x),
        "middle",
    ),
    "diagram.marks.Circle.style": (
        lambda x: svg((marks.Circle(0, 0, 1, x),), "", ""),
        "conv",
    ),
    "diagram.marks.Bounds.box.style": (
        lambda x: svg((marks.Bounds(0, 0, 1, 1).box(x, 0),), "", ""),
        "conv",
    ),
    "pages.claims.Ledger.where.net": (lambda x: LEDGER.where(net=x), "VGG"),
    "pages.claims.Ledger.where.verdict": (lambda x: LEDGER.where(verdict=x), "wrong"),
    "pages.claims.Ledger.where.source": (lambda x: LEDGER.where(source=x), "S0"),
    "pages.claims.load_claims.part": (claims.load_claims, "errors"),
    "pages.expressions.evaluate_expression.expression": (
        expressions.evaluate_expression,
        "count_parameters",
    ),
    "pages.results.recorded.table": (course_lib.recorded, "accuracy"),
    "pages.results.recorded.wanted": (
        lambda x: course_lib.recorded("notebooks", notebook=x),
        "book/lenet.ipynb",
    ),
    "plotting.family_style.family": (family_style, "ResNeXt"),
    "pretrained.download_torchvision.name": (
        course_lib.download_torchvision,
        "ResNet18_Weights.IMAGENET1K_V1",
    ),
    "resnet.bottleneck.stride_in": (
        lambda x: course_lib.bottleneck(1, 1, 1, stride_in=x),
        "1x1",
    ),
    "resnet.make_shortcut.kind": (lambda x: resnet.make_shortcut(x, 3, 8, 1), "A"),
    "resnet.residual_stage.shortcut": (
        lambda x: resnet.residual_stage(resnet.basic_block, 0, 1, 1, 1, x),
        "none",
    ),
    "resnet.ResNetVariant.branch.stride_in": (
        lambda x: resnet.VARIANTS[50].branch(x)[0](64, 64, 1),
        "1x1",
    ),
    "resnet.ResNet.shortcut": (lambda x: course_lib.ResNet(18, shortcut=x), "none"),
    "resnet.ResNet.stride_in": (lambda x: course_lib.ResNet(50, stride_in=x), "3x3"),
    "sharing.three_layers.head": (
        lambda x: sharing.three_layers(shared=True, head=x),
        "max",
    ),
    "sharing.rearranged.condition": (
        lambda x: sharing.rearranged(DATA, x),
        "anywhere",
    ),
    "summary.table.Summary.__getitem__.name": (SUMMARY.__getitem__, "0"),
    "summary.table.Summary.html.rows": (SUMMARY.html, "layers"),
    "summary.table.Summary.table.rows": (SUMMARY.table, "stages"),
    "summary.table.Summary.to_pandas.rows": (SUMMARY.to_pandas, "layers"),
    "summary.table.Summary.plot.rows": (
        lambda x: SUMMARY.plot(None, "macs", rows=x),
        "stages",
    ),
    "summary.table.Summary.plot.what": (lambda x: SUMMARY.plot(None, x), "saved_bytes"),
    "zfnet.ZFNet.stem": (lambda x: course_lib.ZFNet("small", stem=x), "11x11/2"),
}

#: Arguments that may be any text, and what they are.
FREE = {
    "tracing.ghost.DataDependentError.operation": "the name of an operation",
    "lab.export.path": "a path",
    "lab.export.title": "words",
    "lab.read.path": "a path",
    "pages.lab.Lab.state": "in a language of its own, tested with it",
    "pages.lab.Lab.ask": "words",
    "summary.reader.Running.add.what": "one of two, in the same module",
    "summary.tree.tree.name": "the name of a class",
    "tracing.TracingError.words": "a message",
    "initialization.init_linear.init": "given to weight_variance, before anything else",
    "initialization.deep_mlp.init": "given to init_linear",
    "arguments.check_variant.net": "a name for the message",
    "arguments.whole.name": "a name for the message",
    "data.images.read_image.path": "a path",
    "arguments.share.name": "a name for the message",
    "arguments.check_one_of.values": "what is checked",
    "data.fashion.Split.to.device": "PyTorch's to judge",
    "data.folder.FolderSplit.to.device": "PyTorch's to judge",
    "data.fashion.fashion_mnist.url": "an address",
    "data.files.find_files.url": "an address",
    "data.folder.folder.path": "a path",
    "diagram.Drawing.save.path": "a path",
    "diagram.marks.text_width.text": "words",
    "diagram.ops.describe.target": "a function that is not known is named",
    "diagram.ops.describe.path": "the name of a module",
    "diagram.svg.svg.title": "words",
    "diagram.svg.svg.text": "words",
    "diagram.tiles.Direction.gap.text": "words",
    "diagram.tiles.Direction.label.text": "words",
    "pages.expressions.cost.kinds": "parts of names, of which there may be none",
    "pages.expressions.kernels.kind": "a part of names, of which there may be none",
    "plotting.plot_seeds.label": "words",
    "volumes.draw_volumes.color": "given to matplotlib, which says what it is not",
    "pretrained.load_torchvision.source": "a path",
}


@pytest.mark.parametrize("name", CHOICES)
def test_an_unknown_choice(name):
    call, known = CHOICES[name]
    with pytest.raises(ValueError, match="'nonsense'") as error:
        call("nonsense")
    argument = name.rpartition(".")[2].replace("wanted", "notebook")
    assert argument in str(error.value)
    assert known in str(error.value).partition("; got")[0]


def parameters(module, path):
    """The arguments of public functions and methods that take a text."""
    owners = [("", ast.parse(path.read_text()))]
    owners += [(f"{n.name}.", n) for n in owners[0][1].body if is_public(n, "Class")]
    for owner, node in owners:
        for function in node.body:
            if is_public(function, "Function"):
                given = [a for a in ast.walk(function.args) if isinstance(a, ast.arg)]
                for each in given:
                    kinds = ast.unparse(each.annotation or each).split(" | ")
                    if "str" in kinds or kinds[0].startswith("Literal"):
                        name = f"{module}.{owner}{function.name}.{each.arg}"
                        yield name.replace(".__init__", "").removeprefix("course_lib.")


def is_public(node, kind):
    wanted = type(node).__name__.startswith(kind)
    return wanted and (node.name[0] != "_" or node.name in ("__init__", "__getitem__"))


def test_every_text_that_can_be_passed_was_thought_of():
    """The rooms of training and of checks have tests of their own."""
    root = Path(course_lib.__file__).parent
    found = {
        name
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] not in ("training", "checks")
        for name in parameters(
            re.sub(r"\W", ".", str(path.relative_to(root).with_suffix(""))), path
        )
    }
    assert len(found) > 40
    missing = found - CHOICES.keys() - FREE.keys()
    assert not missing, f"add to CHOICES, or to FREE with a reason: {sorted(missing)}"
    assert not FREE.keys() - found, "take out what there is no longer"
    assert not CHOICES.keys() & FREE.keys()
