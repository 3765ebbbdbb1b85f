"""`lineside train`: a network from good strips."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lineside._optional import require
from lineside.dataset import Dataset
from lineside.errors import ConfigError
from lineside.spec import Layout, StripSpec
from lineside.synth.defects import DefectOptions

from ._console import ForceOption, JsonOption, check_json, emit, err, facts

if TYPE_CHECKING:
    from lineside.train.config import Device
    from lineside.train.curves import Row
    from lineside.train.loop import Start
    from lineside.train.report import Listener, StepReport, TrainResult

T = TypeVar("T")

METRICS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "pixel_ap": "pixel AP"}
"""Names of the metrics for people."""


def train(
    dataset: Annotated[Path, typer.Argument(help="A data set with train/good, and valid/{good,DEFECT} to choose epoch and threshold.")],
    out: Annotated[Path, typer.Option(help="The folder of the run: best.pt, last.pt, metrics.csv, curves.png.")],
    epochs: Annotated[int, typer.Option(help="How often the run validates and saves, at most.")] = 30,
    steps_per_epoch: Annotated[
        int | None, typer.Option(help="Batches of an epoch; unless said, the patches that all good strips hold, 50 to 1000 steps.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Patches of a batch, per process.")] = 16,
    base_channels: Annotated[int, typer.Option(help="Width of the network: 64 for production, 16 on a CPU.")] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    defects: Annotated[str, typer.Option(help="Synthetic defects of a patch, LEAST:MOST.")] = "3:8",
    gamma: Annotated[str, typer.Option(help="Gamma of the focal loss, FIRST:LAST.")] = "1:3",
    cache_mb: Annotated[int, typer.Option(help="Memory for strips, MiB.")] = 1024,
    workers: Annotated[int, typer.Option(help="Processes that make batches.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    amp: Annotated[bool, typer.Option("--amp", help="Run the network in bfloat16.")] = False,
    seed: Annotated[int, typer.Option(help="Of weights, patches and defects.")] = 0,
    size: Annotated[
        str | None,
        typer.Option(help="strip (976x176), square (256x256), mvtec (1024x1024) or HEIGHTxWIDTH; unless said, what the data set says."),
    ] = None,
    tile: Annotated[int | None, typer.Option(help="Side of the tiles, px; the size's own unless said.")] = None,
    layout: Annotated[str | None, typer.Option(help="Order of the axes in the files: chw, hwc or auto.")] = None,
    full_scale: Annotated[float | None, typer.Option(help="The value of white in the files; uint16 files need it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out; say the same options.")] = False,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Train a network on good strips; defects are synthetic.

    Several GPUs: torchrun --nproc-per-node 4 --no-python lineside train ...

    Example: lineside train DATASET --out RUN

    Example: lineside train DATASET --out RUN --base-channels 16 --batch-size 8 --epochs 10 --steps-per-epoch 50
    """
    require("torch", extra="train")
    require("matplotlib", extra="train")
    from lineside.train.config import TrainOptions, parse_gamma
    from lineside.train.loop import train as train_network

    check_json(json, force=force)
    options = TrainOptions(
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        base_channels=base_channels,
        lr=lr,
        defects=DefectOptions.parse(defects),
        gamma=parse_gamma(gamma),
        cache_mb=cache_mb,
        workers=workers,
        device=cast("Device", device),  # TrainOptions checks it
        amp=amp,
        seed=seed,
    )
    data = _open(dataset, size, tile)
    data = replace(data, spec=data.spec.with_files(full_scale=full_scale, layout=cast("Layout | None", layout)))
    with _shown(out) as listener:
        result = train_network(data, out, options, start=_start(resume=resume, force=force), listener=listener)
    if result is not None:
        _emit(result, dataset, json)


def _open(root: Path, size: str | None, tile: int | None) -> Dataset:
    """The data set with the spec that the options say, else with its own."""
    dataset = Dataset.open(root, spec=None if size is None else StripSpec.parse(size, tile_px=tile))
    if size is not None or tile is None:
        return dataset
    own = dataset.spec
    spec = StripSpec.of_size(own.height_px, own.width_px, tile_px=tile)
    return replace(dataset, spec=spec.with_files(full_scale=own.full_scale if own.full_scale_given else None, layout=own.layout))


def _start(*, resume: bool, force: bool) -> Start:
    if resume and force:
        raise ConfigError("--resume and --force", why="one goes on with the run in --out, the other replaces it", fix="say one of them")
    return "resume" if resume else "overwrite" if force else "new"


class _Bar:
    """The listener of the command line: a bar with loss, gamma and learning rate; one line per epoch."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def progress(self, items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
        task = self._bar.add_task(what, total=total)
        yield from self._bar.track(items, task_id=task)
        self._bar.remove_task(task)

    def on_step(self, report: StepReport) -> None:
        if self._task is None:  # a resumed run begins in the middle
            self._task = self._bar.add_task("", total=report.steps, completed=report.step - 1)
        what = f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.2e}  gamma {report.gamma:.2f}  lr {report.lr:.0e}"
        self._bar.update(self._task, advance=1, description=what)

    def on_epoch(self, row: Row) -> None:
        metrics = "".join(f"  {name} {row[key]:.4f}" for key, name in METRICS.items() if row.get(key) is not None)
        self._bar.console.print(
            f"epoch {row['epoch']}  loss {row['loss']:.3e}{metrics}  {row['seconds']:.0f} s", highlight=False, soft_wrap=True
        )


@contextmanager
def _shown(out: Path) -> Iterator[Listener]:
    """Show the run on stderr while the block runs, and say after Ctrl-C how to go on."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        try:
            yield _Bar(bar)
        except KeyboardInterrupt:
            bar.console.print(f"{out / 'last.pt'} holds every step that was done: the same command with --resume goes on", soft_wrap=True)
            raise


def _emit(result: TrainResult, dataset: Path, json: str | None) -> None:
    best, files = result.best, result.files
    rows = [
        ("best epoch", f"{best.epoch} of {best.options.epochs}: {best.chosen_by}"),
        *((METRICS[key], "-" if value is None else f"{value:.4f}") for key, value in best.metrics.items()),
        ("threshold", f"{best.threshold:.6g}: {best.threshold_rule}"),
        ("to use", files.best),
        ("to go on from", files.last),
        ("curves", f"{files.curves}, {files.metrics}"),
    ]
    commands = (["evaluate", str(files.best), str(dataset)], ["export", str(files.best), "--out", "strip.onnx"])
    emit(
        result.to_json(),
        facts(f"{files.folder}: trained", rows),
        facts("next", ((command[0], shlex.join(["lineside", *command])) for command in commands)),
        json=json,
    )
