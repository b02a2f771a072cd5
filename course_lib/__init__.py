"""Block by Block: convolutional networks from LeNet to ResNet, one module a chapter."""

from course_lib.blocks import Network, conv_bn, conv_bn_relu, he_init
from course_lib.data import DataError, FashionMNIST, Split, fashion_mnist
from course_lib.lenet import LeNet
from course_lib.plotting import show_images, style
from course_lib.resnet import Residual, ResNet, basic_block, bottleneck
from course_lib.runtime import Runtime, runtime
from course_lib.source import show
from course_lib.summary import Summary, count_parameters, summarize
from course_lib.training import History, Score, TrainingError, evaluate, fit

__all__ = [
    "DataError",
    "FashionMNIST",
    "History",
    "LeNet",
    "Network",
    "ResNet",
    "Residual",
    "Runtime",
    "Score",
    "Split",
    "Summary",
    "TrainingError",
    "basic_block",
    "bottleneck",
    "conv_bn",
    "conv_bn_relu",
    "count_parameters",
    "evaluate",
    "fashion_mnist",
    "fit",
    "he_init",
    "runtime",
    "show",
    "show_images",
    "style",
    "summarize",
]
