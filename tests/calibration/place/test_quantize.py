"""INT8 files against an independent simulation of INT8 in PyTorch, against float, and on another runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.place.quantize import QuantizeOptions, quantized
from lineside.calibration.ranges.table import RangesTable
from lineside.engine.inspector import Inspector
from lineside.errors import CalibrationError, ConfigError, ModelError
from lineside.graph.float_model import FloatModel
from lineside.manifest import ModelManifest
from lineside.spec import StripSpec

onnx = pytest.importorskip("onnx", reason="INT8 files are ONNX")
onnxruntime = pytest.importorskip("onnxruntime", reason="it runs them")
torch = pytest.importorskip("torch", reason="the simulation is written in it")

FLOAT = onnx.TensorProto.FLOAT
Write = Callable[..., Path]
Ranges = Callable[..., RangesTable]
TARGETS = pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
TILINGS = pytest.mark.parametrize("tiling", ["batched", "unrolled", "full"])
RESTS = pytest.mark.parametrize("rest", ["fp32", "fp16"])


def pixels(count: int = 2, *, channels: int = 3, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0, 1, (count, channels, 100, 70)).astype(np.float32)


def run(model: Any, given: Any, *, literally: bool = False) -> Any:
    """The first output; `literally` node by node, as the file says it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if literally:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: given})[0]


class Simulation:
    """INT8 as the rules say it, in float64: every quantised tensor is rounded to its grid, everything else is exact."""

    def __init__(self, network: Any, table: RangesTable, target: str) -> None:
        from lineside.export.modules import with_norms_folded

        self.network = with_norms_folded(network).double()
        self.high = {name: tensor.high for name, tensor in table.tensors.items()}
        self.tensorrt = target == "tensorrt"
        self.lowest, self.highest = (-128, 127) if self.tensorrt else (0, 255)

    def rounded(self, x: Any, high: float) -> Any:
        scale = high / self.highest
        return torch.clamp(torch.round(x / scale), self.lowest, self.highest) * scale

    def conv(self, unit: Any, x: Any, high: float) -> Any:
        weight, bias = unit.conv.weight, unit.conv.bias
        scales = weight.abs().amax(dim=(1, 2, 3)) / 127
        if not self.tensorrt and self.leaves_16_bits(weight / scales[:, None, None, None]):
            scales = scales * (127 / 63)
        weight = torch.round(weight / scales[:, None, None, None]) * scales[:, None, None, None]
        if not self.tensorrt:
            steps = scales * high / self.highest
            bias = torch.round(bias / steps) * steps
        return torch.relu(torch.nn.functional.conv2d(self.rounded(x, high), weight, bias, padding=1))

    @staticmethod
    def leaves_16_bits(steps: Any) -> bool:
        """Whether two products of a channel with activations of 255 can sum up to more than an int16 holds."""
        rows = torch.round(steps).flatten(1).sort(dim=1).values
        return bool(max(rows[:, -2:].clamp(min=0).sum(1).max(), -rows[:, :2].clamp(max=0).sum(1).min()) * 255 > 32767)

    def given(self, x: Any, high: float) -> Any:
        """The output of a layer: quantised for ONNX Runtime alone."""
        return x if self.tensorrt else self.rounded(x, high)

    def skip_high(self, block: int) -> float:
        """The range of what an encoder block gives: for TensorRT that of the concatenation too."""
        own = self.high[f"encoder.{block}.convs.1.relu"]
        return max(own, self.high[f"decoder.{4 - block}.concat"]) if self.tensorrt and block < 5 else own

    def __call__(self, x: Any) -> Any:
        skips = []
        for block, part in enumerate(self.network.encoder):
            if block == 0:
                x = torch.relu(part.convs[0].conv(x))
            else:
                x = self.conv(part.convs[0], torch.nn.functional.max_pool2d(x, 2), self.skip_high(block - 1))
            x = self.given(self.conv(part.convs[1], x, self.high[f"encoder.{block}.convs.0.relu"]), self.skip_high(block))
            skips.append(x)
        below = self.high["encoder.5.convs.1.relu"]
        for block, part in enumerate(self.network.decoder):
            high = {
                name: self.high[f"decoder.{block}.{name}"] for name in ("resize", "reduce.relu", "concat", "merge.0.relu", "merge.1.relu")
            }
            x = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
            x = self.given(self.conv(part.reduce, x, high["resize"] if self.tensorrt else below), high["reduce.relu"])
            x = torch.cat([skips[4 - block], x], dim=1)
            x = self.conv(part.merge[0], x, self.skip_high(4 - block) if self.tensorrt else high["concat"])
            x = self.given(self.conv(part.merge[1], x, high["merge.0.relu"]), high["merge.1.relu"])
            below = high["merge.1.relu"]
        return self.network.logits(x)

    def heat(self, tiles: Any) -> Any:
        with torch.inference_mode():
            return torch.softmax(self(torch.from_numpy(tiles).double()), dim=1)[:, 1].numpy()


@TARGETS
def test_the_heat_is_what_rounding_to_the_grids_of_the_table_makes(
    lively_network: Any, write_model: Write, ranges_of: Ranges, tmp_path: Path, target: Any
) -> None:
    """So what INT8 costs is what the ranges cost, and nothing else is lost on the way."""
    spec = StripSpec.of_size(64, 64, tile_px=64)
    model = FloatModel.read(write_model(tmp_path / "m.onnx", spec=spec))
    table = ranges_of(model.network, spec)
    made = quantized(model.network.model, table, QuantizeOptions(target=target, rest="fp32"), path=model.path)
    tiles = np.random.default_rng(3).uniform(0, 1, (8, 3, 64, 64)).astype(np.float32)
    exact = run(model.network.model, tiles)[:, 0]
    simulated = Simulation(lively_network, table, target).heat(tiles)
    cost = np.abs(simulated - exact)
    assert cost.mean() > 1e-3, "rounding changes nothing: there is nothing to explain"
    np.testing.assert_allclose(run(made, tiles, literally=True)[:, 0], simulated, rtol=0, atol=1e-3)
    # Joined to integer operators a value half-way between two integers falls to the other side here and there, and all that
    # is computed from it rounds anew: as good, not the same. No two runtimes agree better than this.
    joined = np.abs(run(made, tiles)[:, 0] - simulated)
    assert joined.mean() < cost.mean()
    assert joined.max() < cost.max()


@TARGETS
@TILINGS
@RESTS
@pytest.mark.parametrize(("io", "raw_dtype"), [("production", "float32"), ("raw", "uint8")])
def test_every_form_gives_the_heatmap_of_its_float_model(
    write_model: Write, ranges_of: Ranges, tmp_path: Path, target: Any, tiling: Any, rest: Any, io: Any, raw_dtype: Any
) -> None:
    model = FloatModel.read(write_model(tmp_path / "m.onnx", tiling=tiling, io=io, raw_dtype=raw_dtype))
    made = quantized(model.network.model, ranges_of(model.network), QuantizeOptions(target=target, rest=rest), path=model.path)
    onnx.checker.check_model(made, full_check=True)
    given = pixels() if io == "production" else np.rint(pixels(channels=4) * 255).astype(np.uint8)
    found, expected = run(made, given)[:, 0], run(model.network.model, given)[:, 0]
    assert np.ptp(expected) > 0.5, "a flat heatmap would prove nothing"
    difference = np.abs(found - expected)
    # 8 bits per tensor over 26 layers; the test above shows that rounding alone makes as much
    assert 0 < difference.mean() < 2e-3
    assert difference.max() < 0.1


@TARGETS
@pytest.mark.parametrize("opset", [13, 17, 18, 19, 23])
@pytest.mark.parametrize("io", ["production", "raw"])
def test_every_opset_from_13_on_can_be_quantised(
    write_model: Write, ranges_of: Ranges, tmp_path: Path, target: Any, opset: int, io: Any
) -> None:
    """Raw models of opset 17 and older have ReduceMax in its old form, and FP16 scales need opset 19."""
    model = FloatModel.read(write_model(tmp_path / "m.onnx", opset=opset, io=io))
    made = quantized(model.network.model, ranges_of(model.network), QuantizeOptions(target=target), path=model.path)
    onnx.checker.check_model(made, full_check=True)
    assert made.opset_import[0].version == (max(opset, 19) if target == "tensorrt" else opset)
    given = pixels(1, channels=3 if io == "production" else 4)
    np.testing.assert_allclose(run(made, given), run(model.network.model, given), rtol=0, atol=0.1)


@TARGETS
def test_one_table_serves_every_form_of_a_checkpoint(write_model: Write, ranges_of: Ranges, tmp_path: Path, target: Any) -> None:
    table = ranges_of(FloatModel.read(write_model(tmp_path / "m.onnx")).network)
    stored = []
    for tiling in ("batched", "full", "unrolled"):
        model = FloatModel.read(write_model(tmp_path / "m.onnx", tiling=tiling, io="raw", opset=16))
        made = quantized(model.network.model, table, QuantizeOptions(target=target), path=model.path)
        stored.append({t.name: t.raw_data for t in made.graph.initializer if t.name.endswith((".scale", ".weight.quantized"))})
    assert stored[0]
    assert stored[0] == stored[1] == stored[2]


@RESTS
@pytest.mark.parametrize("tiling", ["batched", "full"])
def test_openvino_reads_the_file_for_tensorrt_as_onnx_runtime_does(
    write_model: Write, ranges_of: Ranges, tmp_path: Path, tiling: Any, rest: Any
) -> None:
    """Node by node, as the file says it.

    OpenVINO's own INT8 is left out here: its CPU plugin 2026.4 computes a convolution wrongly whose input is a concatenation of
    signed INT8 (two convolutions, QuantizeLinear of int8, Concat and a quantised convolution are enough to see it; with uint8
    it is right).
    """
    model = FloatModel.read(write_model(tmp_path / "m.onnx", tiling=tiling))
    made = quantized(model.network.model, ranges_of(model.network), QuantizeOptions(target="tensorrt", rest=rest), path=model.path)
    found = openvino_heatmap(made, tmp_path, LP_TRANSFORMS_MODE="NO")
    expected = run(made, pixels(), literally=True)
    # sums in another order bring values half-way between two integers to the other side, as in the test with the simulation
    cost = np.abs(expected - run(model.network.model, pixels()))
    assert np.abs(found - expected).mean() < cost.mean()
    assert np.abs(found - expected).max() < 1.5 * cost.max()


@pytest.mark.parametrize("tiling", ["batched", "full"])
def test_openvino_runs_the_file_for_onnx_runtime_in_its_own_int8(
    write_model: Write, ranges_of: Ranges, tmp_path: Path, tiling: Any
) -> None:
    model = FloatModel.read(write_model(tmp_path / "m.onnx", tiling=tiling))
    made = quantized(model.network.model, ranges_of(model.network), QuantizeOptions(target="onnxruntime"), path=model.path)
    exact = run(model.network.model, pixels())
    cost = np.abs(run(made, pixels()) - exact)
    found = np.abs(openvino_heatmap(made, tmp_path) - exact)
    assert found.mean() < 1.5 * cost.mean()
    assert found.max() < 2 * cost.max()


def openvino_heatmap(model: Any, folder: Path, **options: str) -> Any:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed: it is one of the other consumers")
    onnx.save(model, folder / "int8.onnx")
    compiled = openvino.Core().compile_model(str(folder / "int8.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32", **options})
    return compiled([pixels()])[0]


@TARGETS
def test_weights_take_a_quarter_of_the_file(write_model: Write, ranges_of: Ranges, tmp_path: Path, target: Any) -> None:
    from lineside.train.unet import UNet

    torch.manual_seed(0)
    path = write_model(tmp_path / "m.onnx", network=UNet(8).eval())
    model = FloatModel.read(path)
    made = quantized(model.network.model, ranges_of(model.network), QuantizeOptions(target=target), path=path)
    weights = [sum(len(t.raw_data) for t in m.graph.initializer if ".weight" in t.name) for m in (made, model.network.model)]
    assert weights[0] / weights[1] < 0.28
    assert len(made.SerializeToString()) / path.stat().st_size < 0.35  # names weigh more in a network as small as this


@TARGETS
def test_an_inspector_runs_the_file_as_the_float_one(write_model: Write, ranges_of: Ranges, tmp_path: Path, target: Any) -> None:
    path = write_model(tmp_path / "m.onnx", io="raw")
    model = FloatModel.read(path)
    made = quantized(model.network.model, ranges_of(model.network), QuantizeOptions(target=target), path=path)
    onnx.save(made, tmp_path / "int8.onnx")
    strip = np.rint(pixels(1, channels=4)[0] * 255)
    with Inspector.load(path) as before, Inspector.load(tmp_path / "int8.onnx") as after:
        assert after.inspect(strip).score == pytest.approx(before.inspect(strip).score, abs=0.05)


@TARGETS
def test_the_metadata_say_what_was_done(write_model: Write, ranges_of: Ranges, tmp_path: Path, target: Any) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = FloatModel.read(path)
    table = ranges_of(model.network)
    options = QuantizeOptions(target=target, keep=frozenset({"decoder.1.merge.0.conv"}))
    made = quantized(model.network.model, table, options, path=path)
    manifest = ModelManifest.from_properties({entry.key: entry.value for entry in made.metadata_props}, path=path)
    assert manifest is not None
    assert (manifest.precision, manifest.target, manifest.ranges_sha256) == ("int8", target, table.sha256)
    assert set(manifest.kept) == {"encoder.0.convs.0.conv", "decoder.1.merge.0.conv", "logits"}
    assert manifest.kept["decoder.1.merge.0.conv"] == "asked for"
    assert (manifest.spec, manifest.weights_sha256) == (model.manifest.spec, model.manifest.weights_sha256)


def test_a_layer_too_large_for_half_is_neither_integer_nor_half(write_model: Write, ranges_of: Ranges, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = FloatModel.read(path)
    table = ranges_of(model.network, decoder_2_merge_0_relu=30000.0)
    for rest, expected in (("fp16", {"decoder.2.merge.0.conv", "decoder.2.merge.1.conv"}), ("fp32", set[str]())):
        made = quantized(model.network.model, table, QuantizeOptions(target="tensorrt", rest=rest), path=path)  # type: ignore[arg-type]
        manifest = ModelManifest.from_properties({entry.key: entry.value for entry in made.metadata_props}, path=path)
        assert manifest is not None
        assert set(manifest.kept) - {"encoder.0.convs.0.conv", "logits"} == expected
        kinds = {value.name: value.type.tensor_type.elem_type for value in made.graph.value_info}
        outputs = {node.name: node.output[0] for node in made.graph.node}
        assert {name for name in manifest.kept if kinds[outputs[name]] == FLOAT} == (expected if rest == "fp16" else set(manifest.kept))


def test_the_same_input_gives_the_same_bytes(write_model: Write, ranges_of: Ranges, tmp_path: Path) -> None:
    model = FloatModel.read(write_model(tmp_path / "m.onnx"))
    table = ranges_of(model.network)
    first, second = (
        quantized(model.network.model, table, QuantizeOptions(target="tensorrt"), path=model.path).SerializeToString(deterministic=True)
        for _ in range(2)
    )
    assert first == second


class TestRefusals:
    """What cannot be quantised, and what to do instead."""

    OPTIONS = QuantizeOptions(target="tensorrt")

    def test_opset_12_has_no_scales_per_channel(self, write_model: Write, ranges_of: Ranges, tmp_path: Path) -> None:
        model = FloatModel.read(write_model(tmp_path / "old.onnx", opset=12, tiling="full", io="raw"))
        with pytest.raises(ModelError) as caught:
            quantized(model.network.model, ranges_of(model.network), self.OPTIONS, path=model.path)
        assert "opset 12" in caught.value.what
        assert "from opset 13" in caught.value.why
        assert "lineside export CHECKPOINT --tiling full --io raw --opset 18 --out old.onnx" in caught.value.fix

    @TARGETS
    def test_a_file_that_is_int8_already(self, write_model: Write, ranges_of: Ranges, tmp_path: Path, target: Any) -> None:
        model = FloatModel.read(write_model(tmp_path / "m.onnx"))
        table = ranges_of(model.network)
        made = quantized(model.network.model, table, QuantizeOptions(target=target), path=model.path)
        with pytest.raises(ModelError, match="int8 already"):
            quantized(made, table, self.OPTIONS, path=Path("int8.onnx"))

    def test_the_table_of_another_model(self, lively_network: Any, write_model: Write, ranges_of: Ranges, tmp_path: Path) -> None:
        import copy

        other = copy.deepcopy(lively_network)
        other.logits.bias.data += 1e-3
        table = ranges_of(FloatModel.read(write_model(tmp_path / "other.onnx", network=other)).network)
        model = FloatModel.read(write_model(tmp_path / "m.onnx"))
        with pytest.raises(CalibrationError, match="of another model"):
            quantized(model.network.model, table, self.OPTIONS, path=model.path)

    def test_a_layer_to_keep_that_is_not_there(self, write_model: Write, ranges_of: Ranges, tmp_path: Path) -> None:
        model = FloatModel.read(write_model(tmp_path / "m.onnx"))
        with pytest.raises(ConfigError, match=r"no layer encoder\.9 in"):
            quantized(
                model.network.model,
                ranges_of(model.network),
                QuantizeOptions(target="tensorrt", keep=frozenset({"encoder.9"})),
                path=model.path,
            )

    def test_keeping_everything(self, write_model: Write, ranges_of: Ranges, tmp_path: Path) -> None:
        model = FloatModel.read(write_model(tmp_path / "m.onnx"))
        options = QuantizeOptions(target="tensorrt", keep=frozenset(model.network.convolutions))
        with pytest.raises(ConfigError, match="all 28 layers are kept"):
            quantized(model.network.model, ranges_of(model.network), options, path=model.path)

    @pytest.mark.parametrize("values", [{"target": "openvino"}, {"target": "tensorrt", "rest": "bf16"}])
    def test_options_that_cannot_be(self, values: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="unknown"):
            QuantizeOptions(**values)
