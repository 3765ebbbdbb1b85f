"""Errors that a person at the line can act on."""

from __future__ import annotations

import pickle

import pytest

from lineside import errors
from lineside.errors import LinesideError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LinesideError)]


def test_the_message_has_what_why_and_fix_each_on_its_line() -> None:
    assert str(LinesideError("a.tif: 3 x 4 px", why="strips have 5 x 6 px", fix="write it again")).splitlines() == [
        "a.tif: 3 x 4 px",
        "  why: strips have 5 x 6 px",
        "  fix: write it again",
    ]


def test_a_part_that_is_empty_takes_no_line() -> None:
    assert str(LinesideError("only this")) == "only this"
    assert str(LinesideError("this", fix="and that")) == "this\n  fix: and that"


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_crosses_a_process_border_whole(kind: type[LinesideError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("what", why="why", fix="fix")))
    assert type(copy) is kind
    assert (copy.what, copy.why, copy.fix) == ("what", "why", "fix")


@pytest.mark.parametrize("kind", KINDS)
def test_the_docstring_shows_every_error(kind: type[LinesideError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
