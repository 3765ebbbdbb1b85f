"""Where ONNX Runtime loses time to OpenVINO, layer by layer, and what ONNX Runtime's own settings give.

    python -m lineside.benchmarks.studies.layer_gap strip.int8.onnx --float strip.onnx --seconds 60 --json layer_gap.json

In:   ONNX files of one checkpoint, of any precision, and the float32 file, from which the names of the layers are.
Out:  two tables, and with --json the samples and the environment: the latency of every file in ONNX Runtime, with one setting changed at a
      time for the first file, and in OpenVINO, in one interleaved run on random strips; and the milliseconds of every layer of the first
      file in both.
Both profilers slow their runtime down: the sums are no latencies. OpenVINO computes in float32 where the file does.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from lineside._optional import require
from lineside.benchmarks.measure.console import console, table_with
from lineside.benchmarks.measure.environment import environment
from lineside.benchmarks.measure.latency import LatencyOptions, Row, measure
from lineside.benchmarks.subjects.any_onnx import openvino_options
from lineside.engine.machine import physical_cores
from lineside.files import refuse_existing, write_json
from lineside.graph.float_model import FloatModel
from lineside.graph.network import base_name

from .int8_speed import feed_of, shortest_runs_ms

Feed = Mapping[str, NDArray[np.generic]]
PROFILED_RUNS = 5
AROUND = "around the network"
_MS_PER_S = 1e3


def _nothing(options: Any) -> None:
    """As `Inspector` runs it."""


def _no_spinning(options: Any) -> None:
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")


def _pinned(options: Any) -> None:
    """The threads that ONNX Runtime makes; the caller's own is the first."""
    others = [str(core + 1) for core in range(1, options.intra_op_num_threads)]
    if others:
        options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(others))


def _no_layout(options: Any) -> None:
    options.graph_optimization_level = require("onnxruntime", extra="onnxruntime").GraphOptimizationLevel.ORT_ENABLE_EXTENDED


def _no_arena(options: Any) -> None:
    options.enable_cpu_mem_arena = False


SETTINGS: Mapping[str, Callable[[Any], None]] = {
    "": _nothing,
    "threads that do not spin": _no_spinning,
    "threads pinned to cores": _pinned,
    "no optimisation of the layout": _no_layout,
    "no memory arena": _no_arena,
}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A file in a runtime, on one random strip."""

    name: str
    infer: Callable[[], object]

    def run(self, index: int) -> None:
        """One strip."""
        self.infer()


def in_onnxruntime(path: Path, feed: Feed, threads: int, setting: str = "") -> Loaded:
    """The file in ONNX Runtime, with one setting of `SETTINGS`."""
    session = _session(path, threads, SETTINGS[setting])
    name = f"{path.name}, ONNX Runtime" + (f", {setting}" if setting else "")
    return Loaded(name=name, infer=lambda: session.run(None, feed))


def in_openvino(path: Path, feed: Feed, threads: int) -> Loaded:
    """The file in OpenVINO."""
    request = _request(path, threads)
    return Loaded(name=f"{path.name}, OpenVINO", infer=lambda: request.infer(feed, share_inputs=True))


def layers_in_onnxruntime(path: Path, feed: Feed, threads: int) -> dict[str, float]:
    """Milliseconds of every node, by the runtime's own name for it and its operator: of each its shortest run."""
    with tempfile.TemporaryDirectory() as folder:

        def profiled(options: Any) -> None:
            options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")

        session = _session(path, threads, profiled)
        for _ in range(PROFILED_RUNS):
            session.run(None, feed)
        runs = shortest_runs_ms(Path(session.end_profiling()))
    return {f"{name} {kind}": ms for (name, kind), ms in runs.items()}


def layers_in_openvino(path: Path, feed: Feed, threads: int) -> dict[str, float]:
    """Milliseconds of every node that ran, by its name and what ran it: of each its shortest run."""
    request = _request(path, threads, PERF_COUNT=True)
    runs: dict[str, list[float]] = defaultdict(list)
    for _ in range(PROFILED_RUNS):
        request.infer(feed, share_inputs=True)
        for node in request.profiling_info:
            runs[f"{node.node_name} {node.exec_type}"].append(node.real_time.total_seconds() * _MS_PER_S)
    return {name: min(times_ms) for name, times_ms in runs.items()}


def by_layer(times_ms: Mapping[str, float], layers: Sequence[str]) -> dict[str, float]:
    """Sum up the nodes of each layer, which are those whose names begin like its convolution's; what is of none is `AROUND` them.

    A runtime names what it has joined after one of the nodes that went into it: NAME.conv, NAME.relu, NAME.conv.quantized, ...
    """
    stems = sorted(((name.removesuffix(".conv"), name) for name in layers), key=lambda pair: -len(pair[0]))
    found = dict.fromkeys([*layers, AROUND], 0.0)
    for node, ms in times_ms.items():
        name = base_name(node.split(" ")[0])
        found[next((layer for stem, layer in stems if name.startswith(stem)), AROUND)] += ms
    return found


def _session(path: Path, threads: int, change: Callable[[Any], None]) -> Any:
    runtime = require("onnxruntime", extra="onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    change(options)
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _request(path: Path, threads: int, **more: Any) -> Any:
    options = {**openvino_options(threads), **more}
    return require("openvino", extra="openvino").Core().compile_model(str(path), "CPU", options).create_infer_request()


def latency_table(rows: Sequence[Row]) -> Table:
    """A line per file and runtime; how many times as fast as the first."""
    table = table_with("One interleaved run; medians", "what", numbers=("n", "p50 ms", "p99 ms", "times", "95 %"))
    for row in rows:
        ratio = rows[0].over(row)
        times = (str(row.total_ms.n), f"{row.total_ms.p50:.1f}", f"{row.total_ms.p99:.1f}")
        table.add_row(row.name, *times, f"{ratio.value:.3f}", f"{ratio.low:.3f} .. {ratio.high:.3f}")
    return table


def layers_table(ours: Mapping[str, float], theirs: Mapping[str, float]) -> Table:
    """A line per layer, where ONNX Runtime loses most first."""
    table = table_with("Milliseconds by layer, with profilers", "layer", numbers=("ONNX Runtime", "OpenVINO", "lost"))
    for name in sorted(ours, key=lambda layer: theirs[layer] - ours[layer]):
        table.add_row(name, *(f"{ms:.2f}" for ms in (ours[name], theirs[name], ours[name] - theirs[name])))
    table.add_section()
    table.add_row("all", *(f"{ms:.1f}" for ms in (sum(ours.values()), sum(theirs.values()), sum(ours.values()) - sum(theirs.values()))))
    return table


def main(
    models: Annotated[list[Path], typer.Argument(help="ONNX files of one checkpoint.")],
    float_model: Annotated[Path, typer.Option("--float", help="Its float32 file.")],
    seconds: Annotated[float, typer.Option(help="Of latency, for all together.")] = 60.0,
    threads: Annotated[int | None, typer.Option(help="Of one run; every physical core unless said.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write samples and environment.")] = None,
) -> None:
    """Measure files in ONNX Runtime and in OpenVINO, and find the layers where they differ."""
    if json is not None:
        refuse_existing(json, force=False)
    source = FloatModel.read(float_model)
    feed, cores, layers = feed_of(source), threads or physical_cores(), source.network.convolutions
    first = models[0]
    nodes = {"onnxruntime": layers_in_onnxruntime(first, feed, cores), "openvino": layers_in_openvino(first, feed, cores)}
    loaded = [in_onnxruntime(first, feed, cores, setting) for setting in SETTINGS]
    loaded += [in_onnxruntime(path, feed, cores) for path in models[1:]] + [in_openvino(path, feed, cores) for path in models]
    rows = measure(loaded, LatencyOptions(seconds=seconds))
    sums = {runtime: by_layer(times_ms, layers) for runtime, times_ms in nodes.items()}
    out = console()
    out.print(latency_table(rows))
    out.print(layers_table(sums["onnxruntime"], sums["openvino"]))
    if json is not None:
        value = {"models": [path.name for path in models], "threads": cores, "layers_ms": sums, "nodes_ms": nodes}
        write_json(json, {"schema": 1, "environment": environment(), **value, "rows": [row.to_json() for row in rows]})


if __name__ == "__main__":
    typer.run(main)
