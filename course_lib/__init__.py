"""Block by Block: convolutional networks from LeNet to ResNet, one module a chapter."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from course_lib.alexnet import AlexNet
from course_lib.attribution import deconvnet, occlusion
from course_lib.blocks import Network, conv_bn, conv_bn_relu, he_init
from course_lib.convnext import ConvNeXt
from course_lib.data import DataError, FashionMNIST, Split, fashion_mnist
from course_lib.densenet import DenseNet
from course_lib.googlenet import GoogLeNet, Inception
from course_lib.lenet import LeNet
from course_lib.mobilenet import MobileNet
from course_lib.nin import NiN, nin_block
from course_lib.pages.results import recorded
from course_lib.pages.source import show
from course_lib.plotting import plot_seeds, show_images, style
from course_lib.pretrained import download_torchvision, load_torchvision
from course_lib.regnet import RegNet
from course_lib.resnet import Residual, ResNet, basic_block, bottleneck
from course_lib.training.errors import TrainingError
from course_lib.training.history import History, Score
from course_lib.training.loop import evaluate, fit
from course_lib.training.runtime import Runtime, runtime
from course_lib.training.settings import Settings
from course_lib.vgg import VGG, vgg_block
from course_lib.zfnet import ZFNet

if TYPE_CHECKING:
    from course_lib.diagram import Drawing, draw, draw_side_by_side
    from course_lib.summary import Summary, count_parameters, summarize

__all__ = [
    "VGG",
    "AlexNet",
    "ConvNeXt",
    "DataError",
    "DenseNet",
    "Drawing",
    "FashionMNIST",
    "GoogLeNet",
    "History",
    "Inception",
    "LeNet",
    "MobileNet",
    "Network",
    "NiN",
    "RegNet",
    "ResNet",
    "Residual",
    "Runtime",
    "Score",
    "Settings",
    "Split",
    "Summary",
    "TrainingError",
    "ZFNet",
    "basic_block",
    "bottleneck",
    "conv_bn",
    "conv_bn_relu",
    "count_parameters",
    "deconvnet",
    "download_torchvision",
    "draw",
    "draw_side_by_side",
    "evaluate",
    "fashion_mnist",
    "fit",
    "he_init",
    "load_torchvision",
    "nin_block",
    "occlusion",
    "plot_seeds",
    "recorded",
    "runtime",
    "show",
    "show_images",
    "style",
    "summarize",
    "vgg_block",
]


def __getattr__(name: str) -> Any:
    """Import the X-ray and the drawings when they are first used: they take longer than
    all the rest.
    """
    if name in __all__:
        counted = ("Summary", "count_parameters", "summarize")
        module = "summary" if name in counted else "diagram"
        return getattr(import_module(f"course_lib.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
