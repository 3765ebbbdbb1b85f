"""The precisions of one small network in one table; numbers of accuracy are the gate's, which has its own tests."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from rich.console import Console

import lineside.benchmarks.studies.precision as precision
from lineside.benchmarks.bench.cold_start import ColdStart
from lineside.benchmarks.measure.latency import LatencyOptions
from lineside.calibration.ranges.ranges import CalibrateOptions
from lineside.calibration.ranges.sampler import SampleOptions
from lineside.dataset import Dataset
from lineside.engine.inspector import Inspector
from lineside.manifest import ModelManifest
from lineside.spec import StripSpec

SPEC = StripSpec.of_size(64, 64, tile_px=64)
NAMES = ["float32", "fp16", "int8 tensorrt", "int8 onnxruntime", "quantize_static"]
START = {"startup_ms": 1.0, "import_ms": 1.0, "load_ms": 1.0, "first_ms": 1.0, "process_mib": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in two tilings and a data set with two labelled strips."""
    torch = pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    from lineside.export.graph import ExportOptions, onnx_model
    from lineside.train.unet import UNet

    root = tmp_path_factory.mktemp("precision")
    rng = np.random.default_rng(0)
    for kind, part in (("good", "train"), ("good", "test"), ("spot", "test")):
        path = root / "data" / part / kind / "0.tif"
        path.parent.mkdir(parents=True)
        tifffile.imwrite(path, rng.integers(0, 255, (3, 64, 64), np.uint8), photometric="minisblack")
    mask = root / "data/ground_truth/spot/0.png"
    mask.parent.mkdir(parents=True)
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(mask)
    torch.manual_seed(0)
    network = UNet(2).eval()
    for tiling in ("batched", "full"):
        manifest = ModelManifest(
            spec=SPEC, tiling=tiling, io="production", base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
        )
        onnx.save(onnx_model(network, manifest, ExportOptions(tiling=tiling)), str(root / f"{tiling}.onnx"))
    return root


@pytest.fixture(scope="module")
def variants(folder: Path) -> list[precision.Variant]:
    (folder / "files").mkdir()
    options = CalibrateOptions(sample=SampleOptions(patches=8))
    return list(precision.write_variants([folder / "batched.onnx", folder / "full.onnx"], folder / "data", folder / "files", options))


def test_every_tiling_has_every_precision(variants: list[precision.Variant]) -> None:
    assert [variant.name for variant in variants] == [f"{tiling} {name}" for tiling in ("batched", "full") for name in NAMES]
    precisions = []
    for variant in variants:
        with Inspector.load(variant.path) as inspector:
            assert inspector.manifest is not None
            assert inspector.manifest.tiling == variant.source.stem
            precisions.append(inspector.manifest.precision)
    assert precisions == ["fp32", "fp16", "int8", "int8", "int8"] * 2


def test_the_foreign_quantiser_stores_integers(variants: list[precision.Variant]) -> None:
    onnx = pytest.importorskip("onnx")
    sizes = {}
    for variant in variants[3:5]:
        tensors = onnx.load(str(variant.path)).graph.initializer
        sizes[variant.precision] = sum(len(tensor.raw_data) for tensor in tensors if tensor.data_type == onnx.TensorProto.INT8)
    weights = [tensor for tensor in onnx.load(str(variants[0].path)).graph.initializer if tensor.name.endswith("weight")]
    values = sum(int(np.prod(tensor.dims)) for tensor in weights if not tensor.name.startswith(("encoder.0.convs.0.", "logits.")))
    # and a zero point per channel
    assert values <= sizes["quantize_static"] < 1.1 * values
    assert values <= sizes["int8 onnxruntime"] < 1.1 * values


def test_every_file_is_judged_against_its_own_float_file_and_timed_with_all_others(
    variants: list[precision.Variant], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cold_start", lambda case: ColdStart(**START, peak_mib=case.path.stat().st_size))
    samples = Dataset.open(folder / "data", spec=SPEC).test
    found = precision.measure_variants(variants, samples, LatencyOptions(seconds=None, rounds=3, warm_up_seconds=0))
    assert [one.max_difference == 0 for one in found] == [name == "float32" for name in NAMES * 2]
    assert all(one.latency is not None and one.latency.total_ms.n == 3 for one in found)
    assert [one.size_bytes for one in found] == [variant.path.stat().st_size for variant in variants]
    value = json.loads(json.dumps([one.to_json() for one in found], allow_nan=False))
    assert value[1]["variant"] == {"precision": "fp16", "path": "batched.fp16.onnx", "source": "batched.onnx"}
    assert not any(str(folder) in json.dumps(row["variant"]) for row in value)
    console = Console(width=160, record=True, file=StringIO())
    console.print(precision.precision_table(found))
    text = console.export_text()
    assert all(variant.name in text for variant in variants)


def test_without_latency_the_table_says_so(variants: list[precision.Variant], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cold_start", lambda case: ColdStart(**START, peak_mib=1))
    found = precision.measure_variants(variants[:2], Dataset.open(folder / "data", spec=SPEC).test, None)
    assert all(one.latency is None and one.to_json()["latency"] is None for one in found)
    assert precision.precision_table(found).row_count == 2
