"""What the options of a run refuse, and what they keep."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lineside.errors import ConfigError
from lineside.synth.defects import DefectOptions
from lineside.train.config import TrainOptions, parse_gamma


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("steps_per_epoch", 0),
        ("batch_size", 0),
        ("base_channels", 0),
        ("cache_mb", -1),
        ("workers", -1),
        ("seed", -1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("gamma", (1.0, -1.0)),
        ("gamma", (float("nan"), 1.0)),
        ("device", "tpu"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_its_name_on_the_command_line(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="--" + name.replace("_", "-")):
        TrainOptions(**{name: value})


def test_gamma_is_read_from_text() -> None:
    assert parse_gamma("1:3") == (1.0, 3.0)
    assert parse_gamma("0.5:2.5") == (0.5, 2.5)
    assert parse_gamma("2") == (2.0, 2.0)


@pytest.mark.parametrize("text", ["", "a", "1:", ":3", "1:2:3", "-1:3", "1:nan"])
def test_another_gamma_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="gamma"):
        parse_gamma(text)


def test_options_survive_json() -> None:
    options = TrainOptions(epochs=7, defects=DefectOptions(count=(2, 5)), gamma=(0.0, 2.0), amp=True)
    assert TrainOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_json_with_other_keys_is_refused() -> None:
    with pytest.raises(ConfigError, match="other keys"):
        TrainOptions.from_json({**TrainOptions().to_json(), "momentum": 0.9})


def test_an_epoch_shows_as_many_patches_as_the_strips_hold_within_50_to_1000_steps() -> None:
    options = TrainOptions(batch_size=16)
    assert options.with_steps(18 * 100, processes=1).steps_per_epoch == 113  # 1800 / 16, rounded up
    assert options.with_steps(18 * 100, processes=2).steps_per_epoch == 57
    assert options.with_steps(18, processes=1).steps_per_epoch == 50
    assert options.with_steps(18 * 100_000, processes=1).steps_per_epoch == 1000
    assert replace(options, steps_per_epoch=7).with_steps(18, processes=1).steps_per_epoch == 7


def test_differences_name_what_changes_the_result_and_nothing_else() -> None:
    ours, theirs = TrainOptions(), TrainOptions(epochs=10, gamma=(1.0, 2.0), workers=0, cache_mb=1, device="cpu")
    assert ours.differences(theirs) == {"--epochs": (30, 10), "--gamma": ([1.0, 3.0], [1.0, 2.0])}
