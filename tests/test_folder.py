"""Images in folders: they are drawn alike, whoever reads them."""

import pytest
import torch
from PIL import Image

from course_lib import DataError, GoogLeNet, ResNet, Settings, fit
from course_lib.data.folder import folder
from course_lib.pretrained import NORMALIZATION


@pytest.fixture
def images(tmp_path, sample):
    """Three classes, 16 training images each, of uneven size, gray and colored."""
    for part, split, count in (
        ("train", sample.train, 16),
        ("val", sample.validation, 4),
    ):
        for label in range(3):
            where = tmp_path / part / f"class {label}"
            where.mkdir(parents=True)
            chosen = split.images[split.labels == label][:count, 0].numpy()
            for number, array in enumerate(chosen):
                image = Image.fromarray(array).resize((40 + number, 30))
                if number % 2:
                    image = image.convert("RGB")
                image.save(where / f"{number}.png")
    return tmp_path


def test_layout(images):
    data = folder(images)
    assert data.classes == ("class 0", "class 1", "class 2")
    assert (len(data.train), len(data.validation)) == (48, 12)
    assert data.test == data.validation
    x, y = next(data.train.batches(5))
    assert (x.shape, x.dtype, y.dtype) == ((5, 3, 224, 224), torch.float32, torch.int64)
    (images / "val").rename(images / "test")
    with pytest.raises(DataError, match=r"val is not there\. .* folder for each class"):
        folder(images)


def test_as_torchvision_prepares_them(images):
    """The oracle: the transforms that go with torchvision's weights."""
    from torchvision.models import ResNet18_Weights

    data = folder(images)
    prepare = ResNet18_Weights.DEFAULT.transforms()
    x, _ = next(data.validation.batches(12))
    for (path, _), ours in zip(data.validation.files, x, strict=True):
        theirs = prepare(Image.open(path).convert("RGB"))
        assert (ours - theirs).abs().max() < 0.05  # in units of a standard deviation


def test_normalized_as_the_weights_want(images):
    """The oracle: torchvision's GoogLeNet, which changes what it is given so that it
    is as its weights were trained.
    """
    from torchvision.models import GoogLeNet_Weights, googlenet

    theirs = googlenet(weights=None, init_weights=False, transform_input=True)
    data = folder(images, normalization=NORMALIZATION[GoogLeNet])
    prepare = GoogLeNet_Weights.DEFAULT.transforms()
    x, _ = next(data.test.batches(12))
    for (path, _), ours in zip(data.test.files, x, strict=True):
        image = prepare(Image.open(path).convert("RGB"))
        wanted = theirs._transform_input(image[None])[0]
        assert (ours - wanted).abs().max() < 0.05
    assert data.test.fingerprint() != folder(images).test.fingerprint()


@pytest.mark.parametrize(
    "normalization",
    [
        None,
        0.5,
        (0.5, 0.5),
        "imagenet",
        ((0.5,) * 3,),
        ((0.5,) * 3, (0.5,) * 4),
        ((0.5,) * 4, (0.5,) * 3),
        ((0.5,) * 3, (0.5, 0.0, 0.5)),
        ((0.5,) * 3, (0.5, -1, 0.5)),
        ((0.5,) * 3, (0.5, float("nan"), 0.5)),
        ((0.5,) * 3, (0.5, "x", 0.5)),
    ],
)
def test_bad_normalization(images, normalization):
    with pytest.raises(ValueError, match=r"three means and three .* got ") as error:
        folder(images, normalization=normalization)
    assert str(error.value).endswith(f"got {normalization!r}")


@pytest.mark.parametrize("workers", [0, 1])
def test_drawn_by_seed_epoch_and_image_alone(images, workers):
    whole = list(folder(images).train.batches(16, seed=1, augment=True, size=16))
    split = folder(images, workers=workers).train
    parts = [
        list(split.batches(16, seed=1, augment=True, size=16, shard=(which, 2)))
        for which in (0, 1)
    ]
    for (x, y), *pieces in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([piece[0] for piece in pieces]), x)
        assert torch.equal(torch.cat([piece[1] for piece in pieces]), y)
    other, _ = next(split.batches(16, seed=1, epoch=1, augment=True, size=16))
    assert not torch.equal(other, whole[0][0])


def test_reading_leaves_the_callers_random_numbers(images):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    next(folder(images).train.batches(4, seed=0, augment=True, size=16))
    assert torch.equal(torch.rand(3), expected)


def test_fit_takes_a_folder(images):
    torch.manual_seed(0)
    net = ResNet("small", num_classes=3, in_channels=3)
    data = folder(images)
    settings = Settings(epochs=6, lr=0.05, batch_size=16, size=28)
    history = fit(net, data, settings, progress=False)
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss


def test_fingerprint(images, tmp_path):
    """Of names, labels and some contents, wherever the folder is."""
    data = folder(images)
    known = {data.train.fingerprint(), data.validation.fingerprint()}
    assert len(known) == 2
    moved = images.rename(tmp_path.parent / f"{tmp_path.name} moved")
    data = folder(moved)
    assert {data.train.fingerprint(), data.validation.fingerprint()} == known
    assert folder(moved, workers=3).train.fingerprint() in known
    first = moved / "train" / "class 0" / "0.png"
    first.rename(first.with_name("00.png"))
    assert (renamed := folder(moved).train.fingerprint()) not in known
    first.with_name("00.png").rename(first)
    first.write_bytes(first.read_bytes() + b"0")
    assert folder(moved).train.fingerprint() not in known | {renamed}
    split = folder(moved).train
    first.unlink()
    with pytest.raises(DataError, match=r"class 0.0\.png is not an image"):
        split.fingerprint()


def test_what_is_no_image(images):
    path = images / "train" / "class 1" / "3.png"
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"class 1.3\.png is not an image"):
        list(folder(images).train.batches(48, size=16))


def test_other_classes(images):
    (images / "val" / "class 2").rename(images / "val" / "class 9")
    with pytest.raises(DataError, match="train and val differ in class 2, class 9"):
        folder(images)


@pytest.mark.parametrize(
    "bad", [{"batch_size": 0}, {"size": 0}, {"shard": (2, 2)}, {"shard": (-1, 1)}]
)
def test_bad_arguments(images, bad):
    with pytest.raises(ValueError, match=r"(batch_size|size|shard) must be"):
        next(folder(images).train.batches(**({"batch_size": 4} | bad)))
