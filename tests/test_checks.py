"""What the judge says, whatever it is given. The exercises: test_exercises; answers
that do not end, and answers that cheat: test_checks_hostile.
"""

import io
import json
import os
import pickle
import threading
import time
import warnings
from fractions import Fraction
from functools import partial
from multiprocessing import Pipe
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from judging import alone, judged
from torch import nn

from course_lib.checks import check, core, exercises, judge, link, sandbox, wire
from course_lib.checks.core import Check
from course_lib.checks.exercises import exercise
from course_lib.checks.link import Ended, TimeUp
from course_lib.checks.report import Progress, Result


@pytest.fixture
def doubling(monkeypatch):
    """An exercise: double a number, or a tensor."""
    monkeypatch.setattr(exercises, "EXERCISES", registry := {})
    monkeypatch.setattr(judge, "EXERCISES", registry)

    @exercise(
        "test.double", kind="implement", goal="Double.", minutes=1, first_hint="Add."
    )
    def double(answer):
        answer.expect(6, 3, mistakes=[(9, "That is the square.")])
        answer.expect(torch.ones(2, 3) * 2, torch.ones(2, 3))

    @exercise(
        "test.count", kind="predict", goal="count", minutes=2, first_hint="Multiply."
    )
    def count(answer):
        answer.expect(25)

    @exercise(
        "test.mend",
        kind="repair",
        goal="see it",
        minutes=1,
        first_hint="Look.",
        banned=("convolution", "course_lib.convolution.output_size"),
        instead="Write a loop.",
    )
    def mend(answer):
        answer.expect((1, 2), [1, 2], 0.5)


def not_started(x):
    raise NotImplementedError


def broken(x):
    y = x - 3
    return x / y


class Exploding:
    def __init__(self, x):
        self.x = x[0]


class Mute(Exception):  # noqa: N818
    def __str__(self):
        raise self


def mute(x):
    raise Mute


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (not_started, ["Not started", "Hint: Add."]),
        (lambda x: x**2, ["expected 6, got 9 for `x` 3", "Hint: That is the square."]),
        (lambda x: None, ["returns nothing for `x` 3", "`return`"]),
        (lambda x: "6", ["returns a string for `x` 3, where an integer is wanted"]),
        (lambda x: 2 * x if isinstance(x, int) else x.T, ["shape (2, 3), got (3, 2)"]),
        (lambda x: 2 * x if isinstance(x, int) else x + x.triu() - 0.0, ["[1, 0]"]),
        (lambda x: torch.ones(1).expand(2**30), ["takes 4.0 GiB"]),
        (lambda: 6, ["it takes ()", "leave the line with `def`"]),
        (lambda x, y: 6, ["it takes (x, y)"]),
        (broken, ["raised ZeroDivisionError: division by zero"]),
        (Exploding, ["TypeError: 'int' object"]),
        (lambda x: exit(), ["SystemExit"]),
        (lambda x: torch.ones(1, device="meta").cpu(), ["raised NotImplementedError"]),
        (len, ["TypeError: object of type 'int' has no len()"]),
        (dict, ["TypeError: 'int' object is not iterable"]),
        (nn.Identity(), ["expected 6, got 3"]),
        (type, ["a class for number 1 3"]),
        (mute, ["raised Mute: (its text raises Mute)"]),
        (lambda x: x.mul_(2) if isinstance(x, torch.Tensor) else 2 * x, ["its arg"]),
        (lambda x: torch.ones(1, device="meta"), ["returns a tensor"]),
        (lambda x: torch.ones(()) * 6j, ["a tensor of complex numbers"]),
    ],
)
def test_wrong(doubling, answer, said):
    result = judged("test.double", answer)
    assert not result
    text = repr(result)
    assert text.startswith("test.double: not yet. ")
    for each in said:
        assert each.lower() in text.lower(), text
    assert "not yet" in result._repr_html_()
    assert "<script" not in result._repr_html_()


@pytest.mark.parametrize(
    "six", [6, 6.0, np.float32(6), np.array([6]), Fraction(6), torch.tensor([[6]])]
)
def test_right_whatever_its_type(doubling, six):
    def answer(x):
        return six if isinstance(x, int) else (2 * x).double().numpy()

    result = judged("test.double", answer)
    assert repr(result) == "test.double: passed."
    assert "&#10003; test.double" in result._repr_html_()


def test_endless(doubling):
    begun = threading.Event()

    def endless(x):
        begun.wait(1)
        return 2 * x

    try:
        said = repr(judged("test.double", endless, seconds=0.1))
    finally:
        begun.set()
    assert "still running after 0.3" in said


def test_all_calls_together_take_no_longer_than_three(doubling, monkeypatch):
    with alone(lambda: time.sleep(1), seconds=1.0) as link:
        link.load(b"", [])
        link.left = 0.0
        with pytest.raises(TimeUp):
            link.ask("call", ())


class Process:
    """One that cannot be ended."""

    def __init__(self, pid):
        self.pid = pid

    def kill(self):
        pass

    join = kill


def test_a_process_that_takes_all_memory(monkeypatch):
    here, _there = Pipe()
    monkeypatch.setattr(link, "MEMORY", 0)
    mine = link.Link(here, Process(os.getpid()), 1.0)
    assert mine._computed() > 0
    with pytest.raises(Ended, match="GiB of memory"):
        mine._look_at_memory()


def test_a_process_that_is_no_more():
    here, _there = Pipe()
    gone = link.Link(here, Process(2**22 - 1), 1.0)
    assert gone._computed() == 0.0
    gone._look_at_memory()
    gone.end()


def test_the_keys_are_closed():
    closed = sandbox._Closed()
    assert closed.find_spec("os") is None
    with pytest.raises(ImportError, match="cannot use the answer keys"):
        closed.find_spec("course_lib.checks.keys.lenet")


def test_values_in_a_few_words():
    assert exercises.short_repr(nn.ReLU()) == "a ReLU"
    assert exercises.short_repr(torch.ones(2)) == "of shape (2,)"
    assert exercises.short_repr("a") == "a"


def test_a_link_that_is_gone():
    with alone(len) as link:
        link.connection.close()
        with pytest.raises(Ended):
            link.ask("call", ())


def test_what_is_no_data(doubling, monkeypatch):
    monkeypatch.setattr(wire, "loads", lambda data: pickle.loads(b"x"))
    assert "can be compared" in repr(judged("test.double", len))


def test_what_a_check_cannot_handle(doubling, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("shapes\nof all kinds")

    monkeypatch.setattr(exercises, "compare", fails)
    said = repr(judged("test.count", lambda: 25))
    assert "The check cannot handle what it returns: shapes." in said


def test_a_repair_says_what_it_was_about(doubling):
    assert "about: see it." in repr(judged("test.mend", lambda x, y: (1, 2)))
    asked = judge.find("test.mend")
    assert asked.line.startswith("*Repair. About 1 minute.*\n\nNot to be used: PyTorch")
    assert asked.line.endswith("`course_lib.convolution.output_size`. Write a loop.")
    assert judge.find("test.count").line == "*Predict. Goal: count. About 2 minutes.*"


def test_what_is_banned(doubling):
    def convolves(x, y):
        return torch.conv1d(torch.ones(1, 1, 2), torch.ones(1, 1, 1))

    result = judged("test.mend", convolves)
    assert "`F.conv1d` does it for you" in repr(result)
    assert result.hint == "Write a loop."


def test_arguments_have_names(doubling):
    wrong = judged("test.mend", lambda values, share: (1, 3))
    assert "expected (1, 2), got (1, 3) for `values` [1, 2], `share` 0.5" in repr(wrong)
    wrong = judged("test.mend", max)
    assert "raised TypeError" in repr(wrong)


def test_an_argument_that_is_changed_has_a_name(doubling):
    def answer(values, share):
        return values.pop(0), values.pop(0)

    assert "it changes its argument `values`" in repr(judged("test.mend", answer))


def test_what_is_printed_comes_back(doubling):
    with alone(lambda: print("x" * 5000) or 25) as link:
        said = judge.judged(judge.find("test.count"), link, b"")
    assert said["passed"]
    printed = "".join(link.printed)
    assert printed.startswith("x" * 2000 + "\n... (more was printed)")


def test_a_prediction_is_not_given_away(doubling):
    assert judged("test.count", lambda: 25)
    assert judged("test.count", lambda: torch.tensor(25))
    assert "24 is too small" in repr(judged("test.count", lambda: 24))
    assert "26.5 is too large" in repr(judged("test.count", lambda: 26.5))
    assert "25" not in repr(judged("test.count", lambda: 24))
    assert "True or False" in repr(judged("test.count", lambda: True))


def test_exercises_are_named_once(doubling):
    arguments = {"goal": "", "minutes": 1, "first_hint": ""}
    with pytest.raises(ValueError, match=r"test\.double, predict"):
        exercise("test.double", kind="predict", **arguments)
    with pytest.raises(ValueError, match=r"test\.new, guess"):
        exercise("test.new", kind="guess", **arguments)
    with pytest.raises(ValueError, match="dropout"):
        exercise("test.new", kind="predict", banned=("dropout",), **arguments)


@pytest.mark.parametrize("name", ["test.doubel", "tset.double", "", "core.x"])
def test_unknown_exercises(doubling, name):
    assert "there is no exercise" in judge.find(name)


def test_a_near_miss_is_understood(doubling):
    assert "Did you mean 'test.double'" in judge.find("test.doubel")


def test_the_rows_of_a_chapter(doubling):
    assert judge.rows(["test"])[1] == ("test.count", 2, "count")
    assert judge.rows(["other"]) == []


def test_progress():
    rows = [("test.double", 1, "Double."), ("test.count", 2, "count")]
    results = {
        "test.double": Result("test.double", True, ""),
        "test.count": Result("test.count", False, ""),
    }
    progress = Progress(rows, results)
    assert repr(progress) == (
        "1 of 2 passed\n[x] test.double (1 min): Double.\n[?] test.count (2 min): count"
    )
    assert "<li>&#10007; <code>test.count</code>, 2 min" in progress._repr_html_()
    assert "[ ] test.double" in repr(Progress(rows, {}))


# `check` itself, with its processes


@pytest.fixture(scope="module")
def real(counted):
    made = Check(seconds=60.0, seed=1)
    yield made
    made.close()


def size(pixels, kernel_size, stride, padding):
    return (pixels + 2 * padding - kernel_size) // stride + 1


def test_it_judges_and_remembers(real, capsys):
    def chatty(*arguments):
        print("hello")
        return size(*arguments)

    assert real("convolution.output_size", chatty).passed
    assert capsys.readouterr().out.startswith("hello\n")
    assert "[x] convolution.output_size" in repr(real.progress())
    assert "[ ] lenet.third_stage" in repr(real.progress("lenet"))
    assert "there is no exercise 'convolution.x'" in repr(real("convolution.x", size))
    assert list(real.results) == ["convolution.output_size"]


def test_where_an_error_came_from(real):
    def divides(pixels, kernel_size, stride, padding):
        return pixels / (pixels - 28)

    said = repr(real("convolution.output_size", divides))
    assert "by zero, in line" in said
    assert "`return pixels / (pixels - 28)`." in said

    class Indexes:
        def __init__(self, *arguments):
            self.first = arguments[9]

    said = repr(real("convolution.output_size", Indexes))
    assert "`self.first = arguments[9]`." in said


def test_an_error_without_a_line(real):
    said = repr(real("convolution.output_size", dict))
    assert "at most 1 argument, got 4." in said


def test_what_it_is_not_given(real):
    assert 'Write `check("convolution.output_size", output_size)`' in repr(real())
    assert "there is nothing to check" in repr(real("convolution.output_size"))
    assert "this is 6." in repr(real("convolution.output_size", 6))
    assert "check: not yet" in repr(real(None, size))
    assert "no exercise '7'" in repr(real(7, size))


class Open:
    def __reduce__(self):
        raise TypeError("cannot pickle an open file\nfor reasons")


def test_what_cannot_be_copied(real):
    held = Open()
    said = repr(real("convolution.output_size", lambda *_: held))
    assert "cannot be copied: TypeError: cannot pickle an open file." in said


def test_scripts_are_sent(real):
    def one(x: torch.Tensor) -> torch.Tensor:
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(one)

        def nine(*_):
            return script(torch.tensor(9))

        said = repr(real("convolution.output_size", nine))
    assert "got 9" in said


def test_names_of_odd_modules_are_names(real):
    class Holder:
        classes = 9

    def holds(*_):
        return int(torch.tensor(Holder.classes))

    assert "got 9" in repr(real("convolution.output_size", holds))


def test_devices_are_cpus(real):
    device = torch.device("cuda")

    def on_the_card(*arguments):
        return torch.tensor(size(*arguments)).to(device)

    assert real("convolution.output_size", on_the_card).passed


def test_an_answer_that_ends_its_process(real):
    said = repr(real("convolution.output_size", lambda *_: os._exit(3)))
    assert "It ended the process that it runs in." in said


def test_it_is_interrupted(real, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(core.Judge, "asked", interrupt)
    assert "It was interrupted." in repr(real("convolution.output_size", size))
    monkeypatch.undo()
    assert real("convolution.output_size", size).passed


def test_a_judge_that_ends_is_replaced(real):
    real("convolution.output_size", size)
    real._judge.process.kill()
    real._judge.process.wait()
    assert "ended from outside" in repr(real("convolution.output_size", size))
    assert real("convolution.output_size", size).passed


def test_it_says_that_it_loads(monkeypatch, capsys):
    monkeypatch.setattr(core, "PATIENCE", 0.0)
    made = Check()
    assert made("convolution.output_size", size).passed
    assert "Loading the checks" in capsys.readouterr().err
    monkeypatch.setattr(core, "PATIENCE", 30.0)
    made.close()


def test_a_judge_that_does_not_go_is_made_to(monkeypatch):
    made = Check()
    monkeypatch.setattr(core.Judge, "asked", lambda *_: {"rows": []})
    made.progress()
    made.close()
    made.close()
    assert made._judge is None


def test_where_an_answer_was_written():
    assert core._file(test_where_an_answer_was_written) == __file__
    assert core._file(type("Empty", (), {})) is None
    assert str(core._file(partial(int))).endswith("functools.py")


def test_the_one_that_everybody_uses():
    assert isinstance(check, Check)


def test_half_a_request_is_none():
    text = json.dumps({}).encode()
    whole = io.BytesIO()
    wire.send(whole, {}, b"data")
    assert wire.receive(io.BytesIO(whole.getvalue())) == ({}, b"data")
    assert wire.receive(io.BytesIO(whole.getvalue()[:-1])) is None
    assert wire.receive(io.BytesIO(text)) is None


class Begun:
    """A process that is none, of which the first few do not begin."""

    failing = 0
    pid = os.getpid()

    def __init__(self, **_):
        self.alive = True

    def start(self):
        if Begun.failing:
            Begun.failing -= 1
            raise EOFError

    def is_alive(self):
        return self.alive

    def kill(self):
        self.alive = False

    join = kill


@pytest.fixture
def bench(monkeypatch):
    context = SimpleNamespace(Pipe=Pipe, Process=Begun)
    monkeypatch.setattr(judge.multiprocessing, "get_context", lambda _: context)
    monkeypatch.setattr(judge, "PAUSE", 0.0)
    return lambda: judge.Bench("any")


def test_a_process_that_does_not_begin_is_tried_again(bench, monkeypatch):
    monkeypatch.setattr(Begun, "failing", 2)
    assert bench().ready[0].is_alive()
    monkeypatch.setattr(Begun, "failing", 3)
    with pytest.raises(EOFError):
        bench()


def test_a_process_that_was_ended_while_it_waited_is_replaced(bench):
    made = bench()
    gone = made.ready[0]
    gone.alive = False
    with made.one(1.0) as link:
        assert link.process is not gone
        assert link.process.is_alive()
    assert made.ready[0].is_alive()
