"""The camera that no recipe knows, and what is judged with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="it registers")
pytest.importorskip("skimage", reason="it has the photographs (extra [demo])")

from lineside.benchmarks.detection.__main__ import DetectionOptions, Found, judged, main, models, strip_of  # after the skips
from lineside.benchmarks.detection.camera import LINES, ROOM_PX, Line, take
from lineside.benchmarks.detection.kinds import KINDS, spoil
from lineside.benchmarks.detection.plain import difference
from lineside.errors import ConfigError


def test_a_strip_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    one, same, other = (strip_of("brick", "shift 0.5", "hair", 3, seed) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_camera_that_does_not_move_and_has_no_noise_takes_the_pattern_three_times() -> None:
    pattern = np.random.default_rng(0).uniform(50, 200, (100, 80))
    still = Line(shift_px=0.0, gain=0.0, offset=0.0, light=0.0, noise=0.0)
    pictures = take(pattern, still, np.random.default_rng(1))
    assert np.abs(pictures - pattern[ROOM_PX:-ROOM_PX, ROOM_PX:-ROOM_PX]).max() < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_is_in_target_alone_and_inside_the_strip(kind: str) -> None:
    pattern, line = np.full((200, 150), 120.0), LINES["shift 0.5"]
    clean = take(pattern, line, np.random.default_rng(2))
    dirty = take(pattern, line, np.random.default_rng(2), lambda target: spoil(target, kind, np.random.default_rng(3)))
    assert np.array_equal(clean[1:], dirty[1:])
    assert 12 < np.abs(clean[0] - dirty[0]).max() < 100


def test_difference_is_that_from_the_reference_which_is_nearer_without_what_changes_slowly() -> None:
    strip = np.full((3, 100, 100), 100.0, np.float32)
    strip[0] += np.linspace(0, 20, 100, dtype=np.float32)  # light
    strip[:2, 40:44, 40:44] += 60  # in Target and Ref1
    strip[0, 70:74, 70:74] += 60  # in Target alone
    found = difference(strip)
    assert found[70:74, 70:74].max() > 40
    assert found[35:49, 35:49].max() < 5


def test_recall_and_auroc_are_those_counted_by_hand() -> None:
    row = Found(model="m", line="l", pattern="p", good=(1.0, 2.0, 3.0), defective={"speck": (4.0, 2.5, 0.5)})
    assert row.recall("speck") == pytest.approx(1 / 3)
    assert row.auroc("speck") == pytest.approx((3 + 2 + 0) / 9)


def test_registration_is_what_lets_a_difference_find_anything_on_a_line_that_moves() -> None:
    options = DetectionOptions(patterns=("gravel",), lines=("shift 1, jitter",), good=3, defective=2)
    before, after = judged(models(), options, "gravel", "shift 1, jitter")
    assert max(after.good) < max(before.good) / 3
    assert {kind: after.recall(kind) for kind in KINDS} == dict.fromkeys(KINDS, 1.0)
    assert sum(before.recall(kind) for kind in KINDS) < len(KINDS) / 2


def test_the_command_prints_a_table_and_writes_scores_with_the_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(pattern=["grid"], line=["shift 0.5"], good=1, defective=1, json=tmp_path / "d.json")
    assert "registered difference" in capsys.readouterr().out
    written = json.loads((tmp_path / "d.json").read_text())
    assert [row["model"] for row in written["rows"]] == ["difference", "registered difference"]
    assert written["environment"]["cpu"]["model"]
    assert set(written["rows"][0]["recall"]) == set(KINDS)


@pytest.mark.parametrize(("what", "said"), [({"patterns": ("moon",)}, "moon"), ({"lines": ("fast",)}, "fast"), ({"good": 0}, "0 good")])
def test_unknown_names_and_empty_sets_are_refused(what: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        DetectionOptions(**what)  # type: ignore[arg-type]
