"""No false alarm: fifty healthy models, ten networks in five forms each, pass every check for wrong answers without an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.place.half import half
from lineside.calibration.place.quantize import QuantizeOptions, Target, quantized
from lineside.calibration.ranges.table import RangesTable
from lineside.engine.inspector import Inspector
from lineside.engine.qualify.probes import Probes
from lineside.engine.qualify.self_check import self_checks
from lineside.graph.float_model import FloatModel
from lineside.spec import StripSpec

onnx = pytest.importorskip("onnx", reason="models are ONNX files")
pytest.importorskip("onnxruntime", reason="it runs them")

SPEC = StripSpec.of_size(96, 64, tile_px=32)
SEEDS = range(10)
TARGETS: tuple[Target, ...] = ("tensorrt", "onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_healthy_models_pass_every_check(
    seed: int, network_of: Callable[..., Any], write_model: Callable[..., Path], ranges_of: Callable[..., RangesTable], tmp_path: Path
) -> None:
    network, rng = network_of(seed, tile_px=SPEC.tile_px, batches=5, gain=4), np.random.default_rng(seed)
    reference = write_model(tmp_path / "reference.onnx", network=network, spec=SPEC)
    model = onnx.load(str(reference))
    table = ranges_of(FloatModel.read(reference).network, SPEC)
    healthy = {
        "unrolled": write_model(tmp_path / "unrolled.onnx", network=network, spec=SPEC, tiling="unrolled"),
        "raw": write_model(tmp_path / "raw.onnx", network=network, spec=SPEC, io="raw"),
    }
    made = {"fp16": half(model, path=reference)}
    made |= {f"int8-{target}": quantized(model, table, QuantizeOptions(target=target), path=reference) for target in TARGETS}
    for name, one in made.items():
        healthy[name] = tmp_path / f"{name}.onnx"
        onnx.save(one, str(healthy[name]))
    assert len(SEEDS) * len(healthy) == 50

    pattern = rng.uniform(60, 200, (SPEC.height_px // 4, SPEC.width_px // 4)).repeat(4, axis=0).repeat(4, axis=1)
    probes = Probes.of(np.clip(pattern + rng.normal(0, 1.5, (4, *pattern.shape)), 0, 255).astype(np.float32))
    with Inspector.load(reference, threads=1) as trusted:
        for name, path in healthy.items():
            with Inspector.load(path, threads=1) as candidate:
                found = self_checks(trusted, candidate, probes, batches=(2, 3))
            assert sum(check.passed is True for check in found) >= len(found) - 1
            assert [(name, check.name, check.detail) for check in found if check.passed is False] == []
