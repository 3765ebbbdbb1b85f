"""The demo reads what evaluate writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineside.cli.demo import _result, _table
from lineside.cli.main import main

MODEL = Path(__file__).parents[1] / "engine" / "models" / "production.onnx"


def test_the_demos_table_is_made_of_the_metrics_that_evaluate_wrote(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws what evaluate writes beside the metrics")
    assert main(["synth", str(tmp_path / "data"), "--size", "64x96", "--train", "1", "--valid", "0", "--test", "2"]) == 0
    assert main(["evaluate", str(MODEL), str(tmp_path / "data"), "--out", str(tmp_path / "evaluation")]) == 0
    words = ["qualify", str(MODEL), "--reference", str(MODEL), "--dataset", str(tmp_path / "data")]
    assert main([*words, "--report", str(tmp_path / "qualification")]) == 0
    result = _result(tmp_path)
    assert result["good_strips"] == 2
    assert 0 <= result["spot_recall"] <= 1
    assert _table(result).row_count == 14
    assert result["int8"] == "qualified"
