"""What makes ONNX Runtime's INT8 fast, and what would make it slow: other placements of Q/DQ nodes, and the time of every operator.

    python -m lineside.benchmarks.studies.int8_speed strip.onnx strip.ranges.json --seconds 120 --json int8_speed.json

In:   a float32 file of `lineside export` and its table of ranges.
Out:  two tables, and with --json the samples and the environment: the latency of every variant against float32 in one interleaved
      run, and the milliseconds of each operator of float32 and of INT8 as `lineside quantize` writes it.
A variant differs from what `quantize` writes in one thing. Only their speed is looked at here: `precision`, beside this file, judges.
"""

from __future__ import annotations

import json as json_module
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from lineside.benchmarks.measure.console import console, table_with
from lineside.benchmarks.measure.environment import environment
from lineside.benchmarks.measure.latency import LatencyOptions, Row, measure
from lineside.calibration.place.qdq import Grid, Placement, with_qdq
from lineside.calibration.place.qdq_onnxruntime import CONCAT, placement
from lineside.calibration.ranges.table import RangesTable
from lineside.engine.files.io_forms import CONTRACTS
from lineside.engine.machine import physical_cores
from lineside.engine.run.session import open_session
from lineside.files import refuse_existing, write_json
from lineside.graph.float_model import FloatModel
from lineside.graph.layers import layers_of
from lineside.graph.splice import spliced

if TYPE_CHECKING:
    import onnx

FLOAT = "float32"
INT8 = "int8"
SEED = 0
PROFILED_RUNS = 5
_US_PER_MS = 1e3
_KERNEL = "_kernel_time"
"""Ends the name of an event that is a node's own work."""


def signed(found: Placement) -> Placement:
    """Activations in int8 in place of uint8, with the same steps: MLAS has its fast convolution on x86 for uint8 alone."""
    grids = {name: Grid(scale=grid.scale, zero_point=grid.zero_point - 128, dtype="int8") for name, grid in found.activations.items()}
    return replace(found, activations=grids)


def one_scale_per_tensor(found: Placement) -> Placement:
    """Weights with one scale for all output channels."""
    weights = {name: np.full_like(scales, scales.max()) for name, scales in found.weights.items()}
    biases = {name: found.biases[name] * (weights[name] / scales) for name, scales in found.weights.items()}
    return replace(found, weights=weights, biases=biases)


def variants(model: FloatModel, table: RangesTable) -> Mapping[str, Callable[[], onnx.ModelProto]]:
    """Name -> a function that makes the model: at 64 base channels they do not all fit into memory."""
    patch = model.network.patch_model()
    layers = layers_of(patch)
    inner = [layer for layer in layers if not (layer.is_first or layer.is_last)]

    def made(found: Placement) -> onnx.ModelProto:
        return spliced(model.network, with_qdq(patch, found), model.manifest.to_properties())

    def one_scale_per_concatenation(found: Placement) -> Placement:
        grids = dict(found.activations)
        for layer in inner:
            if layer.before is not None and layer.before.op_type == CONCAT:
                grids |= dict.fromkeys(layer.takes, grids[layer.conv.input[0]])
        return replace(found, activations=grids)

    chosen = placement(patch, inner, table, rest="fp32")
    return {
        FLOAT: lambda: model.network.model,
        INT8: lambda: made(chosen),
        "first and last too": lambda: made(placement(patch, layers, table, rest="fp32")),
        "signed activations": lambda: made(signed(chosen)),
        "one scale per weight tensor": lambda: made(one_scale_per_tensor(chosen)),
        "one scale per concatenation": lambda: made(one_scale_per_concatenation(chosen)),
    }


@dataclass(frozen=True, kw_only=True)
class SessionBackend:
    """One model in ONNX Runtime, on one strip."""

    name: str
    session: Any
    feed: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, name: str, model: onnx.ModelProto, feed: Mapping[str, NDArray[Any]], *, threads: int, profile: str = "") -> SessionBackend:
        """A session of `model`; with `profile` it writes its operators' times to a file whose name begins so."""
        settings = {"enable_profiling": True, "profile_file_prefix": profile} if profile else None
        session = open_session(Path(name), threads=threads, content=model.SerializeToString(), settings=settings)
        return cls(name=name, session=session, feed=feed)

    def run(self, index: int) -> None:
        """One strip."""
        self.session.run(None, self.feed)


def operator_times_ms(model: onnx.ModelProto, feed: Mapping[str, NDArray[Any]], *, threads: int) -> dict[str, float]:
    """Milliseconds by type of operator, most first: of every node its shortest run."""
    with tempfile.TemporaryDirectory() as folder:
        backend = SessionBackend.of("", model, feed, threads=threads, profile=str(Path(folder) / "profile"))
        for index in range(PROFILED_RUNS):
            backend.run(index)
        runs = shortest_runs_ms(Path(backend.session.end_profiling()))
    totals: dict[str, float] = defaultdict(float)
    for (_, kind), ms in runs.items():
        totals[kind] += ms
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def shortest_runs_ms(profile: Path) -> dict[tuple[str, str], float]:
    """From ONNX Runtime's profile: the name of every node and its operator -> milliseconds of its shortest run."""
    runs: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in json_module.loads(profile.read_text()):
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            runs[event["name"].removesuffix(_KERNEL), event["args"]["op_name"]].append(event["dur"] / _US_PER_MS)
    return {node: min(times_ms) for node, times_ms in runs.items()}


def feed_of(model: FloatModel) -> dict[str, NDArray[Any]]:
    """One random strip as the model takes it."""
    contract, spec = CONTRACTS[model.manifest.io], model.manifest.spec
    kinds = {1: np.float32, 2: np.uint8}  # ONNX's numbers of the two types that a model of ours takes
    values = np.random.default_rng(SEED).integers(0, 256, (1, contract.input_channels, spec.height_px, spec.width_px))
    kind = kinds[model.network.model.graph.input[0].type.tensor_type.elem_type]
    return {contract.input: (values / 255 if model.manifest.io == "production" else values).astype(kind)}


def variants_table(rows: tuple[Row, ...]) -> Table:
    """A line per variant; how many times faster than float32, with its interval."""
    table = table_with("One interleaved run; medians", "variant", numbers=("n", "p50 ms", "p99 ms", "times faster", "95 %"))
    for row in rows:
        ratio = rows[0].over(row)
        times = (str(row.total_ms.n), f"{row.total_ms.p50:.1f}", f"{row.total_ms.p99:.1f}")
        table.add_row(row.name, *times, f"{ratio.value:.2f}", f"{ratio.low:.2f} .. {ratio.high:.2f}")
    return table


def operators_table(operators: Mapping[str, Mapping[str, float]]) -> Table:
    """Where the time goes: types of operators by milliseconds, for each model."""
    table = Table(title="Milliseconds by operator", title_justify="left", title_style="bold")
    for column in operators:
        table.add_column(column)
        table.add_column("ms", justify="right")
    lines = [[(kind, f"{ms:.1f}") for kind, ms in times.items() if ms >= 0.1] for times in operators.values()]
    for index in range(max(map(len, lines))):
        table.add_row(*(cell for line in lines for cell in (line[index] if index < len(line) else ("", ""))))
    return table


def main(
    model: Annotated[Path, typer.Argument(help="A float32 ONNX file.")],
    ranges: Annotated[Path, typer.Argument(help="Its table of ranges.")],
    seconds: Annotated[float, typer.Option(help="Of latency for all variants together.")] = 120.0,
    only: Annotated[list[str] | None, typer.Option(help="A variant beside float32 and int8; may be given again. All, unless said.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of one run; every physical core unless said.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write samples and environment.")] = None,
) -> None:
    """Measure INT8 on ONNX Runtime against float32, and against other ways to place Q/DQ nodes."""
    if json is not None:
        refuse_existing(json, force=False)
    opened, table = FloatModel.read(model), RangesTable.read(ranges)
    table.refuse_other(opened.network, path=model)
    feed, cores = feed_of(opened), threads or physical_cores()
    made = {name: make for name, make in variants(opened, table).items() if not only or name in (FLOAT, INT8, *only)}
    operators = {name: operator_times_ms(made[name](), feed, threads=cores) for name in (FLOAT, INT8)}
    backends = [SessionBackend.of(name, make(), feed, threads=cores) for name, make in made.items()]
    rows = measure(backends, LatencyOptions(seconds=seconds))
    out = console()
    out.print(variants_table(rows))
    out.print(operators_table(operators))
    if json is not None:
        value = {"model": model.name, "threads": cores, "operators_ms": operators, "rows": [row.to_json() for row in rows]}
        write_json(json, {"schema": 1, "environment": environment(), **value})


if __name__ == "__main__":
    typer.run(main)
