"""The words are the field's: what no paper and no documentation says, nor do we.

A word that is right in some sentences is looked up by `python -m tools.words`.
"""

import re

import pytest

from tools import words

HERE = "tests/test_words.py"

#: What a space in a phrase may be: also an end of a line in a comment or a text.
GAP = r"[\s\"'#*_>|-]+"
#: Words between two of a sentence.
WORDS = r"(?:[\w-]+,? ){0,6}"

#: Where the British spellings are listed, for the search.
GLOSSARY = "book/glossary.md"

#: What is never right (a space is a `GAP`), and what to write. A group "fine" is what
#: makes it right.
PHRASES = {
    "pictures?": "image; or figure, photograph, where one is meant",
    "full layers?": "fully connected layer",
    "full ones?|the full one": "fully connected layer",
    "towers?": "groups, of a grouped convolution",
    "(?P<fine>local )?response normali[sz]ations?": "local response normalization",
    "five guesses": "top-5 error",
    r"squash\w*": "activation function, saturating nonlinearity",
    r"hears|heard|shout\w*|loud\w*|quiete[rn]\w*": "a gradient is large, small, zero",
    f"(?:gradients?|layers?|weights?|filters?|channels?|blocks?) {WORDS}"
    "(?:is|are|was|were) (?:told|quiet)(?P<fine> apart)?": "a gradient is large, small",
    r"silenc(?:e|es|ed|ing)": "ablate, zero out",
    r"dear(?:er|est|ly)?|thrift\w*": "expensive, efficient",
    r"how many (?:[\w-]+ ){1,4}(?:has|had) (?:it|they|the|an?|this|each|one)"
    "|how many ha(?:s|ve) (?:it|they)": "how many ... does it have",
    "first weights|drawn weights|(?:glorot|he)'s (?:weights|rule)": (
        "initial weights, Xavier (Glorot) or He initialization"
    ),
    "(?:shorter|longer) steps?": "smaller, larger learning rate",
    "(?:upright|level) edges?": "vertical, horizontal edges",
    "frames? of zeros|rims? of zeros": "zero padding",
    "(?P<fine>one )?pass(?:es)? (?:over|through) (?:all )?(?:the )?"
    "(?:training )?(?:images|data)": "epoch",
    "puts? out|putting out": "outputs",
    "named wrong|wrongly named|names wrong|named photographs?": "misclassified",
    "older laptops?": "what was measured",
}

#: What is never right before "ise".
STEMS = (
    *("normal", "initial", "regular", "general", "special", "local", "serial"),
    *("optim", "minim", "maxim", "visual", "factor", "vector", "recogn", "organ"),
    *("summar", "parametr", "parameter", "quant", "penal", "emphas", "categor"),
    *("linear", "discret", "random", "standard", "symbol", "color", "util"),
)

#: British spellings, anywhere in a word, and the American ones.
SPELLINGS = {
    f"is(?:{'|'.join(f'(?<={stem}is)' for stem in STEMS)})(?:e|ing|ation)": (
        "-ize, -ization"
    ),
    "(?:colou|neighbou|behaviou|favou|honou|labou)r": "-or",
    r"analys(?:e|ed|ing)\b": "analyze",
    "centre|centring|fibre|litre": "center, centered, fiber, liter",
    "grey": "gray",
    "(?:label|model|cancel|level|travel|signal)l(?:ed(?!by)|ing)": "one l",
    r"catalogue|programmes?\b|defence|offence|licence|judgement": "as in American",
}

#: Names of the code that are never right, as they are written.
NAMES = {
    r"run_on\b": "runtime",
    r"Sights?\b": "ReceptiveWindow",
    r"(?:class|raise) Lost\b": "UnknownReceptiveField",
    r"class States\b": "FieldTracker",
    r"JOINTS\b": "JOIN_RULES",
    r"BLIND\b": "OVERWRITES_INPUT",
    r"(?:class|raise|import|except) Wrong\b": "WrongAnswer",
    r"(?:def |\.)gives\(": "expect",
    r"(?<!\w)as_it_was\b": "preserved_state",
    r"_surely\b": "_retry_through_timeout",
    r"brief\(": "short_repr",
    r"def (?:host|place|stored|agree|part|processes)\(self": (
        "prepare, to_device, param_dtype, sync_buffers, shard, world_size"
    ),
    r"\.agree\(": "sync_buffers",
    r"class (?:Row|Call|Aside|Entry|Tally|Pictures)\b": "a name that says of what",
}

#: What is quoted: where, what, and why.
QUOTED = [
    ("book/alexnet.md", '"normalised responses"', "a key of recorded rows"),
    ("book/nin.md", '"one full layer"', "a key of recorded rows"),
    ("book/nin.md", '"dropout, one full layer"', "a key of recorded rows"),
    ("book/nin.md", '"three full layers"', "a key of recorded rows"),
    ("book/degradation.md", '"plain, shorter steps"', "a key of recorded rows"),
    ("book/normalization.md", "normalisation)", "the British spelling, for the search"),
    ("experiments/alexnet.py", '"normalised responses"', "a key of recorded rows"),
    ("tests/test_workflows.py", '"cancelled"', "a function of GitHub"),
    ("experiments/degradation.py", '"plain, shorter steps"', "a key of recorded rows"),
    ("experiments/nin.py", '"one full layer"', "a key of recorded rows"),
    ("experiments/nin.py", '"dropout, one full layer"', "a key of recorded rows"),
    ("experiments/nin.py", '"three full layers"', "a key of recorded rows"),
]


def compiled(phrase):
    """A phrase as a pattern that ends where a word of an identifier does."""
    return re.compile(rf"(?:{phrase.replace(' ', GAP)})(?![^\W_])")


BANNED = {compiled(phrase): instead for phrase, instead in PHRASES.items()}
SPELLED = {re.compile(spelling): instead for spelling, instead in SPELLINGS.items()}
CALLED = {re.compile(name): instead for name, instead in NAMES.items()}


def plain(text):
    """In lower case, and camelCase as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()


def matches(text):
    """What of `text` is not the field's word, and what is."""
    lower = plain(text)
    for banned, instead in (BANNED | SPELLED).items():
        for match in banned.finditer(lower):
            if banned in BANNED and lower[match.start() - 1 : match.start()].isalnum():
                continue  # a part of another word
            if "fine" not in banned.groupindex or not match["fine"]:
                yield match, instead
    for called, instead in CALLED.items():
        for match in called.finditer(text):
            yield match, instead


def found(name, text):
    """The same of a file by its name, but what it quotes: where, and what to write."""
    quoted = [plain(phrase) for file, phrase, _ in QUOTED if file == name]
    if name == GLOSSARY:
        text = re.sub(r"\(British:\s[^)]*", lambda m: "\n" * m[0].count("\n"), text)
    for match, instead in matches(text):
        start, end, around = *match.span(), match.string
        if not any(
            around.find(phrase, max(end - len(phrase), 0), start + len(phrase)) >= 0
            for phrase in quoted
        ):
            line = around.count("\n", 0, start) + 1
            before = re.search(r"\w*$", around[max(start - 20, 0) : start])[0]
            after = re.match(r"\w*", around[end:])[0]
            word = " ".join(f"{before}{match[0]}{after}".split())
            yield f"{name}:{line}: {word!r}; write: {instead}"


TEXTS = {name: text for name, text in words.written() if name != HERE}


@pytest.mark.parametrize("name", TEXTS)
def test_written(name):
    problems = [*found(name, TEXTS[name])]
    assert not problems, "\n" + "\n".join(problems)


def test_printed():
    problems = [each for name, text in words.printed() for each in found(name, text)]
    assert not problems, "change what prints it, and `make notebooks`:\n" + "\n".join(
        problems
    )


@pytest.mark.parametrize(
    "text",
    [
        *("A picture.", "all\n    # pictures", "a full\nlayer", "first_picture = 1"),
        *("class FullLayer:", '"one full "\n    "layer"', "The Towers see all."),
        *("response normalization", "Response\nnormalisation", "it squashes"),
        *("how many parameters has it", "a gradient that no layer is told"),
        *("The first layer hears", "dearer", "normalised", "GREY", "recolouring"),
        *("fit(net, run_on=x)", "class Row(NamedTuple):", "answer.gives(1)"),
        *("on an older laptop", "ten passes over the images"),
    ],
)
def test_what_is_found(text):
    assert [*found("a.md", text)]


@pytest.mark.parametrize(
    "text",
    [
        *("An image.", "fully connected layers", "Local response\nnormalization"),
        *("they are told apart", "layers are told apart", "pip --quiet", "endear"),
        *("how many of the 64 have a bias", "normalized, gray", "the full set"),
        *("class SummaryRow:", "is_as_it_was", "promise", "exercises"),
        *("optimism, a specialist, the analysis", "one pass through all\ndata"),
    ],
)
def test_what_is_not(text):
    assert not [*found("a.md", text)]


def test_the_glossary_has_both_spellings():
    entry = "Pooling.\n  (British: normalisation,\n  grey. Chinese: x)\n  A picture."
    assert next(found("a.md", entry)).startswith("a.md:4: 'picture'")
    assert len([*found("a.md", entry)]) == 3
    (only,) = found(GLOSSARY, entry)
    assert only.startswith(f"{GLOSSARY}:4: 'picture'")


def test_where_it_is():
    assert [*found("a.md", "one\ntwo\na full\nlayer")] == [
        "a.md:3: 'full layer'; write: fully connected layer"
    ]


@pytest.mark.parametrize(("name", "phrase", "reason"), QUOTED)
def test_quotations(name, phrase, reason):
    """Each is still there, and would be found; and no more than it is allowed."""
    assert reason
    assert phrase in TEXTS[name], "take it off the list"
    assert [*found("elsewhere", phrase)], "it needs no permission"
    assert not [*found(name, phrase)]
    assert [*found(name, "a picture")]


def test_all_of_it_is_read():
    assert {"README.md", "book/lenet.md", "course_lib/lenet.py"} <= TEXTS.keys()
    assert {"book/_static/explorer.js", "tests/test_lenet.py"} <= TEXTS.keys()
    assert any("MACs" in text for _, text in words.printed())


def test_sentences():
    text = "Before. Where a\nmap is, it is. After."
    assert words.sentence(text, 16, 19) == "Where a map is, it is."


def test_prose():
    code = 'maps = 1  # a map\nf("two maps", n)'
    assert words.prose("a.py", code).split() == ["#", "a", "map", '"two', 'maps"']
    text = f"A net.\n```{{code-cell}} ipython3\n{code}\n```\nNets\n"
    left = words.prose("a.md", text)
    assert left.split() == ["A", "net.", "#", "a", "map", '"two', 'maps"', "Nets"]
    assert left.count("\n") == text.count("\n")
    assert words.prose("a.js", "maps") == "maps"


def test_the_command(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["words"])
    words.main()
    assert len(capsys.readouterr().out.splitlines()) == len(words.ASK)
    monkeypatch.setattr("sys.argv", ["words", "map"])
    words.main()
    first, *hits = capsys.readouterr().out.splitlines()
    assert int(first.split()[1]) == len(hits)
    assert all(re.match(r"  [\w/.-]+:\d+: .*map", hit, re.I) for hit in hits)
