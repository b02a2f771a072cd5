"""The GPU that is not there gives the errors of one that is, and nothing else.

In a process of its own: once there is a GPU, it stays until Python ends.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proofs.common import NBVAL, copy_tree

ROOT = Path(__file__).parents[1]

BEGIN = """\
import copy
import torch
from torch import nn
here = torch.arange(12.0).view(3, 4)
there = here.to("cuda")
net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).to(there.device)
"""

ON_THE_CARD = [
    "there",
    "there + there",
    "there + 1",
    "there + torch.tensor(1.0)",
    "there[:2]",
    "there[torch.tensor([0])]",
    "there.split(2)[1]",
    "next(iter(there))",
    "there.sum()",
    "there.detach()",
    "here.cuda()",
    "torch.zeros(3, device='cuda:0')",
    "torch.zeros(3, device=there.device)",
    "torch.zeros_like(there)",
    "there.new_zeros(3)",
    "copy.deepcopy(there)",
    "nn.Parameter(there)",
    "there.double()",
    "here.to(there)",
    "here.type_as(there)",
    "torch.as_tensor(here, device='cuda')",
    "here.pin_memory().to('cuda', non_blocking=True)",
    "nn.Linear(4, 4, device='cuda').weight",
    "net(there)",
    "net[0].weight",
    "net[1].running_mean",
    "copy.deepcopy(net)[0].weight",
    "net.state_dict()['0.bias']",
    "torch.autograd.grad(net(there).sum(), net[0].weight)[0]",
    "torch.func.vjp(net[0], there)[0]",
    "torch.func.vjp(net[0], there)[1](there)[0]",
    "torch.func.grad(lambda x: net[0](x).sum())(there)",
    "torch.func.vmap(torch.sin)(there)",
]

NOT_THERE = [
    "here",
    "here.to('cpu')",
    "there.cpu()",
    "there.to('cpu') + here",
    "torch.zeros_like(there, device='cpu')",
    "there.to('meta')",
    "here.double()",
    "there.to(here)",
    "here.pin_memory()",
    "torch.from_numpy(there.numpy(force=True))",
    "torch.tensor(there.tolist())",
    "here.copy_(there)",
    "nn.Linear(4, 4).weight",
    "copy.deepcopy(net).cpu()[0].weight",
]

ERRORS = {
    "here + there": "RuntimeError: Expected all tensors to be on the same device",
    "torch.cat([here, there])": "RuntimeError: Expected all tensors",
    "net(here)": "RuntimeError: Expected all tensors",
    "here[there.argmax(1)]": "RuntimeError: Expected all tensors",
    "torch.equal(here, there)": "RuntimeError: Expected all tensors",
    "torch.testing.assert_close(here, there)": "AssertionError",
    "there.numpy()": "TypeError: can't convert cuda:0 device type tensor to numpy",
    "__import__('numpy').asarray(there)": "TypeError: can't convert cuda:0",
    "__import__('numpy').from_dlpack(there)": "TypeError: can't convert cuda:0",
    "here.add_(there)": "RuntimeError: Expected all tensors",
    "torch.zeros(()).add_(there.sum())": "RuntimeError: Expected all tensors",
    "torch.stack([there[0, 0], here[0, 0]])": "RuntimeError: Expected all tensors",
    "torch.rand(3, device='cuda', generator=torch.Generator())": (
        "RuntimeError: Expected a 'cuda' device type for generator"
    ),
    "there.pin_memory()": "RuntimeError: cannot pin 'torch.cuda.FloatTensor'",
}


WHERE = f"""\
for x in {[*ON_THE_CARD, *NOT_THERE]!r}:
    print(eval(x).device.type)
"""

WRONG = f"""\
for x in {[*ERRORS]!r}:
    try:
        eval(x)
        print("none")
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[0], sep=": ")
"""

STEP = """\
other = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
other.load_state_dict(net.state_dict())
for fused in (False, True):
    for each, x in ((net, there), (other, here)):
        step = torch.optim.SGD(each.parameters(), 0.1, momentum=0.9, fused=fused)
        for _ in range(3):
            step.zero_grad()
            each(x).square().sum().backward()
            step.step()
    pairs = zip(net.parameters(), other.parameters())
    print(all(torch.equal(a.cpu(), b) for a, b in pairs))
    print({p.grad.device.type for p in net.parameters()})
"""

HOOKS = """\
from course_lib.degradation import watch_gradients
import numpy
norms, gradients, weight = watch_gradients(net), [], net[0].weight
weight.register_hook(gradients.append)
weight.register_post_accumulate_grad_hook(lambda x: gradients.append(x.grad.norm()))
net[0].register_full_backward_hook(lambda *three: gradients.append(three[2][0]))
net(there).square().sum().backward()
print({x.device.type for x in gradients}, norms["0"][0].device.type)
for each in gradients:
    try:
        numpy.asarray(each)
    except TypeError as error:
        print(error)
torch.autograd.grad(net(there).sum(), weight)
print(len(gradients), gradients[-1].is_cuda)
"""

ADAM = """\
for each, x in ((net, there), (copy.deepcopy(net).cpu(), here)):
    step = torch.optim.Adam(each.parameters(), 0.1)
    each(x).square().sum().backward()
    step.step()
    print(each[0].weight.device.type, bool(each[0].weight.grad.any()))
"""

RANDOM = """\
torch.manual_seed(0)
before = torch.rand(2)
torch.manual_seed(0)
with torch.random.fork_rng():
    torch.rand(5, device="cuda")
with torch.random.fork_rng({there.device.index}):
    torch.rand(5)
print(torch.equal(before, torch.rand(2)))
"""

COURSE = "import course_lib\nprint(course_lib.runtime(), repr(there[0, :1]))"

CHECK = """\
from course_lib.checks import check
device = there.device
def size(pixels, kernel_size, stride, padding):
    assert isinstance(net[0].weight, nn.Parameter)
    zero = net[0].weight.new_zeros(()).int() + there[0, 0].int()
    found = (pixels + 2 * padding - kernel_size) // stride + 1
    return torch.tensor(found, device=device) + zero
print(check("convolution.output_size", size))
check.close()
"""

ATTRIBUTION = """
from course_lib import attribution
layers = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
net = nn.Sequential(*layers, nn.Linear(2, 3)).to("cuda")
for each in net.parameters():
    nn.init.ones_(each)  # so that no map is all zero
x = torch.rand(2, 1, 8, 8).to("cuda")
more = {"cam": ("1",), "grad_cam": ("1",)}
for name, each in vars(attribution).items():
    returns = getattr(each, "__annotations__", {}).get("return")
    if returns == "Tensor" and not name.startswith("_"):
        if name == "deconvnet":
            made = each(net, x, "1")
        elif name == "occlusion":
            made = each(net, x[:1], 1, size=4, stride=2)
        else:
            made = each(net, x, torch.tensor([2, 0]), *more.get(name, ()))
        print(name, made.device.type, bool(made.abs().sum() > 0))
"""

PROGRAMS = (WHERE, WRONG, STEP, HOOKS, ADAM, RANDOM, COURSE, CHECK, ATTRIBUTION)

#: Runs each of these programs as if it were alone, after `BEGIN`.
ALL = f"""\
import contextlib, io, json
from proofs.pretend import pretend
pretend()
found = []
for program in {PROGRAMS!r}:
    with contextlib.redirect_stdout(io.StringIO()) as file:
        exec({BEGIN!r} + program, {{}})
    found.append(file.getvalue().splitlines())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def said(counted):
    """What each program prints. There is one process, as it takes long to start."""
    command = [sys.executable, "-"]
    done = subprocess.run(
        command, input=ALL, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert not done.returncode, done.stderr
    return dict(zip(PROGRAMS, json.loads(done.stdout), strict=True))


def test_where_tensors_are(said):
    answers = dict(zip([*ON_THE_CARD, *NOT_THERE], said[WHERE], strict=True))
    assert {x for x, place in answers.items() if place == "cuda"} == {*ON_THE_CARD}
    assert answers["there.to('meta')"] == "meta"


def test_errors(said):
    for line, expected in zip(said[WRONG], ERRORS.values(), strict=True):
        assert line.startswith(expected)


def test_a_step_is_the_same_as_on_the_processor(said):
    assert said[STEP] == ["True", "{'cuda'}"] * 2


def test_hooks_see_the_card(said):
    """What they note is on the GPU, and no one may plot it there; what the library's
    notes is not.
    """
    places, *errors, after = said[HOOKS]
    assert places == "{'cuda'} cpu"
    assert len(errors) == 3
    assert all(
        each.startswith("can't convert cuda:0 device type tensor to numpy")
        for each in errors
    )
    assert after == "5 True"


def test_optimizers_that_ask_for_graphs(said):
    """Adam asks whether a graph is being recorded, on the processor as well."""
    assert said[ADAM] == ["cuda True", "cpu True"]


def test_a_state_of_the_card_is_kept_as_that_of_the_processor(said):
    assert said[RANDOM] == ["True"]


def test_the_course_takes_it(said):
    tensor = "tensor([0.], device='cuda:0')"
    assert said[COURSE] == [f"a pretended card, float16 {tensor}"]


def test_an_answer_is_judged_on_the_processor(said):
    """With a copy of what it uses of the card."""
    assert said[CHECK] == ["convolution.output_size: passed."]


def test_maps_of_attributions_are_on_the_processor(said):
    """Of every function that returns one: who plots it need not know of the card."""
    places = dict(line.split(maxsplit=1) for line in said[ATTRIBUTION])
    assert set(places.values()) == {"cpu True"}
    assert {"cam", "deconvnet", "saliency", "integrated_gradients"} <= {*places}
    assert len(places) == 8


@pytest.mark.slow
def test_cells_that_plot_what_a_hook_has_noted_are_found(tmp_path):
    """As in `test_hooks_see_the_card`: two cells of degradation failed on a real GPU,
    while `watch_gradients` left the norms there. On the sample, other numbers differ.
    """
    tree = copy_tree(tmp_path)
    library = tree / "course_lib/degradation.py"
    mended = "seen.append((weight.grad.norm() * size).cpu())"
    assert mended in library.read_text()
    before = "seen.append(weight.grad.norm() * size)"
    library.write_text(library.read_text().replace(mended, before))
    env = os.environ | {
        "FASHION_MNIST": "sample",
        "PYTHONPATH": str(tree),
        "PYTHONSTARTUP": str(tree / "proofs/pretend.py"),
    }
    command = [sys.executable, "-m", "pytest", "-q", *NBVAL, "book/degradation.ipynb"]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True)
    raised = re.findall(r"code cell (\d+): .*\n  it raised (\w+): (.{20})", done.stdout)
    assert raised == [
        ("15", "TypeError", "can't convert cuda:0"),
        ("17", "TypeError", "can't convert cuda:0"),
    ], done.stdout
