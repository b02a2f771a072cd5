"""What a check says, whatever it is given. The exercises themselves: test_exercises."""

import importlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from course_lib.checks import check, core, exercises, limits
from course_lib.checks.compare import WrongAnswer, compare, same_function
from course_lib.checks.core import Check
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.limits import time_limit
from course_lib.checks.shared import all_with, case, refuse, without_each


@pytest.fixture
def doubling(monkeypatch):
    """An exercise: double a number, or a tensor."""
    monkeypatch.setattr(exercises, "EXERCISES", registry := {})
    monkeypatch.setattr(core, "EXERCISES", registry)

    @exercise(
        "test.double", kind="implement", goal="Double.", minutes=1, first_hint="Add."
    )
    def double(answer):
        answer.expect(6, 3, mistakes=[(9, "That is the square.")])
        answer.expect(torch.ones(2, 3) * 2, torch.ones(2, 3))

    @exercise(
        "test.count", kind="predict", goal="Count.", minutes=2, first_hint="Multiply."
    )
    def count(answer):
        answer.expect(25)

    return Check()


def test_right(doubling):
    result = doubling("test.double", lambda x: 2 * x)
    assert result.passed
    assert result
    assert repr(result) == "test.double: passed."
    assert "&#10003; test.double" in result._repr_html_()


def not_started(x):
    raise NotImplementedError


def broken(x):
    y = x - 3
    return x / y


def endless(x):
    while True:
        pass


def stubborn(x):
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


class Exploding:
    def __init__(self, x):
        self.x = x[0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (not_started, ["Not started", "Hint: Add."]),
        (lambda x: x**2, ["expected 6, got 9 for 3", "Hint: That is the square."]),
        (lambda x: None, ["returns nothing for 3", "`return`"]),
        (lambda x: "6", ["returns a string for 3, where an integer is wanted"]),
        (lambda x: 2 * x if isinstance(x, int) else x.T, ["shape (2, 3), got (3, 2)"]),
        (lambda x: 2 * x if isinstance(x, int) else x + x.triu() - 0.0, ["[1, 0]"]),
        (lambda x: torch.ones(1).expand(2**30), ["takes 4.0 GiB"]),
        (lambda: 6, ["it takes ()", "leave the line with `def`"]),
        (lambda x, y: 6, ["it takes (x, y)"]),
        (6, ["a function is wanted, and this is 6"]),
        (torch.ones(2), ["this is an input of shape (2,)"]),
        ([0] * 99, ["this is [0, 0"]),
        (broken, ["ZeroDivisionError: division by zero", "`return x / y`"]),
        (Exploding, ["TypeError: 'int' object", "`self.x = x[0]`"]),
        (lambda x: exit(), ["SystemExit"]),
        (lambda x: torch.ones(1, device="meta").cpu(), ["raised NotImplementedError"]),
        (len, ["TypeError: object of type 'int' has no len()."]),
        (dict, ["TypeError: 'int' object is not iterable."]),
        (nn.Identity(), ["expected 6, got 3"]),
    ],
)
def test_wrong(doubling, answer, said):
    result = doubling("test.double", answer)
    assert not result
    text = repr(result)
    assert text.startswith("test.double: not yet. ")
    for each in said:
        assert each.lower() in text.lower()
    assert "not yet" in result._repr_html_()
    assert "<script" not in result._repr_html_()


@pytest.mark.parametrize("answer", [endless, stubborn])
def test_endless(doubling, answer, monkeypatch):
    monkeypatch.setattr(exercises, "SECONDS", 0.2)
    assert "still running" in repr(doubling("test.double", answer))


IN_A_THREAD = """
import threading, time
from course_lib.checks.limits import TimeUp, time_limit

def endless():
    while True:
        pass

def stubborn():
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue

def run(answer):
    try:
        with time_limit(0.2):
            answer()
    except TimeUp:
        print("stopped")
    for _ in range(20):  # that end just in time
        try:
            with time_limit(0.02):
                time.sleep(0.019)
        except TimeUp:
            continue
    time.sleep(0.1)  # nothing arrives later

for answer in (endless, stubborn):
    thread = threading.Thread(target=run, args=[answer])
    thread.start()
    thread.join()
print("on time")
"""


def test_endless_where_there_is_no_alarm():
    """In a process without coverage: its tracer and exceptions that come from another
    thread do not go together.
    """
    environment = {k: v for k, v in os.environ.items() if "COVERAGE" not in k}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split() == ["stopped", "stopped", "on", "time"], done.stderr


def test_interrupted(doubling):
    def interrupted(x):
        raise KeyboardInterrupt

    assert "interrupted" in repr(doubling("test.double", interrupted))


def test_an_alarm_of_somebody_else_is_kept():
    rung = []

    def ring(*_):
        rung.append(1)

    old = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 100)
        with time_limit(1):
            pass
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 90
        assert signal.getsignal(signal.SIGALRM) is ring
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert not rung


def test_an_import_is_not_cut_off(monkeypatch, tmp_path):
    slow = "import time\ntime.sleep(0.3)\nwhole = True\n"
    (tmp_path / "slow_to_import.py").write_text(slow)
    monkeypatch.syspath_prepend(tmp_path)

    @time_limit(0.1)
    def import_and_wait():
        importlib.import_module("slow_to_import")
        time.sleep(10)

    with pytest.raises(limits.TimeUp):
        import_and_wait()
    assert sys.modules["slow_to_import"].whole


def test_the_end_is_reached_even_if_the_time_is_up_in_the_middle_of_it():
    calls = []

    def end():
        calls.append(1)
        if len(calls) < 3:
            raise limits.TimeUp

    limits._retry_through_timeout(end)
    assert len(calls) == 3


def test_functions_of_c_may_have_no_signature():
    assert Answer(min)(3, 2) == 2


def test_nothing_is_left_behind(doubling):
    def messy(x):
        torch.manual_seed(1)
        random.seed(1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        if isinstance(x, torch.Tensor):
            x *= 2
            return x
        return 6

    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(2), random.random()
    torch.manual_seed(5)
    random.seed(5)
    assert doubling("test.double", messy)
    assert torch.equal(torch.rand(2), expected[0])
    assert random.random() == expected[1]
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_arguments_are_copies():
    kept = [torch.ones(2), [torch.ones(1)], {"a": torch.ones(1)}]

    def spoil(x, y, z):
        x.zero_(), y[0].zero_(), z["a"].zero_()

    Answer(spoil)(*kept)
    assert (kept[0].sum(), kept[1][0].sum(), kept[2]["a"].sum()) == (2, 1, 1)


def test_sizes():
    assert limits.size(torch.ones(3).expand(5, 3)) == 60
    assert limits.size([torch.ones(2), {"a": torch.ones(2)}, 3]) == 16
    assert limits.size(nn.Linear(2, 3)) == 36
    assert limits.size(nn.LazyLinear(3)) == 0


def test_a_prediction_is_not_given_away(doubling):
    assert doubling("test.count", lambda: 25)
    assert doubling("test.count", lambda: torch.tensor(25))
    assert "24 is too small" in repr(doubling("test.count", lambda: 24))
    assert "26.5 is too large" in repr(doubling("test.count", lambda: 26.5))
    assert "25" not in repr(doubling("test.count", lambda: 24))
    assert "True or False" in repr(doubling("test.count", lambda: True))


def test_progress(doubling):
    doubling("test.double", lambda x: 2 * x)
    doubling("test.count", lambda: 0)
    progress = doubling.progress()
    assert repr(progress) == (
        "1 of 2 passed\n"
        "[x] test.double (1 min): Double.\n"
        "[?] test.count (2 min): Count."
    )
    assert "<li>&#10007; <code>test.count</code>, 2 min" in progress._repr_html_()
    doubling.results.clear()
    assert "[ ] test.double" in repr(doubling.progress("test"))
    assert repr(doubling.progress()) == "0 of 0 passed"


@pytest.mark.parametrize("name", ["test.doubel", "tset.double", "", None, "core.x"])
def test_unknown_exercises(doubling, name):
    result = doubling(name, lambda x: x)
    assert not result.passed
    assert "there is no exercise" in repr(result)
    assert doubling.results == {}


def test_a_near_miss_is_understood(doubling):
    assert "Did you mean 'test.double'" in repr(doubling("test.doubel", len))


def test_exercises_are_named_once(doubling):
    arguments = {"goal": "", "minutes": 1, "first_hint": ""}
    with pytest.raises(ValueError, match=r"test\.double, predict"):
        exercise("test.double", kind="predict", **arguments)
    with pytest.raises(ValueError, match=r"test\.new, guess"):
        exercise("test.new", kind="guess", **arguments)


def test_the_one_that_everybody_uses():
    assert isinstance(check, Check)


# Comparing


@pytest.mark.parametrize(
    ("got", "want", "said"),
    [
        ((1, 2), (1, 3), r"expected \(1, 3\), got \(1, 2\)"),
        ([1], (1, 3), r"expected \(1, 3\), got \[1\]"),
        (1.0, 2, "expected 2, got 1.0"),
        ("ab", "cd", "expected 'cd', got 'ab'"),
        (False, True, "expected True, got False"),
        (1, True, "an integer, where True or False"),
        (nn.ReLU(), 1, "the module ReLU, where an integer"),
        ({}, [1], "a dict, where a list"),
        (torch.ones(2), 1, "a tensor, where an integer"),
        (1, torch.ones(2), "an integer, where a tensor"),
        (Exception(), 1, "an Exception, where"),
        ({"a": 1}, {"a": 2}, "expected {'a': 2}"),
        (torch.tensor(1.5), torch.tensor(2.0), "expected 2, got 1.5"),
    ],
)
def test_differences(got, want, said):
    with pytest.raises(WrongAnswer, match=said):
        compare(got, want)


def test_what_is_equal():
    compare([1, 2.0], (1, 2))
    compare(torch.Size([1, 2]), (1, 2))
    compare(torch.ones(2, dtype=torch.float64), torch.ones(2))
    compare({"a": 1}, {"a": 1})
    compare(None, None)


def test_a_secret_text():
    with pytest.raises(WrongAnswer, match="'B' is not right"):
        compare("B", "A", secret=True)


class Written(nn.Module):
    """A block with its layers in another order than they run."""

    def __init__(self, relu=True):
        super().__init__()
        self.last = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = relu

    def forward(self, x):
        y = self.first(x)
        return self.last(y.relu() if self.relu else y)


def block(*, padding=1, norm=False, act=True):
    layers = [nn.Conv2d(4, 4, 3, padding=padding)]
    layers += [nn.BatchNorm2d(4)] * norm + [nn.ReLU()] * act
    return nn.Sequential(*layers, nn.Conv2d(4, 4, 3, padding=padding))


X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_modules_that_are_the_same():
    same_function(Written(), block(), X)
    same_function(block(), Written(), X)
    net = block(norm=True).eval()
    same_function(net, block(norm=True), X)
    assert not net.training
    assert net[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (lambda: 3, "an integer, where a module"),
        (lambda: block(norm=True), "its 304 parameters are 8 more than wanted"),
        (lambda: nn.Conv2d(4, 4, 3, padding=1), "148 fewer"),
        (lambda: block(padding=0), r"shape \(2, 4, 8, 8\), got \(2, 4, 4, 4\)"),
        (lambda: Written(relu=False), "100% of the values|9[0-9]% of the values"),
        (lambda: nn.Sequential(block(), nn.Flatten(1)), r"shape .* got \(2, 256\)"),
        (
            lambda: nn.Sequential(nn.Flatten(1), block()),
            "cannot take an input of shape",
        ),
        (lambda: Sneaky(), "its output is a tuple"),
        (lambda: nn.ParameterList([torch.ones(296)]), "other shapes"),
    ],
)
def test_modules_that_are_not(got, said):
    with pytest.raises(WrongAnswer, match=said):
        same_function(got(), block(), X)


class Sneaky(Written):
    def forward(self, x):
        return super().forward(x), x


def test_known_mistakes_have_hints():
    mistakes = [
        (block(norm=True), "No normalization."),
        (block(act=False), "A ReLU between them."),
    ]
    with pytest.raises(WrongAnswer) as caught:
        same_function(block(norm=True), block(), X, mistakes=mistakes)
    assert caught.value.hint == "No normalization."
    with pytest.raises(WrongAnswer) as caught:
        same_function(Written(relu=False), block(), X, mistakes=mistakes)
    assert caught.value.hint == "A ReLU between them."


# What keys share


def test_a_case_is_named_and_a_hint_that_is_there_is_kept():
    for own, hint in (("", "Look there."), ("Look here.", "Look here.")):
        with pytest.raises(WrongAnswer) as caught, case("with 3, ", hint="Look there."):
            raise WrongAnswer("it is wrong", own)
        assert caught.value.message == "with 3, it is wrong"
        assert caught.value.hint == hint


def test_other_errors_pass_through_a_case():
    with pytest.raises(ZeroDivisionError), case("with 3, "):
        raise ZeroDivisionError


def test_what_is_refused():
    refuse(False, "it is wrong")
    refuse(torch.tensor(False), "it is wrong")
    with pytest.raises(WrongAnswer, match="it is wrong"):
        refuse(torch.tensor(True), "it is wrong")


def test_one_hint_for_several_mistakes():
    assert all_with("No.", [1, 2]) == [(1, "No."), (2, "No.")]


def test_each_relu_is_missing_once():
    conv, first, second = nn.Conv2d(1, 1, 1), nn.ReLU(), nn.ReLU()
    gaps = without_each(nn.Sequential(conv, first, second), nn.ReLU)
    assert [list(gap) for gap in gaps] == [[conv, second], [conv, first]]
