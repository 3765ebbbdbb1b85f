"""What each precision costs and gives: accuracy, verdicts, size, memory and latency of one network, in one table.

    python -m lineside.benchmarks.studies.precision batched.onnx full.onnx --dataset DATASET --seconds 600 --json precision.json

In:   float32 files of one checkpoint, one per tiling, and a data set with train/good to calibrate on and labelled strips in test/.
Out:  a table, and with --json every number, interval, sample and the environment; with --out the model files.
FP16, INT8 for both targets, ONNX Runtime's own INT8 and, where it is installed, that of NVIDIA Model Optimizer go through the gate
against the float32 file that they were made from. All run on ONNX Runtime on the CPU, which computes FP16, and INT8 laid out for TensorRT,
in float32 with rounding: their accuracy is that of the precision, their speed here is not that of a GPU.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lineside._optional import require
from lineside.benchmarks.bench.cold_start import ColdStart, cold_start
from lineside.benchmarks.measure.console import console, table_with
from lineside.benchmarks.measure.environment import environment
from lineside.benchmarks.measure.latency import LatencyOptions, Row
from lineside.benchmarks.subjects.cases import Case
from lineside.calibration.place.precision_file import write_half, write_quantized
from lineside.calibration.place.quantize import QuantizeOptions, Target
from lineside.calibration.ranges.ranges import DEFAULT_METHOD, CalibrateOptions, calibrate
from lineside.calibration.ranges.sampler import DEFAULT_PATCHES, SampleOptions
from lineside.calibration.ranges.table import RangesTable
from lineside.dataset import Dataset, Sample
from lineside.engine.inspector import Inspector
from lineside.files import make_output_folder, refuse_existing, write_json
from lineside.graph.float_model import FloatModel
from lineside.judge.compare import compare
from lineside.judge.gate import GateDecision, decide

from .modelopt_quantizer import modelopt_is_there, write_with_modelopt
from .static_quantizer import write_statically_quantized
from .tilings import measure_models

T = TypeVar("T")

SCHEMA = 1
FLOAT = "float32"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A file to measure: its precision, and the float32 file that it was made from."""

    precision: str
    path: Path
    source: Path

    @property
    def name(self) -> str:
        """Such as "full int8 tensorrt"."""
        return f"{self.source.stem} {self.precision}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one file is worth.

    Attributes:
        variant: Which one.
        size_bytes: Of the file.
        q, dq: How many QuantizeLinear and DequantizeLinear nodes it has.
        decision: Of the gate, against the float32 file.
        max_difference, mean_difference: Of the heatmaps from that one's.
        start: Load time and memory, in a process of its own.
        latency: None when it was not measured.
    """

    variant: Variant
    size_bytes: int
    q: int
    dq: int
    decision: GateDecision
    max_difference: float
    mean_difference: float
    start: ColdStart
    latency: Row | None

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values; files by their names."""
        return {
            **asdict(self),
            "variant": {**asdict(self.variant), "path": self.variant.path.name, "source": self.variant.source.name},
            "decision": self.decision.to_json(),
            "latency": self.latency.to_json() if self.latency else None,
        }


def write_variants(sources: Sequence[Path], dataset: Path, folder: Path, options: CalibrateOptions) -> Iterator[Variant]:
    """Write the FP16 and INT8 files of every float32 file into `folder`, with one table of ranges for all of them.

    Raises:
        CalibrationError: The files are of different checkpoints.
        ModelError: A file is not a float32 file of ours.
        DatasetError, StripError: The good strips cannot be read, or there are none.
    """
    ranges, model = folder / "ranges.json", FloatModel.read(sources[0])
    calibrate(model, Dataset.open(dataset, spec=model.manifest.spec), options, progress=_bar).write(ranges)
    for source in sources:

        def variant(precision: str, source: Path = source) -> Variant:
            return Variant(precision=precision, path=folder / f"{source.stem}.{precision.replace(' ', '.')}.onnx", source=source)

        yield Variant(precision=FLOAT, path=source, source=source)
        half = variant("fp16")
        write_half(source, half.path, ranges=ranges)
        yield half
        for target in get_args(Target):
            int8 = variant(f"int8 {target}")
            write_quantized(source, ranges, int8.path, QuantizeOptions(target=target))
            yield int8
        static = variant("quantize_static")
        write_statically_quantized(source, RangesTable.read(ranges), dataset, static.path)
        yield static
        if modelopt_is_there():
            foreign = variant("modelopt")
            write_with_modelopt(source, ranges, dataset, foreign.path)
            yield foreign


def measure_variants(variants: Sequence[Variant], samples: Sequence[Sample], options: LatencyOptions | None) -> list[Measured]:
    """Judge every file, then measure all of them against each other; `options` None leaves the latency out."""
    found = [_judge(variant, samples) for variant in variants]
    if options is None:
        return found
    rows = measure_models([variant.path for variant in variants], options)
    return [replace(one, latency=row) for one, row in zip(found, rows, strict=True)]


def precision_table(found: Sequence[Measured]) -> Table:
    """One line per file. Ratios are medians over the rounds, to the float32 file."""
    table = table_with(
        "Precisions against float32 of the same tiling",
        "model",
        numbers=("AUROC", "AP", "flips", "max diff", "gate", "Q", "DQ", "MiB", "peak MiB", "p50 ms", "times faster", "95 %"),
    )
    references = {one.variant.path: one.latency for one in found}
    for one in found:
        values = {criterion.name: f"{criterion.candidate:.4f}" for criterion in one.decision.criteria}
        table.add_row(
            one.variant.name,
            values.get("image AUROC", "-"),
            values.get("pixel AP", "-"),
            str(len(one.decision.flips)),
            f"{one.max_difference:.4f}",
            "passed" if one.decision.passed else "FAILED",
            str(one.q),
            str(one.dq),
            f"{one.size_bytes / 2**20:.1f}",
            f"{one.start.peak_mib:.0f}",
            *_latency_cells(one.latency, references[one.variant.source]),
        )
    return table


def main(
    models: Annotated[list[Path], typer.Argument(help="Float32 ONNX files of one checkpoint, such as one per tiling.")],
    dataset: Annotated[Path, typer.Option(help="Its train/good is calibrated on, its test/ measured on.")],
    patches: Annotated[int, typer.Option(help="To calibrate on.")] = DEFAULT_PATCHES,
    seconds: Annotated[float, typer.Option(help="Of latency for all files together; 0 leaves it out.")] = 0.0,
    out: Annotated[Path | None, typer.Option(help="A folder to keep the files in.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all numbers, samples and the environment.")] = None,
) -> None:
    """Measure float32, FP16 and INT8 of one network against each other."""
    if json is not None:
        refuse_existing(json, force=False)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if out is None else out
        make_output_folder(folder, force=False)
        variants = list(write_variants(models, dataset, folder, CalibrateOptions(sample=SampleOptions(patches=patches))))
        samples = Dataset.open(dataset, spec=FloatModel.read(models[0]).manifest.spec).test
        found = measure_variants(variants, samples, LatencyOptions(seconds=seconds) if seconds else None)
    console().print(precision_table(found))
    if json is not None:
        value = {"dataset": dataset.name, "patches": patches, "method": DEFAULT_METHOD, "rows": [one.to_json() for one in found]}
        write_json(json, {"schema": SCHEMA, "environment": environment(), **value})


def _judge(variant: Variant, samples: Sequence[Sample]) -> Measured:
    with Inspector.load(variant.source) as reference, Inspector.load(variant.path) as candidate:
        found = compare(reference, candidate, samples, progress=_bar)
    nodes = Counter(node.op_type for node in require("onnx", extra="export").load(str(variant.path)).graph.node)
    return Measured(
        variant=variant,
        q=nodes["QuantizeLinear"],
        dq=nodes["DequantizeLinear"],
        size_bytes=variant.path.stat().st_size,
        decision=decide(found.reference, found.candidate, threshold=found.threshold),
        max_difference=found.max_difference,
        mean_difference=found.mean_difference,
        start=cold_start(Case.inspected(variant.path)),
        latency=None,
    )


def _bar(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
    return track(items, total=total, description=what, console=Console(stderr=True))


def _latency_cells(row: Row | None, reference: Row | None) -> tuple[str, str, str]:
    if row is None or reference is None:
        return "-", "-", "-"
    ratio = reference.over(row)
    return f"{row.total_ms.p50:.1f}", f"{ratio.value:.2f}", f"{ratio.low:.2f} .. {ratio.high:.2f}"


if __name__ == "__main__":
    typer.run(main)
