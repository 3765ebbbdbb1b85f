"""The list of commands that `lineside --help` prints."""

from __future__ import annotations

import pytest

from lineside.cli.main import main


def test_every_summary_of_the_help_is_a_whole_sentence_within_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
    assert len(lines) >= 16
    assert [line for line in lines if len(line) > 80 or not line.endswith(".") or line.endswith("...")] == []
