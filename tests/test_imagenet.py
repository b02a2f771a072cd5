import re

import pytest
import torch
from torchvision.models import AlexNet_Weights

from course_lib.imagenet import class_index, imagenet_classes, top_classes


def test_names_are_torchvision_s():
    names = [label.name for label in imagenet_classes()]
    assert names == AlexNet_Weights.IMAGENET1K_V1.meta["categories"]


def test_synsets_are_in_order_and_nouns():
    synsets = [label.synset for label in imagenet_classes()]
    assert synsets == sorted(set(synsets))
    assert len(synsets) == 1000
    assert all(re.fullmatch(r"n\d{8}", synset) for synset in synsets)


@pytest.mark.parametrize(
    ("synset", "name"),
    [
        ("n01440764", "tench"),  # the first
        ("n02124075", "Egyptian cat"),
        ("n02012849", "crane bird"),
        ("n03126707", "crane"),  # the machine
        ("n15075141", "toilet tissue"),  # the last
    ],
)
def test_a_class_by_its_name_and_by_its_synset(synset, name):
    index = class_index(synset)
    assert class_index(name) == index
    assert imagenet_classes()[index] == (synset, name)


def test_the_most_probable_classes():
    logits = torch.zeros(1, 1000)
    logits[0, class_index("tabby")] = 6
    logits[0, class_index("lynx")] = 5
    first, second = top_classes(logits, k=2)
    assert (first.label.name, second.label.name) == ("tabby", "lynx")
    assert first.target == 281
    assert first.probability == pytest.approx(logits.softmax(1)[0, 281].item())
    assert top_classes(logits[0])[:2] == [first, second]
    assert len(top_classes(logits)) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_index("cat"), "got 'cat'; there are oyster"),
        (lambda: class_index("xyz"), r"name must be.*ImageNet.*got 'xyz'$"),
        (lambda: top_classes(torch.zeros(2, 1000)), r"got \(2, 1000\)"),
        (lambda: top_classes(torch.zeros(10)), r"got \(10,\)"),
        (lambda: top_classes(torch.zeros(1000), 0), "k must be from 1 to 1000, got 0"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
