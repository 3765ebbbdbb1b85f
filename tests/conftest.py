"""What every test stands on."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from lineside_standin.install import Standin
from numpy.typing import NDArray

from lineside.calibration.ranges.table import METHODS, HistogramSummary, RangesTable, TensorRange, network_sha256
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.files.sidecar import EngineManifest
from lineside.graph.network import TILES, Network
from lineside.manifest import ModelManifest, Tiling
from lineside.spec import StripSpec
from lineside.synth.texture import generated_texture

# A shell that starts the tests in the background hands SIGINT down as ignored, to them and to every program that they start:
# the tests of Ctrl-C need it as a terminal gives it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The networks of the tests are too small for a second thread of PyTorch, which would wait in a loop for a core that is busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")


SMALL = StripSpec(height_px=64, width_px=96, tile_px=32, rows=3, columns=4)
"""What the models of tests/engine/models inspect."""
LIVELY_SPEC = StripSpec.of_size(100, 70, tile_px=64)
"""2 x 2 tiles: all of them corners."""


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Standin:
    """TensorRT, cuda-python and PyCUDA are stand-ins, and the machine has a stand-in's GPU: for this test and the processes it starts."""
    return Standin(monkeypatch, tmp_path_factory.mktemp("standin"))


@pytest.fixture(scope="session", autouse=True)
def texture_of() -> Iterator[Callable[[int], NDArray[np.float32]]]:
    """The made-up texture of a seed, which takes a second to make: the same array whenever it is asked for, by `synthesize` too."""

    @functools.cache
    def texture(seed: int) -> NDArray[np.float32]:
        made = generated_texture(seed)
        made.flags.writeable = False
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lineside.synth.synthetic.generated_texture", texture)
        yield texture


@pytest.fixture(scope="session")
def sidecar_of() -> Callable[..., EngineManifest]:
    """A function that gives the sidecar of an engine for one or four strips, which an Orin built; fields are as they are said."""
    model = ModelManifest(
        spec=StripSpec(height_px=64, width_px=96, tile_px=32, rows=3, columns=4),
        tiling="batched",
        io="production",
        base_channels=16,
        weights_sha256="a" * 64,
        checkpoint_sha256="b" * 64,
    )
    known = {
        "plan_sha256": "d" * 64,
        "onnx": "strip.onnx",
        "onnx_sha256": "e" * 64,
        "model": model,
        "input_dtype": "float32",
        "batch": None,
        "profiles": BatchProfiles.parse("1,4"),
        "tensorrt": "10.3.0",
        "gpu": "Orin",
        "compute_capability": (8, 7),
        "driver_cuda": (12, 6),
        "options": {},
        "build_seconds": 1.0,
        "built_at": "2026-11-21T12:00:00+00:00",
        "version_compatible": False,
        "hardware_compatible": False,
        "device_memory_bytes": 1 << 20,
        "layers": (),
        "int8_planned": 0,
        "int8_built": 0,
    }
    return lambda **fields: EngineManifest(**{**known, **fields})


@pytest.fixture(scope="session")
def network_of() -> Callable[..., Any]:
    """A function that gives a UNet of 2 base channels with random weights, batch statistics of random tiles, and `gain` in its logits."""
    torch = pytest.importorskip("torch", reason="PyTorch makes the network")
    from lineside.train.unet import UNet

    def network(seed: int, *, tile_px: int, batches: int, gain: float) -> Any:
        torch.manual_seed(seed)
        network = UNet(2)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.3)
        network.train()
        for _ in range(batches):
            network(torch.rand(4, 3, tile_px, tile_px))
        network.logits.weight.data *= gain
        return network.eval()

    return network


@pytest.fixture(scope="session")
def lively_network(network_of: Callable[..., Any]) -> Any:
    """A UNet of 2 base channels whose activations and heatmaps have all values; not to be changed."""
    return network_of(0, tile_px=64, batches=20, gain=8)


@pytest.fixture(scope="session")
def detector() -> Any:
    """A UNet of 2 base channels set by hand to find what is in Target and not in Ref1: its deeper layers work and are not listened to."""
    torch = pytest.importorskip("torch", reason="PyTorch makes the network")
    from lineside.train.unet import UNet

    torch.manual_seed(0)
    network = UNet(2).eval()
    first, second = network.encoder[0].convs
    merge = network.decoder[4].merge
    for conv in (first.conv, second.conv, merge[0].conv, merge[1].conv, network.logits):
        conv.weight.data.zero_()
    for channel, sign in enumerate((1, -1)):  # brighter, and darker
        first.conv.weight.data[channel, :2, 1, 1] = torch.tensor([sign, -sign])
        for unit in (second, merge[0], merge[1]):
            unit.conv.weight.data[channel, channel, 1, 1] = 1
        network.logits.weight.data[1, channel, 1, 1] = 60
    network.logits.bias.data = torch.tensor([0.0, -6.0])  # half heat at a difference of 0.1, 25 grey levels
    return network


@pytest.fixture(scope="session")
def write_detector(detector: Any) -> Callable[[Path, Tiling], Path]:
    """A function that writes the detector as a full-image ONNX file of `SMALL` strips."""
    onnx = pytest.importorskip("onnx", reason="it writes the file")
    from lineside.export.graph import ExportOptions, onnx_model

    def write(path: Path, tiling: Tiling) -> Path:
        manifest = ModelManifest(
            spec=SMALL, tiling=tiling, io="production", base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
        )
        onnx.save(onnx_model(detector, manifest, ExportOptions(tiling=tiling)), path)
        return path

    return write


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set for the detector: good strips, and in test/ two kinds of defects with their ground truth; not to be changed."""
    image = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(1)
    for folder, count in (("train/good", 4), ("test/good", 3), ("test/bright", 3), ("test/dark", 2)):
        kind = Path(folder).name
        (root / folder).mkdir(parents=True)
        (root / "ground_truth" / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            strip = np.tile(rng.integers(90, 160, (1, 100, 70)), (3, 1, 1)).astype(np.uint8)
            mask = np.zeros((100, 70), np.uint8)
            if kind != "good":
                row, column = rng.integers(10, 60, 2)
                mask[row : row + 3, column : column + 3] = 255
                strip[0, mask > 0] += np.uint8(60 if kind == "bright" else 256 - 60)
                image.fromarray(mask).save(root / "ground_truth" / kind / f"{index}.png")
            tifffile.imwrite(root / folder / f"{index}.tif", strip, photometric="minisblack")
    return root


@pytest.fixture(scope="session")
def write_model(lively_network: Any) -> Callable[..., Path]:
    """A function that writes the network as a full-image ONNX file of `LIVELY_SPEC` strips, in any form."""
    onnx = pytest.importorskip("onnx", reason="ONNX files are read and written with it")
    from lineside.export.graph import ExportOptions, onnx_model

    def write(path: Path, *, network: Any = None, spec: StripSpec = LIVELY_SPEC, **options: Any) -> Path:
        form = ExportOptions(**options)
        manifest = ModelManifest(
            spec=spec, tiling=form.tiling, io=form.io, base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
        )
        onnx.save(onnx_model(network or lively_network, manifest, form), str(path))
        return path

    return write


@pytest.fixture(scope="session")
def ranges_of() -> Callable[..., RangesTable]:
    """A function that gives a model a table by running it over random patches: minimum and maximum for every method."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="it runs the model")

    def ranges(network: Network, spec: StripSpec = LIVELY_SPEC, **reached: float) -> RangesTable:
        """`reached` says how far a tensor came instead: decoder_0_concat=9000."""
        names = [name for name in network.activations if name != TILES]
        session = onnxruntime.InferenceSession(network.patch_model(names).SerializeToString(), providers=["CPUExecutionProvider"])
        tiles = np.random.default_rng(2).uniform(0, 1, (8, 3, spec.tile_px, spec.tile_px)).astype(np.float32)
        values = dict(zip(names, session.run(names, {TILES: tiles}), strict=True)) | {TILES: tiles}
        tensors = {}
        for name in network.activations:
            low, high = float(values[name].min()), reached.get(name.replace(".", "_"), float(values[name].max()))
            amax = max(-low, high) or 1.0
            tensors[name] = TensorRange(
                low=low,
                high=high,
                amax=dict.fromkeys(METHODS, amax),
                clipped=dict.fromkeys(METHODS, 0.0),
                histogram=HistogramSummary(limit=amax, zeros=0, counts=(1,)),
            )
        return RangesTable(
            model="strip.onnx",
            network_sha256=network_sha256(network),
            weights_sha256="0" * 64,
            spec=spec,
            method="minmax",
            percentile=99.99,
            seed=0,
            tensors=tensors,
            patches=(),
            images={},
        )

    return ranges
