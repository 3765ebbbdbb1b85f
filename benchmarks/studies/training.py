"""How fast training is: making patches, against the way through whole strips, and the parts of a step.

    python -m lineside.benchmarks.studies.training --json training.json

In:   a data set, or none: then one is made up.
Out:  two tables, and with --json the samples and the environment.

Four ways to patches, interleaved, each in one thread, all from the same files with the same density of defects:

    patch first             what `lineside train` does: cut the patch, then flip it and add defects to it; strips stay in memory
    patch first, uncached   the same with --cache-mb 0: every patch reads its strip
    whole strip, all tiles  read the strip, flip it, add defects to all of it, cut it into all its tiles: few strips in a batch
    whole strip, one patch  the same work, of which one patch is used: as many strips in a batch as patches

The parts of a step come from the training loop itself (`StepReport`), with data workers as in a real run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
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
from lineside.benchmarks.measure.stats import Percentiles
from lineside.dataset import Dataset
from lineside.files import refuse_existing, write_json
from lineside.reader import read_strip
from lineside.spec import CHANNELS, FULL_SCALE, PRESETS
from lineside.synth.defects import DefectOptions, add_defects
from lineside.synth.synthetic import SynthOptions, synthesize
from lineside.tiles import cut

if TYPE_CHECKING:
    from lineside.train.config import TrainOptions
    from lineside.train.report import StepReport

WARM_UP_STEPS = 10
"""Steps that are not counted: the workers start, and memory is claimed."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to patches. One call makes `patches` of them."""

    name: str
    patches: int
    make: Callable[[int], object]

    def run(self, index: int) -> None:
        """Make them."""
        self.make(index)


@dataclass(frozen=True, kw_only=True)
class Patches:
    """What was measured of one way."""

    way: Way
    row: Row

    @property
    def per_second(self) -> float:
        """Patches per second, by the median call."""
        return self.way.patches / (self.row.total_ms.p50 / 1e3)


def measure_patches(dataset: Dataset, options: TrainOptions, timing: LatencyOptions) -> list[Patches]:
    """Measure the four ways; the first one is ours."""
    from lineside.train.data import PatchBatches

    alone = replace(options, workers=0)
    cached = PatchBatches(dataset.train, dataset.spec, alone)
    uncached = PatchBatches(dataset.train, dataset.spec, replace(alone, cache_mb=0))
    size = options.batch_size

    def whole_strip(index: int) -> object:
        return _tiles_of_whole_strip(dataset, options, index)

    ways = [
        Way(name="patch first", patches=size, make=cached.batch),
        Way(name="patch first, uncached", patches=size, make=uncached.batch),
        Way(
            name="whole strip, all tiles", patches=len(dataset.spec.grid), make=lambda index: _tiles_of_whole_strip(dataset, options, index)
        ),
        Way(name="whole strip, one patch", patches=1, make=lambda index: _tiles_of_whole_strip(dataset, options, index)[0][0].copy()),
    ]
    for index in range(-(-len(dataset.train) // size)):
        cached.batch(index)  # once over all strips: the cache is as full as it will be
    return [Patches(way=way, row=row) for way, row in zip(ways, measure(ways, timing), strict=True)]


def _tiles_of_whole_strip(dataset: Dataset, options: TrainOptions, index: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Tiles (T, 3, tile, tile) float32 in [0, 1] and their masks (T, 1, tile, tile), all made from one strip."""
    grid = dataset.spec.grid
    rng = np.random.default_rng([options.seed, index])
    strip = read_strip(dataset.train[index % len(dataset.train)], dataset.spec)[: len(CHANNELS)]
    down, across = (int(step) for step in rng.choice((-1, 1), size=2))
    flipped = strip[:, ::down, ::across].astype(np.float32)
    least, most = options.defects.count
    mask = add_defects(flipped, rng, DefectOptions(count=(least * len(grid), most * len(grid)), share=options.defects.share))
    flipped /= np.float32(FULL_SCALE)
    return cut(flipped[np.newaxis], grid), cut(mask[np.newaxis, np.newaxis], grid)


def measure_steps(dataset: Dataset, options: TrainOptions, steps: int) -> Mapping[str, Sequence[float]]:
    """Train for `steps` counted steps; milliseconds of each part of each step."""
    from lineside.train.loop import train
    from lineside.train.report import Deaf

    reports: list[StepReport] = []

    class Ears(Deaf):
        def on_step(self, report: StepReport) -> None:
            reports.append(report)

    without_valid = Dataset(root=dataset.root, spec=dataset.spec)
    with tempfile.TemporaryDirectory() as folder:
        train(without_valid, Path(folder) / "run", replace(options, epochs=1, steps_per_epoch=WARM_UP_STEPS + steps), listener=Ears())
    counted = reports[WARM_UP_STEPS:]
    return {
        "wait for data": [report.data_ms for report in counted],
        "forward": [report.forward_ms for report in counted],
        "backward, optimiser": [report.backward_ms for report in counted],
    }


def main(
    dataset: Annotated[Path | None, typer.Argument(help="A data set with train/good; one is made up without it.")] = None,
    base_channels: Annotated[int, typer.Option(help="Width of the network.")] = 16,
    batch_size: Annotated[int, typer.Option(help="Patches of a batch.")] = 16,
    workers: Annotated[int, typer.Option(help="Processes that make batches.")] = 2,
    steps: Annotated[int, typer.Option(help="Counted training steps.")] = 50,
    seconds: Annotated[float, typer.Option(help="For the ways to patches.")] = 20.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    amp: Annotated[bool, typer.Option("--amp", help="Run the network in bfloat16.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write samples and environment.")] = None,
) -> None:
    """Measure how fast patches are made, and what a training step is made of."""
    from lineside.train.config import TrainOptions

    if json is not None:
        refuse_existing(json, force=False)
    options = TrainOptions(base_channels=base_channels, batch_size=batch_size, workers=workers, device=device, amp=amp)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        if dataset is None:
            dataset = Path(folder) / "dataset"
            synthesize(dataset, SynthOptions(spec=PRESETS["strip"], valid=0, test=0))
        opened = Dataset.open(dataset)
        patches = measure_patches(opened, options, LatencyOptions(seconds=seconds))
        parts = measure_steps(opened, options, steps)
    console().print(patches_table(patches))
    console().print(steps_table(parts, options))
    if json is not None:
        ways = [{**one.row.to_json(), "patches": one.way.patches, "patches_per_second": one.per_second} for one in patches]
        write_json(json, {"environment": environment(), "options": options.to_json(), "patches": ways, "steps_ms": parts})


def patches_table(patches: Sequence[Patches]) -> Table:
    """One line per way; the last column says how many times as fast the first one is."""
    table = table_with(
        "Making patches in one thread: medians of a call", "way", numbers=("calls", "patches", "ms", "patches / s", "ours / this")
    )
    for one in patches:
        milliseconds, ratio = one.row.total_ms.p50, patches[0].per_second / one.per_second
        table.add_row(
            one.way.name, str(one.row.total_ms.n), str(one.way.patches), f"{milliseconds:.2f}", f"{one.per_second:.0f}", f"{ratio:.1f}"
        )
    return table


def steps_table(parts: Mapping[str, Sequence[float]], options: TrainOptions) -> Table:
    """One line per part of a step, and their sum."""
    whole = [sum(step) for step in zip(*parts.values(), strict=True)]
    title = f"A training step: base {options.base_channels}, batch {options.batch_size}, {options.workers} workers, ms"
    table = table_with(title, "part", numbers=("mean", "median", "p99", "share"))
    rows: dict[str, Any] = {**parts, "step": whole}
    for name, values in rows.items():
        found = Percentiles.of(values)
        table.add_row(name, f"{found.mean:.1f}", f"{found.p50:.1f}", f"{found.p99:.1f}", f"{sum(values) / sum(whole):.1%}")
    return table


if __name__ == "__main__":
    typer.run(main)
