"""The networks of the course, listed once: what each is called, how it is built, for
which input, from which paper, and how it is trained here.

Whatever goes through all networks reads `NETWORKS`: the pages (explorer, comparison,
cheat sheet, ledger, front page), experiments and benchmarks, the command line of
training, and the tables of the tests. Another network is one more entry, and another
family one more in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from course_lib.alexnet import AlexNet
from course_lib.arguments import DATA
from course_lib.blocks import Network
from course_lib.convnext import ConvNeXt
from course_lib.densenet import DenseNet
from course_lib.googlenet import GoogLeNet
from course_lib.lenet import LeNet
from course_lib.mobilenet import MobileNet
from course_lib.nin import NiN
from course_lib.regnet import RegNet
from course_lib.resnet import ResNet
from course_lib.training.settings import Settings
from course_lib.vgg import VGG
from course_lib.zfnet import ZFNet

#: Mean and standard deviation of red, green and blue by which images are normalized for
#: weights that were trained on ImageNet with torchvision's recipes.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: Data -> height and width of its images, in pixels.
SIZES = {"imagenet": 224, "mnist": 32, "cifar": 32, "fashion": 28}


@dataclass(frozen=True)
class Family:
    """The networks of one paper."""

    #: The class that all of them are built by.
    network: type[Network]
    #: The year in which the paper came out.
    year: int
    #: Who wrote it.
    authors: str
    #: Where it can be read.
    url: str
    #: Mean and standard deviation of the images for torchvision's weights.
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    #: Whether a table has all numbers of channels, so that they can be halved.
    scalable: bool = True
    #: What it is called, if not as its class.
    title: str = ""

    @property
    def name(self) -> str:
        """What it is called: the name of its class, unless several share that."""
        return self.title or self.network.__name__


@dataclass(frozen=True, eq=False)
class CatalogEntry:
    """One network of the course."""

    #: The family that it belongs to.
    family: Family
    #: The key in the table of the family.
    variant: int | str
    #: The data set that it was made for, a key of `SIZES`.
    data: str
    #: Height and width of its images in pixels, where `SIZES` does not say so.
    size: int | None = None
    #: Other arguments that it is built with, such as ``batch_norm=True``.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The network of torchvision that has equal logits with equal weights.
    torchvision: str | None = None
    #: The network of torchvision whose accuracy stands for it, if it is another one.
    accuracy: str | None = None
    #: Whether the table and the charts of the comparison contain it.
    compared: bool = False
    #: Whether the explorer contains it.
    explored: bool = True
    #: How it is trained on Fashion-MNIST: "quick" in the executed chapter, "laptop" for
    #: the recorded accuracies, "gpu" for readers who have one.
    settings: Mapping[str, Settings] = field(default_factory=dict)

    def build(self, **options: Any) -> Network:
        """The network; `options`, such as ``num_classes=10``, go before its own."""
        build: Callable[..., Network] = self.family.network
        return build(self.variant, **{**self.options, **options})

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that it was made for."""
        size = self.size or SIZES[self.data]
        return DATA[self.data][1], size, size

    @property
    def num_classes(self) -> int:
        """How many classes it distinguishes."""
        return DATA[self.data][0]

    @property
    def year(self) -> int:
        """The year of its paper."""
        return self.family.year

    @property
    def paper(self) -> str:
        """Where its paper can be read."""
        return self.family.url

    def imagenet_accuracy(self) -> float | None:
        """Top-1 accuracy on ImageNet in percent, with one center crop per image, as
        torchvision measured it for ``IMAGENET1K_V1``, or None if there is none.
        """
        name = self.accuracy or self.torchvision
        if name is None:
            return None
        from torchvision import models

        weights = models.get_model_weights(name).IMAGENET1K_V1
        return float(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"])


LENETS = Family(
    LeNet,
    year=1998,
    authors="LeCun, Bottou, Bengio and Haffner",
    url="https://doi.org/10.1109/5.726791",
    scalable=False,  # Table I and the codes of the output belong to these widths
)
ALEXNETS = Family(
    AlexNet,
    year=2012,
    authors="Krizhevsky, Sutskever and Hinton",
    url="https://papers.nips.cc/paper/2012/hash/c399862d3b9d6b76c8436e924a68c45b-Abstract.html",
)
ZFNETS = Family(
    ZFNet,
    year=2013,
    authors="Zeiler and Fergus",
    url="https://arxiv.org/abs/1311.2901",
)
VGGS = Family(
    VGG,
    year=2014,
    authors="Simonyan and Zisserman",
    url="https://arxiv.org/abs/1409.1556",
)
NINS = Family(
    NiN,
    year=2013,
    authors="Lin, Chen and Yan",
    url="https://arxiv.org/abs/1312.4400",
)
GOOGLENETS = Family(
    GoogLeNet,
    year=2014,
    authors="Szegedy et al.",
    url="https://arxiv.org/abs/1409.4842",
    # torchvision's weights come from TensorFlow, and its network first changes its
    # normalized images into these (``transform_input``); ours does not.
    normalization=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
)
RESNETS = Family(
    ResNet,
    year=2015,
    authors="He, Zhang, Ren and Sun",
    url="https://arxiv.org/abs/1512.03385",
)

WIDE_RESNETS = Family(
    ResNet,
    title="Wide ResNet",
    year=2016,
    authors="Zagoruyko and Komodakis",
    url="https://arxiv.org/abs/1605.07146",
)
DENSENETS = Family(
    DenseNet,
    year=2016,
    authors="Huang, Liu, van der Maaten and Weinberger",
    url="https://arxiv.org/abs/1608.06993",
)
RESNEXTS = Family(
    ResNet,
    title="ResNeXt",
    year=2016,
    authors="Xie, Girshick, Doll\N{LATIN SMALL LETTER A WITH ACUTE}r, Tu and He",
    url="https://arxiv.org/abs/1611.05431",
)
SENETS = Family(
    ResNet,
    title="SENet",
    year=2017,
    authors="Hu, Shen, Albanie, Sun and Wu",
    url="https://arxiv.org/abs/1709.01507",
)
MOBILENETS = Family(
    MobileNet,
    year=2018,
    authors="Sandler, Howard, Zhu, Zhmoginov and Chen",
    url="https://arxiv.org/abs/1801.04381",
)
REGNETS = Family(
    RegNet,
    year=2020,
    authors="Radosavovic, Kosaraju, Girshick, He"
    " and Doll\N{LATIN SMALL LETTER A WITH ACUTE}r",
    url="https://arxiv.org/abs/2003.13678",
)
CONVNEXTS = Family(
    ConvNeXt,
    year=2022,
    authors="Liu, Mao, Wu, Feichtenhofer, Darrell and Xie",
    url="https://arxiv.org/abs/2201.03545",
)

#: The families by name, in the order of the chapters.
FAMILIES = {
    family.name: family
    for family in (
        LENETS,
        ALEXNETS,
        ZFNETS,
        VGGS,
        NINS,
        GOOGLENETS,
        RESNETS,
    )
}

#: Families that came after ResNet, the oldest first. They have no color of their own in
#: charts, but a marker (`course_lib.plotting.family_style`).
LATER = {
    family.name: family
    for family in (
        WIDE_RESNETS,
        DENSENETS,
        RESNEXTS,
        SENETS,
        MOBILENETS,
        REGNETS,
        CONVNEXTS,
    )
}

#: The networks by the names that tables, readers and recorded rows call them.
NETWORKS = {
    "LeNet-5": CatalogEntry(LENETS, "paper", "mnist", compared=True),
    "LeNet modern": CatalogEntry(
        LENETS,
        "modern",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.1),
            "laptop": Settings(epochs=5, lr=0.1),
            "gpu": Settings(epochs=10, lr=0.1),
        },
    ),
    "LeNet batch norm": CatalogEntry(
        LENETS,
        "modern",
        "fashion",
        options={"batch_norm": True},
        explored=False,
        settings={
            "quick": Settings(epochs=1, lr=0.3),
            "laptop": Settings(epochs=3, lr=0.3),
            "gpu": Settings(epochs=10, lr=0.3),
        },
    ),
    "LeNet small": CatalogEntry(LENETS, "small", "fashion", explored=False),
    "AlexNet": CatalogEntry(
        ALEXNETS, "paper", "imagenet", size=227, accuracy="alexnet", compared=True
    ),
    "AlexNet merged": CatalogEntry(
        ALEXNETS,
        "merged",
        "imagenet",
        size=227,
        explored=False,
        settings={"gpu": Settings(epochs=10, lr=0.02, size=227)},
    ),
    "AlexNet of torchvision": CatalogEntry(
        ALEXNETS, "torchvision", "imagenet", torchvision="alexnet"
    ),
    "AlexNet small": CatalogEntry(
        ALEXNETS,
        "small",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.05),
            "laptop": Settings(epochs=4, lr=0.05),
        },
    ),
    "ZFNet": CatalogEntry(
        ZFNETS,
        "paper",
        "imagenet",
        compared=True,
        settings={"gpu": Settings(epochs=10, lr=0.02, size=224)},
    ),
    "ZFNet small": CatalogEntry(
        ZFNETS,
        "small",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.05),
            "laptop": Settings(epochs=3, lr=0.05),
        },
    ),
    "VGG-11": CatalogEntry(VGGS, 11, "imagenet", torchvision="vgg11", compared=True),
    "VGG-13": CatalogEntry(VGGS, 13, "imagenet", torchvision="vgg13"),
    "VGG-16": CatalogEntry(VGGS, 16, "imagenet", torchvision="vgg16", compared=True),
    "VGG-19": CatalogEntry(VGGS, 19, "imagenet", torchvision="vgg19", compared=True),
    "VGG-11 batch norm": CatalogEntry(
        VGGS,
        11,
        "imagenet",
        options={"batch_norm": True, "dropout": 0.2},
        torchvision="vgg11_bn",
        explored=False,
        settings={"gpu": Settings(epochs=10, lr=0.05, size=224)},
    ),
    "VGG-13 batch norm": CatalogEntry(
        VGGS,
        13,
        "imagenet",
        options={"batch_norm": True},
        torchvision="vgg13_bn",
        explored=False,
    ),
    "VGG-16 batch norm": CatalogEntry(
        VGGS,
        16,
        "imagenet",
        options={"batch_norm": True},
        torchvision="vgg16_bn",
        explored=False,
    ),
    "VGG-19 batch norm": CatalogEntry(
        VGGS,
        19,
        "imagenet",
        options={"batch_norm": True},
        torchvision="vgg19_bn",
        explored=False,
    ),
    "VGG small": CatalogEntry(
        VGGS,
        "small",
        "fashion",
        options={"batch_norm": True, "dropout": 0.2},
        settings={
            "quick": Settings(epochs=1, lr=0.1),
            "laptop": Settings(epochs=5, lr=0.1),
        },
    ),
    "NiN": CatalogEntry(NINS, "imagenet", "imagenet", compared=True),
    "NiN batch norm": CatalogEntry(
        NINS,
        "imagenet",
        "imagenet",
        options={"batch_norm": True},
        explored=False,
        settings={"gpu": Settings(epochs=10, lr=0.05, size=224)},
    ),
    "NiN for CIFAR-10": CatalogEntry(NINS, "cifar", "cifar"),
    "NiN small": CatalogEntry(
        NINS,
        "small",
        "fashion",
        options={"batch_norm": True},
        settings={
            "quick": Settings(epochs=1, lr=0.1),
            "laptop": Settings(epochs=4, lr=0.1),
        },
    ),
    "GoogLeNet": CatalogEntry(
        GOOGLENETS,
        "paper",
        "imagenet",
        accuracy="googlenet",
        compared=True,
        settings={"gpu": Settings(epochs=10, lr=0.01, size=96)},
    ),
    "GoogLeNet of torchvision": CatalogEntry(
        GOOGLENETS, "torchvision", "imagenet", torchvision="googlenet"
    ),
    "GoogLeNet small": CatalogEntry(
        GOOGLENETS,
        "small",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.2),
            "laptop": Settings(epochs=4, lr=0.2),
        },
    ),
    "ResNet-18": CatalogEntry(
        RESNETS,
        18,
        "imagenet",
        torchvision="resnet18",
        compared=True,
        settings={"gpu": Settings(epochs=10, lr=0.1, size=96)},
    ),
    "ResNet-34": CatalogEntry(
        RESNETS, 34, "imagenet", torchvision="resnet34", compared=True
    ),
    "ResNet-50": CatalogEntry(
        RESNETS, 50, "imagenet", torchvision="resnet50", compared=True
    ),
    "ResNet-50 of the paper": CatalogEntry(
        RESNETS, 50, "imagenet", options={"stride_in": "1x1"}
    ),
    "ResNet-101": CatalogEntry(
        RESNETS, 101, "imagenet", torchvision="resnet101", compared=True
    ),
    "ResNet-152": CatalogEntry(
        RESNETS, 152, "imagenet", torchvision="resnet152", compared=True
    ),
    "ResNet-20 for CIFAR-10": CatalogEntry(
        RESNETS,
        "cifar-20",
        "cifar",
        settings={"gpu": Settings(epochs=10, lr=0.1, size=32)},
    ),
    "ResNet-56 for CIFAR-10": CatalogEntry(
        RESNETS,
        "cifar-56",
        "cifar",
        explored=False,
        settings={"gpu": Settings(epochs=10, lr=0.1, size=32)},
    ),
    "ResNet small": CatalogEntry(
        RESNETS,
        "small",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.2),
            "laptop": Settings(epochs=4, lr=0.2),
        },
    ),
    "ResNet small plain": CatalogEntry(
        RESNETS,
        "small",
        "fashion",
        options={"shortcut": "none"},
        explored=False,
        settings={
            "quick": Settings(epochs=1, lr=0.2),
            "laptop": Settings(epochs=4, lr=0.2),
        },
    ),
    "ResNet small-20": CatalogEntry(
        RESNETS,
        "small-20",
        "fashion",
        explored=False,
        settings={
            "quick": Settings(epochs=2, lr=0.05, batch_size=50),
            "laptop": Settings(epochs=1, lr=0.1),
        },
    ),
    "ResNet small-44": CatalogEntry(
        RESNETS,
        "small-44",
        "fashion",
        explored=False,
        settings={
            "quick": Settings(epochs=2, lr=0.05, batch_size=50),
            "laptop": Settings(epochs=1, lr=0.1),
        },
    ),
    "Wide ResNet-50-2": CatalogEntry(
        WIDE_RESNETS, "wide_resnet50_2", "imagenet", torchvision="wide_resnet50_2"
    ),
    "ResNeXt-50": CatalogEntry(
        RESNEXTS, "resnext50_32x4d", "imagenet", torchvision="resnext50_32x4d"
    ),
    "ResNeXt-101": CatalogEntry(
        RESNEXTS,
        "resnext101_32x8d",
        "imagenet",
        torchvision="resnext101_32x8d",
        explored=False,
    ),
    "DenseNet-121": CatalogEntry(DENSENETS, 121, "imagenet", torchvision="densenet121"),
    "DenseNet-161": CatalogEntry(
        DENSENETS, 161, "imagenet", torchvision="densenet161", explored=False
    ),
    "DenseNet-169": CatalogEntry(
        DENSENETS, 169, "imagenet", torchvision="densenet169", explored=False
    ),
    "DenseNet-201": CatalogEntry(
        DENSENETS, 201, "imagenet", torchvision="densenet201", explored=False
    ),
    "ConvNeXt-T": CatalogEntry(
        CONVNEXTS, "tiny", "imagenet", torchvision="convnext_tiny"
    ),
    "MobileNetV2": CatalogEntry(
        MOBILENETS, "v2", "imagenet", torchvision="mobilenet_v2"
    ),
    # Without `torchvision`, whose RegNet cannot be built on the meta device, as it
    # computes its widths with tensors; tests/test_regnet.py compares the two.
    "RegNet-X-400MF": CatalogEntry(
        REGNETS, "x_400mf", "imagenet", accuracy="regnet_x_400mf", explored=False
    ),
    "RegNet-X-800MF": CatalogEntry(
        REGNETS, "x_800mf", "imagenet", accuracy="regnet_x_800mf", explored=False
    ),
    "RegNet-X-1.6GF": CatalogEntry(
        REGNETS, "x_1_6gf", "imagenet", accuracy="regnet_x_1_6gf", explored=False
    ),
    "RegNet-X-3.2GF": CatalogEntry(
        REGNETS, "x_3_2gf", "imagenet", accuracy="regnet_x_3_2gf", explored=False
    ),
    "RegNet-X-8GF": CatalogEntry(
        REGNETS, "x_8gf", "imagenet", accuracy="regnet_x_8gf", explored=False
    ),
    "RegNet-Y-400MF": CatalogEntry(
        REGNETS, "y_400mf", "imagenet", accuracy="regnet_y_400mf", explored=False
    ),
    "RegNet-Y-800MF": CatalogEntry(
        REGNETS, "y_800mf", "imagenet", accuracy="regnet_y_800mf", explored=False
    ),
    "RegNet-Y-1.6GF": CatalogEntry(
        REGNETS, "y_1_6gf", "imagenet", accuracy="regnet_y_1_6gf", explored=False
    ),
    "RegNet-Y-3.2GF": CatalogEntry(
        REGNETS, "y_3_2gf", "imagenet", accuracy="regnet_y_3_2gf", explored=False
    ),
    "SE-ResNet-50": CatalogEntry(
        SENETS,
        "se_resnet50",
        "imagenet",
        settings={"gpu": Settings(epochs=10, lr=0.1, size=96)},
    ),
    "ResNeXt small": CatalogEntry(
        RESNEXTS,
        "small-resnext",
        "fashion",
        settings={"laptop": Settings(epochs=4, lr=0.2)},
    ),
    "SENet small": CatalogEntry(
        SENETS,
        "small-se",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.2),
            "laptop": Settings(epochs=4, lr=0.2),
        },
    ),
    "DenseNet small": CatalogEntry(
        DENSENETS,
        "small",
        "fashion",
        settings={"laptop": Settings(epochs=4, lr=0.2)},
    ),
    "ConvNeXt small": CatalogEntry(
        CONVNEXTS,
        "small",
        "fashion",
        settings={"laptop": Settings(epochs=4, lr=0.2)},
    ),
}
