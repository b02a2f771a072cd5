"""Fine-tuning: a network that was trained on photographs learns clothes from 50 images
a class, beside the same network from scratch.

    python -m experiments.transfer

The images are Fashion-MNIST's, enlarged to 64 by 64 pixels, with three equal channels.
All of it in float32 with channels last, which is faster than bfloat16 for depthwise
convolutions here. "head" trains a new classifier on the features of the body, which
stays as it is; "fine-tuned" trains all weights, from the trained body on; "scratch"
trains all of them as long, from He (Kaiming) initialization. Accuracies are of the
first 2,000 test images.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import FashionMNIST, Settings, Split, evaluate, fashion_mnist, fit
from course_lib.data.fashion import MEAN, STD
from course_lib.efficientnet import EfficientNetLite0, load_lite0, normalize_lite0
from course_lib.training.runtime import Runtime
from experiments.record import Experiment, Row, main

SEEDS = 3
PER_CLASS = 50
SIZE = 64
TESTED = 2_000

#: Kind of training -> its settings. Of the learning rates that were tried once on other
#: images (0.01, 0.02 and 0.05; 0.05 and 0.2), these did best.
KINDS = {
    "fine-tuned": Settings(epochs=10, lr=0.02, batch_size=50, size=SIZE),
    "scratch": Settings(epochs=10, lr=0.05, batch_size=50, size=SIZE),
}


RUNTIME = Runtime(torch.device("cpu"), torch.float32, torch.channels_last)


class Colored(nn.Module):
    """Gray images, normalized for Fashion-MNIST, as EfficientNet-Lite0 wants them.

    Shape: (N, 1, H, W) -> (N, 3, H, W).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Back to pixels, three channels, and the other normalization."""
        return normalize_lite0(255 * (x * STD + MEAN)).expand(-1, 3, -1, -1)


def few(data: FashionMNIST, seed: int) -> FashionMNIST:
    """`PER_CLASS` random training images of each class, the first `TESTED` test images,
    and a few for validation, by which nothing is chosen here.
    """
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.train), generator=random)
    labels = data.train.labels[order]
    chosen = torch.cat([order[labels == label][:PER_CLASS] for label in range(10)])
    train = Split(data.train.images[chosen], data.train.labels[chosen])
    part = Split(data.validation.images[:50], data.validation.labels[:50])
    test = Split(data.test.images[:TESTED], data.test.labels[:TESTED])
    return replace(data, train=train, validation=part, test=test)


def pretrained() -> EfficientNetLite0:
    """The trained body, and a new head for ten classes."""
    net = EfficientNetLite0(num_classes=10)
    load_lite0(net)
    return net


def features(body: nn.Module, split: Split) -> Tensor:
    """What the head receives, for each image."""
    with torch.inference_mode():
        parts = [body(x) for x, _ in split.batches(500, size=SIZE)]
    return torch.cat(parts)


def head_only(data: FashionMNIST) -> float:
    """The test accuracy of a linear classifier on the features of the trained body."""
    net = nn.Sequential(Colored(), *pretrained()[:-1], nn.AdaptiveAvgPool2d(1))
    body = nn.Sequential(net, nn.Flatten()).eval()
    x, y = features(body, data.train).clone(), data.train.labels
    head = nn.Linear(x.shape[1], 10)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(head(x), y).backward()
        optimizer.step()
    with torch.inference_mode():
        predicted = head(features(body, data.test)).argmax(dim=1)
    return (predicted == data.test.labels).float().mean().item()


def measure(key: Row) -> Row:
    """Train in one way, from one seed, which draws the images as well."""
    seed = int(key["seed"])
    data = few(fashion_mnist(), seed)
    torch.manual_seed(seed)
    if key["kind"] == "head":
        return {"test_accuracy": f"{head_only(data):.4f}", "train_accuracy": ""}
    net = (
        pretrained()
        if key["kind"] == "fine-tuned"
        else EfficientNetLite0(num_classes=10)
    )
    whole = nn.Sequential(Colored(), net)
    settings = replace(KINDS[key["kind"]], seed=seed)
    history = fit(whole, data, settings, runtime=RUNTIME, progress=False)
    assert history.test is not None
    seen = evaluate(whole, data.train, size=SIZE, runtime=RUNTIME)
    return {
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "train_accuracy": f"{seen.accuracy:.4f}",
    }


EXPERIMENT = Experiment(
    table="transfer",
    keys=[
        {"kind": kind, "seed": str(seed)}
        for kind in ("head", *KINDS)
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
