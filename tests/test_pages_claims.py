import ast
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import nn

from course_lib import Network
from course_lib.normalization import local_response_norm
from course_lib.pages import claims, expressions
from course_lib.pages.claims import (
    MARKS,
    NETS,
    VERDICTS,
    Claim,
    evaluate_expression,
    load_claims,
)

BIBLIOGRAPHY = (Path(__file__).parents[1] / "book" / "references.bib").read_text()
LEDGER, ERRORS = load_claims(), load_claims("errors")
EVERYTHING = [*LEDGER, *ERRORS]
COMPUTED = [claim for claim in EVERYTHING if claim.expression]


@pytest.fixture(scope="module", autouse=True)
def _once():
    """A network is built once, and summarized once for each size: many claims are about
    the same network, and none changes it.
    """
    with pytest.MonkeyPatch.context() as patch:
        summarize = cache(expressions.summarize)
        patch.setattr(expressions, "summarize", summarize)
        patch.setitem(expressions.COURSE, "summarize", summarize)
        for name, entry in expressions.COURSE.items():
            if isinstance(entry, type) and issubclass(entry, Network):
                patch.setitem(expressions.COURSE, name, cache(entry))
        yield


def called(claim):
    """The names of this library that the claim's expression calls."""
    return {
        node.func.id
        for node in ast.walk(ast.parse(claim.expression, mode="eval"))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    } & expressions.COURSE.keys()


def test_every_claim_is_there():
    assert [claim.id for claim in LEDGER] == list(range(1, 125))
    assert [claim.id for claim in ERRORS] == [
        f"E{n}" for n in range(1, 1 + len(ERRORS))
    ]


@pytest.mark.parametrize("claim", EVERYTHING, ids=lambda claim: str(claim.id))
def test_every_claim_is_decided(claim):
    assert claim.verdict in VERDICTS
    assert claim.expression or claim.citation
    assert set(claim.checked) <= set(MARKS) - {"from-memory"}
    assert claim.source in LEDGER.sources
    assert bool(claim.line) == (claim in LEDGER.claims)
    assert set(claim.nets) <= set(NETS)
    for text in (claim.claim, claim.why):
        assert text[0].isupper() or text.startswith("torchvision")
        assert text.endswith(".")
    assert "page" not in " ".join(claim.citation.values())


@pytest.mark.parametrize("claim", COMPUTED, ids=lambda claim: str(claim.id))
def test_every_expression(claim):
    assert called(claim)
    got = evaluate_expression(claim.expression)
    assert got == claim.computed
    assert type(got) is type(claim.computed)


def changed(value):
    """Another value of the same kind. Ratios and comparisons of such values change too,
    and a list becomes longer.
    """
    match value:
        case bool():
            return not value
        case int():
            return (value * 7919 + 1) % 104729
        case float():
            return value + 1
        case None:
            return value
        case str():
            return value + "?"
        case torch.Tensor():
            return value + 1
        case list():
            return [changed(item) for item in (*value, value[-1])]
    items = [changed(item) for item in value]
    return type(value)(*items) if hasattr(value, "_fields") else tuple(items)


MEASURES = {
    *("count_parameters", "cost", "layers", "kernels", "receptive_field"),
    *("output_size", "local_response_norm", "max_pool2d", "cross_correlate"),
}
MEASURED = [claim for claim in COMPUTED if called(claim) & MEASURES]


@pytest.mark.parametrize("claim", MEASURED, ids=lambda claim: str(claim.id))
def test_what_is_called_matters(claim, monkeypatch):
    for name in called(claim) & MEASURES:
        real = expressions.COURSE[name]

        def other(*args, real=real, **options):
            return changed(real(*args, **options))

        with monkeypatch.context() as patch:
            patch.setitem(expressions.COURSE, name, other)
            assert evaluate_expression(claim.expression) != claim.computed


def test_enough_of_them():
    assert len(MEASURED) > 60


def test_citations_are_in_the_bibliography():
    keys = set(re.findall(r"@\w+\{([^,]+),", BIBLIOGRAPHY))
    assert LEDGER.references.keys() <= keys
    cited = {key for claim in EVERYTHING for key in claim.citation}
    assert cited == LEDGER.references.keys()
    for key, entry in LEDGER.references.items():
        assert entry["url"].startswith("https://")
        surname = re.search(rf"{{{key},\s+author\s+= {{+(\w+)", BIBLIOGRAPHY)[1]
        assert surname in entry["label"] or key in ("pytorch", "torchvision")


def complete(**changes):
    entries = {"id": 1, "source": "S0", "nets": ["VGG"], "claim": "A.", "why": "B."}
    entries |= {"verdict": "wrong", "checked": ["read"], "citation": {"he2016": "1"}}
    return Claim(**entries | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "maybe"}, "verdict must be one of right, .*; got 'maybe'"),
        ({"nets": []}, r"nets must be some of LeNet, .*; got \[\]"),
        ({"nets": ["DenseNet"]}, "nets must be some of .*DenseNet"),
        ({"citation": {}}, "it cannot be"),
        ({"citation": {}, "checked": []}, "it cannot be"),
        ({"checked": ["computed"]}, "it cannot be"),
        ({"expression": "1"}, "it cannot be"),
        ({"expression": "1", "citation": {}}, "it cannot be"),
    ],
)
def test_a_claim_that_is_not_complete(changes, message):
    assert complete()
    with pytest.raises(ValueError, match=message):
        complete(**changes)


def test_part():
    with pytest.raises(ValueError, match="'claims', 'errors'; got 'books'"):
        load_claims("books")


def test_filter():
    wrong = LEDGER.where(net="ResNet", verdict="wrong")
    assert [claim.id for claim in wrong] == [25, 26, 37, 73, 108, 124]
    assert sum(len(LEDGER.where(source=s)) for s in ("S0", "S2", "S3", "S4")) == 124
    with pytest.raises(ValueError, match="no claim with NiN and unseen"):
        LEDGER.where(net="NiN", verdict="unseen")


def test_counts():
    counts = LEDGER.verdicts()
    assert tuple(counts) == VERDICTS
    assert sum(counts.values()) == 124
    assert repr(LEDGER).startswith(f"124 claims: {counts['right']} right, ")
    assert str(LEDGER).splitlines()[25].startswith(" 26 wrong       Deeper")


class LedgerPage(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag != "input":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("ledger", [LEDGER, ERRORS], ids=["claims", "errors"])
def test_page(ledger):
    html = ledger._repr_html_()
    page = LedgerPage()
    page.feed(html)
    assert not page.open
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [a["id"] for tag, a in page.tags if tag == "li"] == [
        f"{ledger.name}-{claim.id}" for claim in ledger
    ]
    assert not re.search(r"<script|\son\w+\s*=", html)
    # Each choice has its rule, and each rule a choice.
    choices = {a["id"] for tag, a in page.tags if tag == "input"}
    rules = set(re.findall(r":has\(#([\w-]+):checked\)", html))
    assert rules == {choice for choice in choices if not choice.endswith("-all")}


def test_two_pages_in_one_document_do_not_share_names():
    assert "claims-wrong-26" in LEDGER.where(verdict="wrong")._repr_html_()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (62378344, "62,378,344"),
        ([[11, 4], 1000], "(11, 4); 1,000"),
        ({7: 1, 3: [True]}, "7: 1; 3: (yes)"),
        ([False, 28.0, "fc6"], "no; 28.0; fc6"),
    ],
)
def test_values_as_they_are_shown(value, text):
    assert claims._show(value) == text


def test_claim_e10_on_pytorch():
    """The formula of the documentation, and what PyTorch does for an even n."""
    x = torch.tensor([1.0, 2, 3, 4]).reshape(1, 4, 1, 1)
    theirs = nn.LocalResponseNorm(2, alpha=1, beta=1, k=0)(x).flatten()
    pairs = torch.tensor([1, 1 + 4, 4 + 9, 9 + 16]) / 2  # c - 1 and c, their mean
    torch.testing.assert_close(theirs, x.flatten() / pairs)
    formula = local_response_norm(x, 2, alpha=1 / 2, beta=1, k=0).flatten()
    assert not torch.allclose(theirs, formula)
