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
from course_lib.googlenet import GoogLeNet
from course_lib.lenet import LeNet
from course_lib.nin import NiN
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
    """The networks of one paper, and what the cheat sheet says of them."""

    #: The class that all of them are built by.
    network: type[Network]
    #: The year in which the paper came out.
    year: int
    #: Who wrote it.
    authors: str
    #: Where it can be read.
    url: str
    #: The network of the family that stands for it, by its name in `NETWORKS`.
    example: str
    #: The problem that it was made for.
    why: str
    #: The idea.
    what: str
    #: How the paper trained it.
    how: str
    #: Mean and standard deviation of the images for torchvision's weights.
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    #: Whether all channels are numbers of a table, so that they can be halved.
    scalable: bool = True


@dataclass(frozen=True, eq=False)
class CatalogEntry:
    """One network of the course."""

    #: The class of its family.
    network: type[Network]
    #: The key in the table of the family.
    variant: int | str
    #: What it was made for, a key of `SIZES`.
    data: str
    #: Height and width of its images in pixels, where `SIZES` does not say so.
    size: int | None = None
    #: What else it is built with, such as ``batch_norm=True``.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The network of torchvision that has equal logits with equal weights.
    torchvision: str | None = None
    #: The network of torchvision whose accuracy stands for it, if it is another one.
    accuracy: str | None = None
    #: Whether the table and the charts of the comparison have it.
    compared: bool = False
    #: Whether the explorer has it.
    explored: bool = True
    #: How it is trained on Fashion-MNIST: "quick" in the executed chapter, "laptop" for
    #: the recorded accuracies, "gpu" for readers who have one.
    settings: Mapping[str, Settings] = field(default_factory=dict)

    def build(self, **options: Any) -> Network:
        """The network; `options`, such as ``num_classes=10``, go before its own."""
        build: Callable[..., Network] = self.network
        return build(self.variant, **{**self.options, **options})

    @property
    def family(self) -> str:
        """The name in `FAMILIES`."""
        return self.network.__name__

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that it was made for."""
        size = self.size or SIZES[self.data]
        return DATA[self.data][1], size, size

    @property
    def num_classes(self) -> int:
        """How many classes it tells apart."""
        return DATA[self.data][0]

    @property
    def year(self) -> int:
        """The year of its paper."""
        return FAMILIES[self.family].year

    @property
    def paper(self) -> str:
        """Where its paper can be read."""
        return FAMILIES[self.family].url

    def imagenet_accuracy(self) -> float | None:
        """Top-1 accuracy on ImageNet in percent, one crop in the middle of each image,
        as torchvision measured it with its first weights; None where it has none.
        """
        name = self.accuracy or self.torchvision
        if name is None:
            return None
        from torchvision import models

        weights = models.get_model_weights(name).IMAGENET1K_V1
        return float(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"])


#: The families, in the order of the chapters. What they say is from these sections of
#: the papers: LeCun et al. II and III, Krizhevsky et al. 3 to 5, Zeiler and Fergus 3
#: and 4, Simonyan and Zisserman 2 and 3, Lin et al. 3 and 4, Szegedy et al. 4 to 6, He
#: et al. 3.
FAMILIES = {
    "LeNet": Family(
        network=LeNet,
        year=1998,
        authors="LeCun, Bottou, Bengio and Haffner",
        url="https://doi.org/10.1109/5.726791",
        example="LeNet-5",
        why="Recognise digits without features made by hand",
        what="Convolution and subsampling in turn: the same small kernels everywhere,"
        " smaller maps, more of them",
        how="Gradient descent, picture by picture; tanh; codes of the digits as"
        " targets",
        scalable=False,  # its Table I and the codes of the output come with the widths
    ),
    "AlexNet": Family(
        network=AlexNet,
        year=2012,
        authors="Krizhevsky, Sutskever and Hinton",
        url="https://papers.nips.cc/paper/2012/hash/"
        "c399862d3b9d6b76c8436e924a68c45b-Abstract.html",
        example="AlexNet",
        why="A thousand classes, more than a million photographs",
        what="ReLU, dropout, overlapping pooling, response normalisation; two towers"
        " for two GPUs",
        how="SGD with momentum and weight decay, the rate cut by hand; random crops,"
        " reflections and colours",
    ),
    "ZFNet": Family(
        network=ZFNet,
        year=2013,
        authors="Zeiler and Fergus",
        url="https://arxiv.org/abs/1311.2901",
        example="ZFNet",
        why="See what the layers of AlexNet respond to",
        what="A net run backwards shows it; smaller kernels and strides at the"
        " beginning repair what is seen",
        how="As AlexNet, on one GPU, without towers",
    ),
    "VGG": Family(
        network=VGG,
        year=2014,
        authors="Simonyan and Zisserman",
        url="https://arxiv.org/abs/1409.1556",
        example="VGG-16",
        why="What depth alone does",
        what="Nothing but 3x3: two see as much as a 5x5, and cost less; half the size,"
        " twice the channels",
        how="As AlexNet; the deeper nets begin with layers of a shallow one;"
        " photographs at several scales",
    ),
    "NiN": Family(
        network=NiN,
        year=2013,
        authors="Lin, Chen and Yan",
        url="https://arxiv.org/abs/1312.4400",
        example="NiN",
        why="Better features at each pixel, and no full layers that overfit",
        what="1x1 convolutions: a perceptron at every pixel; the mean of the last maps"
        " is the answer",
        how="As AlexNet, with dropout between the blocks",
    ),
    "GoogLeNet": Family(
        network=GoogLeNet,
        year=2014,
        authors="Szegedy et al.",
        url="https://arxiv.org/abs/1409.4842",
        example="GoogLeNet",
        why="Accuracy within a budget of operations",
        what="Windows of several sizes side by side, thinned out by 1x1; the mean"
        " instead of full layers",
        how="SGD with momentum on many machines; two auxiliary classifiers, which are"
        " thrown away",
        # torchvision's weights come from TensorFlow, and its net changes normalized
        # images into these first (``transform_input``); ours does not.
        normalization=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ),
    "ResNet": Family(
        network=ResNet,
        year=2015,
        authors="He, Zhang, Ren and Sun",
        url="https://arxiv.org/abs/1512.03385",
        example="ResNet-50",
        why="Deeper nets became worse, even in training",
        what="Layers learn what to add to their input; batch normalisation after every"
        " convolution; 1x1 around the 3x3",
        how="SGD with momentum and weight decay, the rate cut at plateaus; He's"
        " initialisation; no dropout",
    ),
}

#: The networks by the names that tables, readers and recorded rows call them.
NETWORKS = {
    "LeNet-5": CatalogEntry(LeNet, "paper", "mnist", compared=True),
    "LeNet modern": CatalogEntry(
        LeNet,
        "modern",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.1),
            "laptop": Settings(epochs=5, lr=0.1),
            "gpu": Settings(epochs=10, lr=0.1),
        },
    ),
    "LeNet batch norm": CatalogEntry(
        LeNet,
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
    "LeNet small": CatalogEntry(LeNet, "small", "fashion", explored=False),
    "AlexNet": CatalogEntry(
        AlexNet, "paper", "imagenet", size=227, accuracy="alexnet", compared=True
    ),
    "AlexNet merged": CatalogEntry(
        AlexNet,
        "merged",
        "imagenet",
        size=227,
        explored=False,
        settings={"gpu": Settings(epochs=10, lr=0.02, size=227)},
    ),
    "AlexNet of torchvision": CatalogEntry(
        AlexNet, "torchvision", "imagenet", torchvision="alexnet"
    ),
    "AlexNet small": CatalogEntry(
        AlexNet,
        "small",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.05),
            "laptop": Settings(epochs=4, lr=0.05),
        },
    ),
    "ZFNet": CatalogEntry(
        ZFNet,
        "paper",
        "imagenet",
        compared=True,
        settings={"gpu": Settings(epochs=10, lr=0.02, size=224)},
    ),
    "ZFNet small": CatalogEntry(
        ZFNet,
        "small",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.05),
            "laptop": Settings(epochs=3, lr=0.05),
        },
    ),
    "VGG-11": CatalogEntry(VGG, 11, "imagenet", torchvision="vgg11", compared=True),
    "VGG-13": CatalogEntry(VGG, 13, "imagenet", torchvision="vgg13"),
    "VGG-16": CatalogEntry(VGG, 16, "imagenet", torchvision="vgg16", compared=True),
    "VGG-19": CatalogEntry(VGG, 19, "imagenet", torchvision="vgg19", compared=True),
    "VGG-11 batch norm": CatalogEntry(
        VGG,
        11,
        "imagenet",
        options={"batch_norm": True, "dropout": 0.2},
        torchvision="vgg11_bn",
        explored=False,
        settings={"gpu": Settings(epochs=10, lr=0.05, size=224)},
    ),
    "VGG-13 batch norm": CatalogEntry(
        VGG,
        13,
        "imagenet",
        options={"batch_norm": True},
        torchvision="vgg13_bn",
        explored=False,
    ),
    "VGG-16 batch norm": CatalogEntry(
        VGG,
        16,
        "imagenet",
        options={"batch_norm": True},
        torchvision="vgg16_bn",
        explored=False,
    ),
    "VGG-19 batch norm": CatalogEntry(
        VGG,
        19,
        "imagenet",
        options={"batch_norm": True},
        torchvision="vgg19_bn",
        explored=False,
    ),
    "VGG small": CatalogEntry(
        VGG,
        "small",
        "fashion",
        options={"batch_norm": True, "dropout": 0.2},
        settings={
            "quick": Settings(epochs=1, lr=0.1),
            "laptop": Settings(epochs=5, lr=0.1),
        },
    ),
    "NiN": CatalogEntry(NiN, "imagenet", "imagenet", compared=True),
    "NiN batch norm": CatalogEntry(
        NiN,
        "imagenet",
        "imagenet",
        options={"batch_norm": True},
        explored=False,
        settings={"gpu": Settings(epochs=10, lr=0.05, size=224)},
    ),
    "NiN for CIFAR-10": CatalogEntry(NiN, "cifar", "cifar"),
    "NiN small": CatalogEntry(
        NiN,
        "small",
        "fashion",
        options={"batch_norm": True},
        settings={
            "quick": Settings(epochs=1, lr=0.1),
            "laptop": Settings(epochs=4, lr=0.1),
        },
    ),
    "GoogLeNet": CatalogEntry(
        GoogLeNet,
        "paper",
        "imagenet",
        accuracy="googlenet",
        compared=True,
        settings={"gpu": Settings(epochs=10, lr=0.01, size=96)},
    ),
    "GoogLeNet of torchvision": CatalogEntry(
        GoogLeNet, "torchvision", "imagenet", torchvision="googlenet"
    ),
    "GoogLeNet small": CatalogEntry(
        GoogLeNet,
        "small",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.2),
            "laptop": Settings(epochs=4, lr=0.2),
        },
    ),
    "ResNet-18": CatalogEntry(
        ResNet,
        18,
        "imagenet",
        torchvision="resnet18",
        compared=True,
        settings={"gpu": Settings(epochs=10, lr=0.1, size=96)},
    ),
    "ResNet-34": CatalogEntry(
        ResNet, 34, "imagenet", torchvision="resnet34", compared=True
    ),
    "ResNet-50": CatalogEntry(
        ResNet, 50, "imagenet", torchvision="resnet50", compared=True
    ),
    "ResNet-50 of the paper": CatalogEntry(
        ResNet, 50, "imagenet", options={"stride_in": "1x1"}
    ),
    "ResNet-101": CatalogEntry(
        ResNet, 101, "imagenet", torchvision="resnet101", compared=True
    ),
    "ResNet-152": CatalogEntry(
        ResNet, 152, "imagenet", torchvision="resnet152", compared=True
    ),
    "ResNet-20 for CIFAR-10": CatalogEntry(
        ResNet,
        "cifar-20",
        "cifar",
        settings={"gpu": Settings(epochs=10, lr=0.1, size=32)},
    ),
    "ResNet-56 for CIFAR-10": CatalogEntry(
        ResNet,
        "cifar-56",
        "cifar",
        explored=False,
        settings={"gpu": Settings(epochs=10, lr=0.1, size=32)},
    ),
    "ResNet small": CatalogEntry(
        ResNet,
        "small",
        "fashion",
        settings={
            "quick": Settings(epochs=1, lr=0.2),
            "laptop": Settings(epochs=4, lr=0.2),
        },
    ),
    "ResNet small-20": CatalogEntry(
        ResNet,
        "small-20",
        "fashion",
        explored=False,
        settings={
            "quick": Settings(epochs=2, lr=0.05, batch_size=50),
            "laptop": Settings(epochs=1, lr=0.1),
        },
    ),
    "ResNet small-44": CatalogEntry(
        ResNet,
        "small-44",
        "fashion",
        explored=False,
        settings={
            "quick": Settings(epochs=2, lr=0.05, batch_size=50),
            "laptop": Settings(epochs=1, lr=0.1),
        },
    ),
}
