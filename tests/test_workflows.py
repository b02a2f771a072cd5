"""What the workflows may do; zizmor and GitHub's own schema look at the rest."""

import re
from pathlib import Path

import pytest
import yaml

from tools import gpu_parts

GITHUB = Path(__file__).parents[1] / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FILES = [*WORKFLOWS, *sorted(GITHUB.glob("actions/*/action.yml"))]

#: Jobs that have to do more than read: the one that sends the book to GitHub Pages.
RIGHTS = {("publish", "pages"): {"pages": "write", "id-token": "write"}}

each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


@each
def test_no_rights_and_an_end(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    for name, job in workflow["jobs"].items():
        assert job["permissions"] == RIGHTS.get((path.stem, name), {"contents": "read"})
        assert job["timeout-minutes"] <= 120


@each
def test_nothing_of_strangers_and_no_secrets(path):
    text = path.read_text()
    assert "pull_request_target" not in text
    assert "secrets." not in text
    if "vars.GPU_RUNNER" in text:
        assert "pull_request" not in yaml.safe_load(text)[True]  # `on` is true in YAML


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name + path.stem)
def test_actions_are_named_by_commit(path):
    used = re.findall(r"uses: (.+)", path.read_text())
    for action in used:
        own = re.fullmatch(r"\$/\.github/actions/(\w+)", action)
        if own:
            assert (GITHUB / "actions" / own[1] / "action.yml").is_file()
        else:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_nothing_is_published_to_a_placeholder():
    workflow = yaml.safe_load((GITHUB / "workflows/publish.yml").read_text())
    book, pages = workflow["jobs"]["book"], workflow["jobs"]["pages"]
    look = next(step for step in book["steps"] if step.get("id") == "address")
    config = (GITHUB.parent / "_config.yml").read_text()
    pattern = re.search(r"grep --quiet '(.+)' _config.yml", look["run"])[1]
    after = book["steps"][book["steps"].index(look) + 1 :]
    assert {step["if"] for step in after} == {"steps.address.outputs.set"}
    assert pages["if"] == "needs.book.outputs.address"
    assert bool(re.search(pattern, config)) == ("/OWNER/" in config)
    assert not re.search(pattern, config.replace("/OWNER/", "/someone/"))


def test_an_action_has_one_commit():
    used = {
        use for path in FILES for use in re.findall(r"uses: (\w.+)", path.read_text())
    }
    assert len(used) == len({use.split("@")[0] for use in used})


def test_the_gpu_comes_first():
    workflow = yaml.safe_load((GITHUB / "workflows/gpu.yml").read_text())
    first, *_ = workflow["jobs"]["notebooks"]["steps"]
    assert "nvidia-smi" in first["run"]
    assert "exit 1" in first["run"]


def test_the_parts_for_the_gpu_are_there():
    """All but the notebooks, which have a step of their own."""
    workflow = (GITHUB / "workflows/gpu.yml").read_text()
    *_, after_limit = re.search(r'make gpu PARTS="(.+)"', workflow)[1].split("--limit ")
    assert after_limit.split()[1:] == [*gpu_parts.names()][1:]
    assert "make nbval" in workflow


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_expressions_call_functions_that_github_has(path):
    """`canceled()`, with one l, would only fail there."""
    known = {"always", "cancelled", "contains", "failure", "fromJSON", "hashFiles"}
    known |= {"endsWith", "format", "join", "startsWith", "success", "toJSON"}
    expressions = re.findall(r"\$\{\{(.*?)\}\}", path.read_text())
    called = {name for each in expressions for name in re.findall(r"\b(\w+)\(", each)}
    assert called <= known, f"{path.name}: GitHub has no {called - known}"
