"""What the page computes is what PyTorch computes. Its script runs here, in an engine
for JavaScript that comes as a package; tests/browser/suite.py opens the page, and
compares it with the outputs that stand in tests/browser/convolution.json.
"""

import json
import re
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from py_mini_racer import MiniRacer

from course_lib.convolution import output_size
from course_lib.pages import playground
from course_lib.pages.playground import IMAGES, KERNELS, Playground

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "book/_static/convolution.js"
FIXTURE = ROOT / "tests/browser/convolution.json"

#: What the browser chooses on the page, and then compares: image, kernel of each output
#: channel, input channels, and the settings.
CHOICES = [
    ("a boot", ["vertical edges"], 1, {"padding": 0, "stride": 1, "dilation": 1}),
    ("a boot", ["sharpen"], 3, {"padding": 1, "stride": 2, "dilation": 1}),
    (
        "a ramp",
        ["blur", "horizontal edges"],
        2,
        {"padding": 2, "stride": 1, "dilation": 2},
    ),
    (
        "one pixel",
        ["all edges", "horizontal edges", "blur"],
        3,
        {"padding": 1, "stride": 3, "dilation": 1},
    ),
]


@pytest.fixture(scope="module")
def call():
    """Call a function of the script."""
    with MiniRacer() as engine:
        engine.eval(SCRIPT.read_text(encoding="utf-8"))

        def call(function, *arguments):
            text = ", ".join(map(json.dumps, arguments))
            return json.loads(engine.eval(f"JSON.stringify({function}({text}))"))

        yield call


def by_pytorch(x, weight, settings):
    x, weight = (torch.tensor(each, dtype=torch.float64) for each in (x, weight))
    return F.conv2d(x[None], weight, **settings)[0].tolist()


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "padding", "stride", "dilation"),
    [
        (inputs, outputs, size, padding, stride, dilation)
        for (inputs, outputs) in ((1, 1), (2, 3), (3, 2))
        for size in (1, 2, 3)
        for padding, stride, dilation in product((0, 1, 2), (1, 2, 3), (1, 2, 3))
    ],
)
def test_it_computes_what_pytorch_computes(
    call, inputs, outputs, size, padding, stride, dilation
):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(inputs, 7, 8, generator=random, dtype=torch.float64).tolist()
    shape = outputs, inputs, size, size
    weight = torch.randn(shape, generator=random, dtype=torch.float64).tolist()
    settings = {"padding": padding, "stride": stride, "dilation": dilation}
    found = torch.tensor(call("convolution", x, weight, settings))
    expected = torch.tensor(by_pytorch(x, weight, settings))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_sizes(call):
    for n, k, p, s, d in product((3, 7, 8), (1, 3), (0, 1, 2), (1, 2, 3), (1, 2, 3)):
        settings = {"padding": p, "stride": s, "dilation": d}
        try:
            expected = output_size(n, k, s, p, d)
        except ValueError:
            expected = 0
        assert call("convolution.size", n, k, settings) == expected


def test_a_kernel_that_does_not_fit_has_no_output(call):
    settings = {"padding": 0, "stride": 1, "dilation": 3}
    assert call("convolution", [[[1, 2], [3, 4]]], [[[[1, 2], [3, 4]]]], settings) == [
        []
    ]


def test_the_terms_are_the_products_of_the_output(call):
    """Each weight once, with the pixel that lies under it."""
    x, weight = IMAGES["a boot"][:2], [KERNELS["sharpen"], KERNELS["vertical edges"]]
    settings = {"padding": 1, "stride": 2, "dilation": 2}
    terms = call("convolution.terms", x, weight, 1, 2, settings)
    assert [term["weight"] for term in terms] == [
        each for kernel in weight for row in kernel for each in row
    ]
    padded = F.pad(torch.tensor(x), (1, 1, 1, 1))
    for term in terms:
        place = term["channel"], term["row"] + 1, term["column"] + 1
        assert term["value"] == padded[place]
    total = sum(term["weight"] * term["value"] for term in terms)
    assert total == by_pytorch(x, [weight], settings)[0][1][2]


def test_what_it_opens_with():
    for channels in IMAGES.values():
        assert torch.tensor(channels).shape == (3, 7, 7)
    for kernel in KERNELS.values():
        assert torch.tensor(kernel).shape == (3, 3)
    assert next(iter(IMAGES)) == "a boot"
    sums = {name: torch.tensor(kernel).sum().item() for name, kernel in KERNELS.items()}
    assert sums == pytest.approx(
        {
            "vertical edges": 0,
            "horizontal edges": 0,
            "blur": 1,
            "identity": 1,
            "sharpen": 1,
            "all edges": 0,
        }
    )


def test_the_drawing():
    """Its numbers are those of PyTorch, in its boxes and in the product."""
    shown = Playground()
    image = torch.tensor(IMAGES["a boot"][0])
    kernel = torch.tensor(KERNELS["vertical edges"])
    output = F.conv2d(image[None, None].double(), kernel[None, None].double())[0, 0]
    texts = re.findall(r"<text[^>]*>([^<]*)<", shown.svg())
    numbers = [
        int(text.replace("\N{MINUS SIGN}", "-"))
        for text in texts
        if re.fullmatch(r"\N{MINUS SIGN}?\d+", text)
    ]
    expected = [*image.flatten().tolist(), *kernel.flatten().tolist()]
    expected += output.flatten().int().tolist()
    assert numbers == expected
    line = " ".join(shown.products()).replace("\N{MINUS SIGN}", "-")
    product_, result = line.split(" = ")
    assert eval(product_.replace("\N{MULTIPLICATION SIGN}", "*")) == int(result)
    assert int(result) == output[playground.ROW, playground.COLUMN]
    assert shown.svg().count('fill="#0072b2"') == 9 + 9 + 1


def test_what_the_script_reads():
    html = Playground()._repr_html_()
    data = dict(re.findall(r"data-(\w+)='([^']*)'", html))
    assert json.loads(data["images"]) == IMAGES
    assert json.loads(data["kernels"]) == KERNELS
    assert data["kernel"] in KERNELS
    assert json.loads(data["at"]) == [playground.ROW, playground.COLUMN]
    assert "<svg" in html
    assert repr(Playground()) == "Playground with 3 images and 6 kernels"


def test_the_script_is_small():
    assert SCRIPT.stat().st_size < 15_500


def test_the_browser_compares_with_pytorch():
    """`python tests/test_pages_playground.py` writes the file anew."""
    assert json.loads(FIXTURE.read_text(encoding="utf-8")) == fixture()


def fixture():
    cases = []
    for image, kernels, inputs, settings in CHOICES:
        x = IMAGES[image][:inputs]
        weight = [[KERNELS[name]] * inputs for name in kernels]
        output = torch.tensor(by_pytorch(x, weight, settings)).double()
        cases.append(
            {
                "image": image,
                "kernels": kernels,
                "inputs": inputs,
                **settings,
                "output": [
                    [[round(value, 6) for value in row] for row in channel]
                    for channel in output.tolist()
                ],
            }
        )
    return cases


if __name__ == "__main__":
    text = json.dumps(fixture(), separators=(",", ":")).replace("},{", "},\n{")
    FIXTURE.write_text(text + "\n", encoding="utf-8")
