"""Words that are the right ones in some sentences and not in others: where they stand,
to be read one by one.

    python -m tools.words                 how often each occurs, and what to ask of it
    python -m tools.words map place       where these do, each with its sentence
    python -m tools.words --names map     the same in names of the code, too

Words that are never right are the business of tests/test_words.py, which fails on them.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: What is written by hand, text and code.
WRITTEN = (
    *("README.md", "CONTRIBUTING.md", "book/*.md", "book/exercises/*.md"),
    *("book/claims.yml", "book/_static/explorer.js", "book/_static/course.css"),
    "book/_static/lab*.js",
    *("course_lib/**/*.py", "tools/**/*.py", "tools/templates/*", "experiments/*.py"),
    *("benchmarks/*.py", "proofs/*.py", "proofs/*.yml", "tests/**/*.py"),
)
#: What is made by executing.
EXECUTED = "book/*.ipynb"

#: Word -> when it is right, and what else may be meant.
ASK = {
    "body": "of a loop or a page; else the residual branch",
    "card": "of a stage in a drawing; else the GPU",
    "deviation": "say standard deviation",
    "drawn": "at random, or in a figure; weights are initialized",
    "field": "of a record; else the receptive field",
    "guess": "of a reader; of a network it is a prediction",
    "hand": "by hand; else outputs, passes",
    "instrument": "else a visualization or attribution method",
    "keep": "say what is kept where; for backward it is saved",
    "look": "of readers; a layer has a receptive field, depends on, receives",
    "map": "feature map, class map, occlusion map, channel: say which",
    "mean": "a statistic or a meaning; a layer is average pooling",
    "maximum": "a statistic; a layer is max pooling",
    "names": "of things; a network classifies",
    "net": "only inside a name; in a sentence it is a network",
    "number": "value, activation, parameter, weight: say which",
    "operation": "of PyTorch; work is counted in MACs",
    "pass": "forward and backward pass; over all data it is an epoch",
    "place": "position; 'in the place of' is instead of",
    "price": "cost",
    "sees": "receives as input, depends on, has a receptive field of",
    "silent": "zero, ablated, zeroed out",
    "step": "of training, an update; its length is the learning rate",
    "stored": "in a file; for backward it is saved",
    "told": "of people and programs; a gradient is large or small",
    "way": "path, branch, or the way of doing something",
    "window": "kernel, receptive field, sliding window: say which",
    "work": "of people; of networks MACs",
}

#: The other forms of those that do more than take an s.
FORMS = {
    "body": "body|bodies",
    "keep": "keeps?|kept|keeping",
    "look": "looks?|looked|looking",
    "hand": "hands?|handed|handing",
    "maximum": "maximum|maxima",
    "mean": "means?",
    "names": "names|named",
    "operation": "operations?|multiplications?",
    "pass": "pass|passes",
    "price": "prices?|bills?|bought|buys?|pays?|paid",
    "sees": "sees?|seen|saw|seeing",
    "silent": "silen(?:t|ce[sd]?)|speaks?|quiet\\w*",
    "told": "tells?|told",
}


def pattern(word: str) -> re.Pattern[str]:
    """What finds `word` in all its forms, also as a part of an identifier."""
    forms = FORMS.get(word, rf"{re.escape(word)}s?")
    return re.compile(rf"(?<![a-z])(?:{forms})(?![a-z])", re.IGNORECASE)


def written(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Files by their path, with their texts."""
    for each in WRITTEN:
        for path in sorted(root.glob(each)):
            if path.is_file():
                yield path.relative_to(root).as_posix(), path.read_text("utf-8")


def prose(name: str, text: str) -> str:
    """A text in which only prose is left: of Python, strings and comments. Lines stay
    where they are.
    """

    def blank(code: str) -> str:
        kept = (
            r"(\"{3}[\s\S]*?\"{3}|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|#[^\n]*)"
        )
        parts = re.split(kept, code)
        parts[::2] = [re.sub(r"[^\n]+", " ", part) for part in parts[::2]]
        return "".join(parts)

    if name.endswith(".md"):
        cells = r"(?ms)^```\{code-cell.*?^```$"
        return re.sub(cells, lambda cell: blank(cell[0]), text)
    return blank(text) if name.endswith((".py", ".py.txt")) else text


def printed(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """What the notebooks print, cell by cell; cells that show code of the library print
    what is written there.
    """
    for path in sorted(root.glob(EXECUTED)):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if re.search(r"\bshow\(", "".join(cell["source"])):
                continue
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                words = [output.get("text", ""), data.get("text/plain", "")]
                html = "".join(data.get("text/html", ""))
                words.append(re.sub(r"(?s)<style.*?</style>|<[^>]*>", " ", html))
                name = f"{path.relative_to(root).as_posix()}, cell {cell['id']}"
                yield name, "\n".join("".join(each) for each in words)


def sentence(text: str, start: int, end: int) -> str:
    """The sentence around a part of `text`, or the line of code, in one line."""
    ends = r"\n\s*\n|\n\s*#? {2,}|(?<=[.!?:])\s+|\"\"\"|```"
    before = re.split(ends, text[max(start - 160, 0) : start])
    after = re.split(ends, text[end : end + 160])
    return " ".join(f"{before[-1]}{text[start:end]}{after[0]}".split())


def main() -> None:
    """Print the hits of the words asked for, or the counts of all."""
    parser = argparse.ArgumentParser(prog="python -m tools.words")
    parser.add_argument("words", nargs="*", metavar="WORD", help=", ".join(ASK))
    parser.add_argument("--names", action="store_true", help="of the code, too")
    options = parser.parse_args()
    asked = options.words
    texts = [
        (name, text if options.names else prose(name, text)) for name, text in written()
    ]
    for word in asked or ASK:
        hits = [
            (name, text, hit)
            for name, text in texts
            for hit in pattern(word).finditer(text)
        ]
        print(f"{word:<12}{len(hits):>5}  {ASK.get(word, '')}")
        for name, text, hit in hits if asked else []:
            line = text.count("\n", 0, hit.start()) + 1
            print(f"  {name}:{line}: {sentence(text, *hit.span())}")


if __name__ == "__main__":
    main()
