"""The one list of networks: what it says of each is so, and whoever lists networks
reads it.
"""

import ast
import re
from pathlib import Path

import pytest
import torch
import torchvision

import course_lib
from course_lib import Network, summarize
from course_lib.arguments import DATA
from course_lib.catalog import FAMILIES, LATER, NETWORKS, SIZES
from course_lib.efficientnet import EfficientNetLite0
from course_lib.pages.cheatsheet import IDEAS
from tests.parity import sized

ROOT = Path(__file__).parents[1]
each_network = pytest.mark.parametrize("name", sized(NETWORKS))


def meta(entry, **options):
    with torch.device("meta"):
        return entry.build(**options)


@each_network
def test_it_takes_its_images_and_tells_its_classes_apart(name):
    entry = NETWORKS[name]
    net = meta(entry).eval()
    y = net(torch.empty(2, *entry.input_size, device="meta"))
    assert y.shape == (2, entry.num_classes)
    assert isinstance(net, entry.family.network)


@each_network
def test_its_classes_and_channels_can_be_others(name):
    entry = NETWORKS[name]
    net = meta(entry, num_classes=7, in_channels=2).eval()
    x = torch.empty(2, 2, *entry.input_size[1:], device="meta")
    assert net(x).shape == (2, 7)


@pytest.mark.parametrize("name", sized(n for n, e in NETWORKS.items() if e.torchvision))
def test_torchvision_has_it(name):
    entry = NETWORKS[name]
    more = {"init_weights": False} if entry.torchvision == "googlenet" else {}
    with torch.device("meta"):
        theirs = torchvision.models.get_model(entry.torchvision, **more)
    skipped = () if entry.options.get("aux") else ("aux1.", "aux2.")
    shapes = [
        value.shape
        for key, value in theirs.state_dict().items()
        if not key.startswith(skipped)
    ]
    assert [value.shape for value in meta(entry).state_dict().values()] == shapes


@pytest.mark.parametrize(
    ("name", "accuracy"), [("AlexNet", 56.522), ("VGG-16", 71.592), ("NiN", None)]
)
def test_accuracies_are_those_that_torchvision_publishes(name, accuracy):
    assert NETWORKS[name].imagenet_accuracy() == accuracy


def test_each_family_is_complete():
    both = (FAMILIES | LATER).values()
    listed = {*Network.__subclasses__()} - {EfficientNetLite0}  # has no chapter
    assert {family.network for family in both} == listed, (
        "add the class to FAMILIES or LATER in course_lib/catalog.py"
    )
    assert all(hasattr(course_lib, family.network.__name__) for family in both)
    for name, family in (FAMILIES | LATER).items():
        assert name in IDEAS, f"course_lib/pages/cheatsheet.py: IDEAS has no {name}"
        assert NETWORKS[IDEAS[name].example].family is family
    for name, family in FAMILIES.items():
        assert getattr(course_lib, name) is family.network
        example = IDEAS[name].example
        assert NETWORKS[example].compared, f"compared=True for {example}"


def test_years_and_papers_are_those_of_the_family():
    entry = NETWORKS["ResNet-152"]
    assert (entry.year, entry.paper) == (2015, "https://arxiv.org/abs/1512.03385")
    assert SIZES.keys() == DATA.keys()


def test_no_two_entries_are_the_same_network():
    built = [
        (entry.family.name, entry.variant, *sorted(entry.options.items()))
        for entry in NETWORKS.values()
    ]
    assert len(set(built)) == len(built)


def runs(text):
    """The rows of `RUNS` in a chapter's text: run -> the variants, their settings."""
    for cell in re.findall(r"^```\{code-cell\}.*?^```", text, re.DOTALL | re.MULTILINE):
        if found := re.search(r"^RUNS = \{$.*?^\}$", cell, re.DOTALL | re.MULTILINE):
            space = {"Settings": course_lib.Settings}
            exec(found[0], space)
            return space["RUNS"]
    return {}


CHAPTERS = {
    path.stem: found
    for path in sorted((ROOT / "book").glob("*.md"))
    if (found := runs(path.read_text(encoding="utf-8")))
}

#: A chapter that trains the network of another: it does so in the same way.
SHARED = {"training": "lenet"}


@pytest.mark.parametrize("chapter", sorted(SHARED))
def test_a_chapter_trains_the_network_of_another_as_that_does(chapter):
    assert CHAPTERS[chapter] == CHAPTERS[SHARED[chapter]]


@pytest.mark.parametrize("chapter", sorted(CHAPTERS.keys() - SHARED.keys()))
def test_chapters_train_as_the_catalog_says(chapter):
    for run, (variants, settings) in CHAPTERS[chapter].items():
        for variant in variants if isinstance(variants, tuple) else (variants,):
            found = [
                entry.settings[run]
                for entry in NETWORKS.values()
                if chapter_of(entry) == chapter
                and (entry.variant, run) == (variant, run)
                and run in entry.settings
            ]
            assert settings in found, (
                f"RUNS[{run!r}] of book/{chapter}.md is {settings}; course_lib/"
                f"catalog.py has {found or 'no such row'}: make the two the same"
            )


def chapter_of(entry):
    if entry.family.name in LATER:  # they share a chapter, unless one has its own
        own = entry.family.name.lower()
        return own if own in CHAPTERS else "successors"
    if "small-" in str(entry.variant) or "cifar-" in str(entry.variant):
        return "degradation"
    normalized = entry.family.name == "LeNet" and entry.options
    return "normalization" if normalized else entry.family.name.lower()


def test_every_row_of_settings_is_shown_by_a_chapter():
    """Of the chapter on later networks, which trains one of them, one of each run."""
    shown = {
        (chapter, run, variant if chapter != "successors" else None)
        for chapter, rows in CHAPTERS.items()
        if chapter not in SHARED
        for run, (variants, _) in rows.items()
        for variant in (variants if isinstance(variants, tuple) else (variants,))
    }
    listed = {
        (chapter, run, entry.variant if chapter != "successors" else None)
        for entry in NETWORKS.values()
        for chapter in (chapter_of(entry),)
        for run in entry.settings
    }
    for chapter, run, variant in listed ^ shown:
        file = (
            "book/{}.md" if (chapter, run, variant) in listed else "catalog.py for {}"
        )
        pytest.fail(
            f"add a row {run!r} of variant {variant!r} to {file.format(chapter)}, or"
            f" take it out of the other; then: make notebooks NAMES={chapter}"
        )


NAMES = sorted((n for n in NETWORKS if re.search(r"[-\d]", n)), key=len, reverse=True)
#: Who may name networks beside the catalog: placed by hand, one of each family, or a
#: few to be measured.
CHOSEN = {
    "course_lib/catalog.py",
    "course_lib/pages/cheatsheet.py",
    "tools/front.py",
    "benchmarks/fullscale.py",
}


@pytest.mark.parametrize("folder", ["course_lib", "experiments", "benchmarks", "tools"])
def test_nobody_else_lists_networks(folder):
    listed = {}
    for path in (ROOT / folder).rglob("*.py"):
        file = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        found = sorted(strings & {*NAMES})
        if len(found) > 1 and file not in CHOSEN and "/keys/" not in file:
            listed[file] = found
    assert not listed, "read NETWORKS of course_lib/catalog.py instead"


@pytest.mark.parametrize("name", ["ResNet-50", "LeNet modern"])
def test_a_summary_of_an_entry(name):
    entry = NETWORKS[name]
    parameters = {"ResNet-50": 25_557_032, "LeNet modern": 61_706}[name]
    assert summarize(meta(entry), entry.input_size).parameters == parameters
