"""`lineside build` and `lineside show strip.engine` as a user types them on a machine without a GPU; the work itself is in tests/engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lineside import DeviceError
from lineside.cli.main import main
from lineside.cli.tables import build_progress as _build_progress
from lineside.engine.builder import build as build_module
from lineside.engine.device import driver
from lineside.engine.device.driver import Driver
from lineside.engine.files.onnx_file import read_onnx
from lineside.engine.files.sidecar import EngineManifest, LayerPrecision

MODELS = Path(__file__).parents[1] / "engine" / "models"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> Driver:
        raise DeviceError("no NVIDIA driver on this machine", why="libcuda.so.1 is not there", fix="go to the machine with the GPU")

    monkeypatch.setattr(driver, "ask_driver", ask)


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture
def manifest(sidecar_of: Callable[..., EngineManifest]) -> EngineManifest:
    onnx = read_onnx(MODELS / "raw.onnx")
    return sidecar_of(
        plan_sha256=hashlib.sha256(b"plan").hexdigest(),
        onnx="raw.onnx",
        onnx_sha256=onnx.sha256,
        model=onnx.manifest,
        version_compatible=True,
        layers=(LayerPrecision(name="encoder.0 [relu]", kind="CaskConvolution", precision="int8", onnx=("encoder.0",)),),
        int8_planned=1,
        int8_built=1,
    )


@pytest.fixture
def engine(manifest: EngineManifest, tmp_path: Path) -> Path:
    """An engine that nothing can load, with a whole sidecar."""
    path = tmp_path / "strip.engine"
    path.write_bytes(b"plan")
    manifest.write(path)
    return path


def test_without_a_gpu_build_says_so_and_exits_with_2(tmp_path: Path, capsys: Capture) -> None:
    assert run("build", MODELS / "raw.onnx", "--out", tmp_path / "strip.engine") == 2
    error = capsys.readouterr().err
    assert error.count("error:") == 1
    assert "no NVIDIA driver" in error
    assert "fix: " in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("nothing.onnx", "--out", "strip.engine"), "no such file"),
        ((str(MODELS / "make.py"), "--out", "strip.engine"), "not an ONNX file"),
        ((str(MODELS / "bare.onnx"), "--out", "strip.engine"), "no metadata of lineside"),
        ((str(MODELS / "raw.onnx"), "--out", "strip.trt"), ".engine"),
        ((str(MODELS / "fixed.onnx"), "--out", "strip.engine", "--batch", "1"), "4 strips at a time"),
        ((str(MODELS / "raw.onnx"), "--out", "strip.engine", "--batch", "1;4"), "1,4,8"),
        ((str(MODELS / "raw.onnx"), "--out", "strip.engine", "--workspace-mb", "0"), "workspace"),
        ((str(MODELS / "raw.onnx"), "--out", "strip.engine", "--optimization-level", "9"), "0 to 5"),
        ((str(MODELS / "raw.onnx"), "--out", "strip.engine", "--golden", "nothing"), "no such file or folder"),
        ((str(MODELS / "raw.onnx"),), "--out"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    words: tuple[str, ...], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("build", *words) == 2
    assert found in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_engine_is_refused_without_force(engine: Path, capsys: Capture) -> None:
    assert run("build", MODELS / "raw.onnx", "--out", engine) == 2
    assert "already exists" in capsys.readouterr().err
    assert engine.read_bytes() == b"plan"


def test_the_options_reach_the_build(manifest: EngineManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    asked: dict[str, Any] = {}

    def build(onnx: Path, out: Path, options: Any, *, force: bool, listener: Any) -> EngineManifest:
        asked.update(onnx=onnx, out=out, options=options, force=force)
        listener.stage("building")
        listener.phase("Tactics", steps=2, parent="Building")
        listener.step("Tactics", done=1)
        listener.end("Tactics")
        listener.warning("careful [yes]")
        return manifest

    monkeypatch.setattr(build_module, "build", build)
    out = tmp_path / "strip.engine"
    words = (
        "--batch",
        "1:4:8",
        "--workspace-mib",
        512,
        "--timing-cache",
        tmp_path / "t",
        "--optimization-level",
        5,
        "--version-compatible",
    )
    more = ("--hardware-compatibility", "--device", 1, "--time-limit", 9.5, "--allow-fallback", "--force", "--json", "-")
    assert run("build", MODELS / "raw.onnx", "--out", out, *words, *more) == 0
    options = asked["options"]
    assert (str(options.batch), options.workspace_mib, options.timing_cache, options.optimization_level) == (
        "1:4:8",
        512,
        tmp_path / "t",
        5,
    )
    assert (options.version_compatible, options.hardware_compatible, options.device, options.time_limit_s) == (True, True, 1, 9.5)
    assert (options.allow_fallback, asked["force"]) == (True, True)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["gpu"] == "Orin"
    for text in ("building", "Tactics: 2 steps", "careful [yes]"):  # a pipe gets lines
        assert text in printed.err


def test_ctrl_c_exits_with_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*arguments: Any, **options: Any) -> EngineManifest:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_module, "build", build)
    assert run("build", MODELS / "raw.onnx", "--out", tmp_path / "strip.engine") == 130


def test_a_terminal_gets_a_bar_per_phase_and_keeps_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = StringIO()
    monkeypatch.setattr(_build_progress, "err", Console(file=screen, force_terminal=True, width=100))
    with _build_progress.BuildProgress() as progress:
        progress.stage("building")
        progress.phase("Building [engine]", steps=2, parent=None)
        progress.phase("Timing tactics", steps=40, parent="Building [engine]")
        progress.step("Timing tactics", done=7)
        progress.step("a phase that nobody began", done=1)
        progress._bar.refresh()
        progress.end("Timing tactics")
        progress.end("Timing tactics")
        progress.phase("Timing tactics", steps=3, parent="Building [engine]")  # a name is used again once its phase is over
        progress.warning("careful")
    shown = screen.getvalue()
    for text in ("building", "Building [engine]", "Timing tactics", "7/40", "0/3", "careful"):
        assert text in shown


def test_show_reads_the_sidecar_and_needs_no_gpu(engine: Path, capsys: Capture) -> None:
    assert run("show", engine) == 0
    printed = capsys.readouterr().out
    for text in ("Orin", "8.7", "TensorRT 10.3.0", "1,4", "1 of 1 planned", "version-compatible", "encoder.0 [relu]", "int8"):
        assert text in printed
    assert run("show", engine, "--json", "-") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["kind"] == "engine"
    assert "no NVIDIA driver" in value["layers_from"]
    assert value["layers"][0]["precision"] == "int8"


def test_show_refuses_an_engine_that_is_not_its_sidecars(engine: Path, capsys: Capture) -> None:
    engine.write_bytes(b"another plan")
    assert run("show", engine) == 2
    assert "sha256" in capsys.readouterr().err


def test_show_says_what_to_do_about_a_missing_or_damaged_sidecar(manifest: EngineManifest, engine: Path, capsys: Capture) -> None:
    replace(manifest, int8_built=0).write(engine)
    assert run("show", engine) == 0
    sidecar = engine.with_name("strip.engine.json")
    sidecar.write_text("{}")
    assert run("show", engine) == 2
    assert "schema" in capsys.readouterr().err
    sidecar.unlink()
    assert run("show", engine) == 2
    assert "no sidecar" in capsys.readouterr().err


Write = Callable[..., Path]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Write a small network as ONNX: float32, half, or INT8 for a target."""
    onnx = pytest.importorskip("onnx", reason="models are ONNX files")
    pytest.importorskip("onnxruntime", reason="it casts to FP16")
    torch = pytest.importorskip("torch", reason="PyTorch makes the network")
    from lineside.calibration.place.half import half
    from lineside.calibration.place.quantize import QuantizeOptions, quantized
    from lineside.calibration.ranges.table import METHODS, HistogramSummary, RangesTable, TensorRange, network_sha256
    from lineside.export.graph import ExportOptions, onnx_model
    from lineside.graph.float_model import FloatModel
    from lineside.manifest import ModelManifest
    from lineside.spec import StripSpec
    from lineside.train.unet import UNet

    folder = tmp_path_factory.mktemp("models")
    spec = StripSpec.of_size(64, 64, tile_px=64)
    torch.manual_seed(0)
    known = ModelManifest(
        spec=spec, tiling="batched", io="production", base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
    )
    floats = folder / "strip.onnx"
    onnx.save(onnx_model(UNet(2).eval(), known, ExportOptions()), str(floats))
    source = FloatModel.read(floats)
    same = TensorRange(
        low=-4.0,
        high=4.0,
        amax=dict.fromkeys(METHODS, 4.0),
        clipped=dict.fromkeys(METHODS, 0.0),
        histogram=HistogramSummary(limit=4.0, zeros=0, counts=(1,)),
    )
    table = RangesTable(
        model=floats.name,
        network_sha256=network_sha256(source.network),
        weights_sha256="0" * 64,
        spec=spec,
        method="minmax",
        percentile=99.99,
        seed=0,
        tensors=dict.fromkeys(source.network.activations, same),
        patches=(),
        images={},
    )

    def make(name: str, change: Callable[[Any], None] = lambda model: None) -> Path:
        model = onnx.load(str(floats))
        if name == "fp16":
            model = half(model, path=floats)
        elif name != "fp32":
            model = quantized(model, table, QuantizeOptions(target=name), path=floats)  # type: ignore[arg-type]
        change(model)
        path = folder / f"strip.{name}.onnx"
        onnx.save(model, str(path))
        return path

    return make


def test_a_plan_is_made_without_a_gpu(write: Write, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "strip.engine"
    assert run("build", write("tensorrt"), "--out", out, "--plan-only", "--batch", "1,4") == 0
    printed = " ".join(capsys.readouterr().out.split())
    for text in ("int8, 26 of 28 convolutions", "all kept", "batch 1,4", "device memory", "--out"):
        assert text in printed
    assert list(tmp_path.iterdir()) == []


def test_the_plan_as_json_has_what_the_table_shows(write: Write, tmp_path: Path, capsys: Capture) -> None:
    assert run("build", write("fp16"), "--out", tmp_path / "strip.engine", "--plan-only", "--json", "-") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["profiles"], value["warnings"], value["broken_rules"]) == ("1", [], [])
    assert value["executed"]["shares"]["fp16"] == pytest.approx(1)
    assert value["memory"]["device"] > value["memory"]["activations"] > 0


def test_a_float32_plan_warns(write: Write, tmp_path: Path, capsys: Capture) -> None:
    assert run("build", write("fp32"), "--out", tmp_path / "strip.engine", "--plan-only") == 0
    assert "--precision fp16" in " ".join(capsys.readouterr().out.split())


def test_an_int8_file_for_another_runtime_is_refused(write: Write, tmp_path: Path, capsys: Capture) -> None:
    assert run("build", write("onnxruntime"), "--out", tmp_path / "strip.engine", "--plan-only") == 2
    assert "--target tensorrt" in capsys.readouterr().err


def test_a_graph_that_breaks_a_rule_is_named_and_the_answer_is_no(write: Write, tmp_path: Path, capsys: Capture) -> None:
    import numpy as np
    from onnx import numpy_helper

    broken: list[str] = []

    def shift(model: Any) -> None:
        """Give one activation a zero point of 3."""
        node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
        broken.append(node.name)
        point = numpy_helper.from_array(np.array(3, np.int8), "shifted")
        model.graph.initializer.append(point)
        node.input[2] = "shifted"

    assert run("build", write("tensorrt", shift), "--out", tmp_path / "strip.engine", "--plan-only") == 3
    printed = " ".join(capsys.readouterr().out.split())
    assert broken[0] in printed
    assert "zero point 3" in printed


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Any:
    """A stand-in for TensorRT and its GPU: after `no_gpu`, so that its driver is the one that answers."""
    pytest.importorskip("polygraphy", reason="builds make their configuration with it")
    return request.getfixturevalue("standin")


def test_an_int8_file_becomes_an_engine_of_int8_layers(machine: Any, write: Write, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "strip.engine"
    assert run("build", write("tensorrt"), "--out", out) == 0
    assert "26 of 26 planned convolutions" in " ".join(capsys.readouterr().out.split())
    layers = EngineManifest.read(out).layers
    precisions = {name: layer.precision for layer in layers for name in layer.onnx}
    assert len(precisions) == 28
    assert {name for name, precision in precisions.items() if precision != "int8"} == {"encoder.0.convs.0.conv", "logits"}
    assert run("show", out) == 0
    assert "as the engine inspector says now" in " ".join(capsys.readouterr().out.split())


def test_an_engine_that_falls_back_is_refused_with_its_layers(machine: Any, write: Write, tmp_path: Path, capsys: Capture) -> None:
    machine.fault("fall_back", value=True)
    words = ("build", write("tensorrt"), "--out", tmp_path / "strip.engine")
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert "0 of 26 planned convolutions run in INT8" in error
    assert "encoder.0.convs.1.conv: fp16 (CaskConvolution)" in error
    assert list(tmp_path.iterdir()) == []
    assert run(*words, "--allow-fallback") == 0
    assert EngineManifest.read(tmp_path / "strip.engine").int8_built == 0


def test_a_half_file_becomes_an_engine_of_half_layers(machine: Any, write: Write, tmp_path: Path, capsys: Capture) -> None:
    assert run("build", write("fp16"), "--out", tmp_path / "strip.engine") == 0
    assert "28 layers fp16" in " ".join(capsys.readouterr().out.split())
