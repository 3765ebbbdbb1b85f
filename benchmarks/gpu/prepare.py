"""Make the folder that a GPU machine needs, on a machine that has PyTorch and ONNX: every precision, tiling and io form of one network.

In:   a checkpoint of `lineside train`, or a width (64): then the network has random weights, made lively, and the strips are made up.
Out:  the folder of `bundle`, whole or not at all.
Random weights are enough for speed, for the parity of numbers and for the precision of layers; they say nothing of a model's worth.
The float32 files are checked against PyTorch as they are exported; the heatmaps to find again are ONNX Runtime's on the CPU.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.errors import ConfigError
from lineside.files import folder_being_written, refuse_existing
from lineside.manifest import Io, Precision, Tiling, sha256_of_file, versions
from lineside.progress import Progress, silent
from lineside.spec import CHANNELS, PRESETS, StripSpec
from lineside.synth.defects import DefectOptions, add_defects

from .bundle import HEATMAPS, STRIPS, Bundle, BundledModel
from .site import write_site

if TYPE_CHECKING:
    from lineside.train.checkpoint import Checkpoint

TILINGS: tuple[Tiling, ...] = ("batched", "full", "unrolled")
IOS: tuple[Io, ...] = ("production", "raw")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
OPERATIONS_PER_MULTIPLY_ADD = 2
LIVELY = 8.0
"""Reach of the difference of a random network's logits: heat from 0.02 to 0.98."""
STRAY = 0.3
"""How far its convolutions are from passing a channel on. With random weights alone 28 layers are chaotic: FP16 rounds heat by 0.02 and
INT8 by all of it, as in no trained network. With this, at 16 base channels: by 0.007 and 0.4 at most, by 0.0002 and 0.011 in the mean."""
STATISTICS = 4
"""Batches of the batch norms' statistics."""
RANGES = "strip.ranges.json"
_GOOD = "train/good"
_MASK = np.uint8(255)


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """What goes into the folder.

    Attributes:
        strips: To compare heatmaps on; half of them get defects.
        patches: To calibrate INT8 on.
        examples: Strips to make up for a width; a checkpoint brings its own.
        spec: Of the strips that are made up.
        seed: Of weights, strips and defects.
    """

    strips: int = 10
    patches: int = 64
    examples: int = 4
    spec: StripSpec = PRESETS["strip"]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strips < 1 or self.examples < 1:
            raise ConfigError(
                f"{self.strips} strips from {self.examples} examples", why="heatmaps are compared on them", fix="use one of each at least"
            )


def prepare(source: str, out: Path, options: PrepareOptions = PrepareOptions(), *, progress: Progress = silent) -> Bundle:
    """Prepare the folder `out`, which must not exist.

    Args:
        source: A checkpoint's path, or a width in base channels.
        out: The folder.
        options: What goes into it.
        progress: Hears about every file.

    Raises:
        ConfigError: The width cannot be.
        CheckpointError: The checkpoint cannot be used.
        OutputError: `out` exists or cannot be written.
        MissingPackageError: PyTorch, ONNX or ONNX Runtime is not installed.
    """
    for package in ("torch", "onnx", "onnxruntime"):
        require(package, extra="export")
    refuse_existing(out, force=False)
    from lineside.train.checkpoint import load_checkpoint

    with tempfile.TemporaryDirectory() as scratch, folder_being_written(out) as folder:
        file = Path(scratch) / "best.pt" if source.isdigit() else Path(source)
        if source.isdigit():
            _write_lively_checkpoint(file, int(source), options)
        checkpoint = load_checkpoint(file)
        models = _write_models(file, checkpoint, folder, Path(scratch) / "data", options, progress)
        strips = _strips(checkpoint, options)
        with (folder / STRIPS).open("wb") as array:
            np.save(array, strips)
        models = _write_heatmaps(models, folder, strips, progress)
        bundle = Bundle(
            folder=folder, base_channels=checkpoint.base_channels, size=checkpoint.spec.size, models=tuple(models), made_by=versions()
        )
        bundle.write_index()
        write_site(folder)
    return replace(bundle, folder=out)


def _write_models(
    file: Path, checkpoint: Checkpoint, folder: Path, data: Path, options: PrepareOptions, progress: Progress
) -> list[BundledModel]:
    """Every form of the network: the float32 ones from the checkpoint, the others from those."""
    from lineside.calibration.place.precision_file import write_half, write_quantized
    from lineside.calibration.place.quantize import QuantizeOptions
    from lineside.calibration.ranges.ranges import CalibrateOptions, calibrate
    from lineside.calibration.ranges.sampler import SampleOptions
    from lineside.dataset import Dataset
    from lineside.export.graph import ExportOptions
    from lineside.export.to_onnx import export_checkpoint
    from lineside.graph.cost import multiply_adds
    from lineside.graph.float_model import FloatModel

    ranges = folder / RANGES
    _write_dataset(checkpoint, data)
    models = []
    forms = list(product(TILINGS, IOS))
    for tiling, io in progress(forms, total=len(forms), what="models"):
        paths = {precision: folder / f"{tiling}.{precision}.{io}.onnx" for precision in PRECISIONS}
        source = paths["fp32"]
        export_checkpoint(file, source, ExportOptions(tiling=tiling, io=io, raw_dtype="uint8" if io == "raw" else "float32"))
        model = FloatModel.read(source)
        if not ranges.exists():
            calibration = CalibrateOptions(sample=SampleOptions(patches=options.patches, seed=options.seed))
            calibrate(model, Dataset.open(data, spec=checkpoint.spec), calibration).write(ranges)
        write_half(source, paths["fp16"], ranges=ranges)
        write_quantized(source, ranges, paths["int8"], QuantizeOptions(target="tensorrt"))
        passes = 1 if tiling == "full" else len(checkpoint.spec.grid)  # the network sees the strip at once, or every tile
        operations = OPERATIONS_PER_MULTIPLY_ADD * passes * sum(multiply_adds(model.network).values())
        models += [
            BundledModel(
                tiling=tiling,
                precision=precision,
                io=io,
                sha256=sha256_of_file(path),
                operations=operations,
                reference=_reference(tiling),
            )
            for precision, path in paths.items()
        ]
    return models


def _reference(tiling: Tiling) -> str:
    """The file of a tiling's float32 heatmaps. Batched and unrolled are the same numbers."""
    return f"{'full' if tiling == 'full' else 'batched'}.fp32.npy"


def _write_heatmaps(models: list[BundledModel], folder: Path, strips: NDArray[np.uint8], progress: Progress) -> list[BundledModel]:
    """What ONNX Runtime makes of the strips: of float32, and of INT8, whose rounding is the graph's own."""
    from lineside.engine.inspector import Inspector

    sources = [
        model
        for model in models
        if model.io == "production" and model.tiling in ("batched", "full") and model.precision in ("fp32", "int8")
    ]
    for model in progress(sources, total=len(sources), what="heatmaps"):
        with Inspector.load(folder / f"{model.name}.onnx") as inspector:
            heatmaps = np.stack([inspector.heatmap(strip) for strip in strips])
        file = folder / HEATMAPS / f"{model.tiling}.{model.precision}.npy"
        file.parent.mkdir(exist_ok=True)
        with file.open("wb") as array:
            np.save(array, heatmaps)
    return [
        replace(model, own=_reference(model.tiling).replace("fp32", "int8")) if model.precision == "int8" else model for model in models
    ]


def _strips(checkpoint: Checkpoint, options: PrepareOptions) -> NDArray[np.uint8]:
    """(N, 4, H, W) uint8: the checkpoint's examples in turn, every second one with defects, and a mask that is ignored."""
    rng = np.random.default_rng([options.seed, 1])
    examples = checkpoint.examples.numpy()
    made = []
    for index in range(options.strips):
        pixels = examples[index % len(examples)].astype(np.float32)
        if index % 2:
            add_defects(pixels, rng, DefectOptions(share=1.0))
        pixels = np.clip(pixels + rng.normal(0, 1, pixels.shape), 0, 255)  # no two are the same
        made.append(np.concatenate([np.rint(pixels).astype(np.uint8), np.full((1, *pixels.shape[1:]), _MASK)]))
    return np.stack(made)


def _write_dataset(checkpoint: Checkpoint, root: Path) -> None:
    """The checkpoint's examples as good strips."""
    tifffile = require("tifffile", extra="export")
    (root / _GOOD).mkdir(parents=True)
    for index, example in enumerate(checkpoint.examples.numpy()):
        tifffile.imwrite(root / _GOOD / f"{index}.tif", example, photometric="minisblack")


def _write_lively_checkpoint(path: Path, width: int, options: PrepareOptions) -> None:
    """A checkpoint of random weights whose activations and heatmaps take all values, on made-up strips."""
    import torch

    from lineside.synth.synthetic import SynthOptions, draw_strip
    from lineside.synth.texture import generated_texture
    from lineside.tiles import cut
    from lineside.train.checkpoint import Checkpoint, save_checkpoint
    from lineside.train.config import TrainOptions
    from lineside.train.unet import ConvUnit, UNet, weights_sha256

    texture = generated_texture(options.seed)
    synth = SynthOptions(spec=options.spec, train=options.examples, seed=options.seed)
    pixels = [draw_strip(texture, synth, "train", "good", index).pixels[: len(CHANNELS)] for index in range(options.examples)]
    examples = np.rint(np.stack(pixels)).astype(np.uint8)
    torch.manual_seed(options.seed)
    network = UNet(width)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
            module.momentum = None  # the mean over all batches
        if isinstance(module, ConvUnit):
            weight = module.conv.weight.data.mul_(STRAY)
            into, out = range(weight.shape[0]), [channel % weight.shape[1] for channel in range(weight.shape[0])]
            weight[into, out, 1, 1] += 1.0
    tiles = torch.from_numpy(cut(examples[:1].astype(np.float32) / np.float32(255), options.spec.grid))
    with torch.no_grad():
        network.train()
        for _ in range(STATISTICS):  # of noise: what is alike all over a texture would be blown up, and its rounding with it
            network(torch.rand(4, len(CHANNELS), options.spec.tile_px, options.spec.tile_px))
        network.eval()
        logits = network(tiles)
        difference = logits[:, 1] - logits[:, 0]
        network.logits.weight *= LIVELY / float(difference.max() - difference.min())
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_checkpoint(
        path,
        Checkpoint(
            spec=options.spec,
            options=TrainOptions(base_channels=width, seed=options.seed),
            dataset="made up",
            dataset_fingerprint="",
            epoch=0,
            chosen_by="random weights",
            examples=torch.from_numpy(examples),
            weights=weights,
            weights_sha256=weights_sha256(weights),
        ),
    )
