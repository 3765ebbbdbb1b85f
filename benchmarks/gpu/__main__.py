"""Everything that a GPU can prove, the most worth first, within eight minutes.

    python -m lineside.benchmarks.gpu prepare 64 --out DIR        where PyTorch and ONNX are; 64: a width, or a checkpoint
    python DIR/run.py --out RESULTS                               on the GPU machine: Python, numpy, TensorRT, Polygraphy, cuda-python
    python -m lineside.benchmarks.gpu run DIR --out RESULTS       the same, where lineside is installed

In:   a prepared folder (`bundle`). No network and no package beyond those is needed.
Out:  RESULTS/NN-name.json per step, each written at once, and RESULTS/summary.json; a table of them at the end.
Exit code 0 when every step was done and every check passed, 3 when not, 2 without a GPU. What the steps are is in `steps`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from lineside.engine.device import driver
from lineside.errors import ANSWER_IS_NO, INTERRUPTED, USER_ERROR, ConfigError, LinesideError
from lineside.files import make_output_folder

from .bundle import Bundle
from .prepare import PrepareOptions, prepare
from .runner import Outcome, RunOptions, run_steps
from .steps import STEPS, Step

T = TypeVar("T")

BUDGET_S = 450.0
"""Below eight minutes with the start of the last step's process."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.command == "prepare":
            bundle = prepare(parsed.source, parsed.out, PrepareOptions(strips=parsed.strips, patches=parsed.patches), progress=_counted)
            _say(f"{len(bundle.models)} models in {bundle.folder}. On the GPU machine: python {bundle.folder}/run.py --out RESULTS")
            return 0
        return run(parsed.folder, parsed.out, budget_s=parsed.seconds, only=parsed.only, engines=parsed.engines, force=parsed.force)
    except LinesideError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: what was found so far is kept\n")
        return INTERRUPTED


def run(
    folder: Path,
    out: Path,
    *,
    budget_s: float = BUDGET_S,
    only: Sequence[str] | None = None,
    engines: Path | None = None,
    force: bool = False,
    steps: Sequence[Step] = STEPS,
) -> int:
    """Do the steps on the GPU of this machine and return the exit code.

    Args:
        folder: A prepared folder.
        out: Where the results go.
        budget_s: For all steps together.
        only: Names of steps; None: all.
        engines: A folder to keep the engines in; None: they go at the end.
        force: Replace results that exist.
        steps: To choose from.

    Raises:
        DeviceError: There is no GPU.
        ModelError: `folder` is not prepared.
        ConfigError: No step of that name.
        OutputError: `out` holds something, or cannot be written.
    """
    driver.ask_driver()
    Bundle.read(folder)
    chosen = _chosen(steps, only)
    make_output_folder(out, force=force)
    with ExitStack() as stack:
        kept = engines or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept.mkdir(parents=True, exist_ok=True)
        options = RunOptions(bundle=folder.resolve(), results=out, engines=kept.resolve(), budget_s=budget_s)
        outcomes = run_steps(chosen, options, tell=_tell)
    _say(table(outcomes))
    return 0 if all(outcome.proved for outcome in outcomes) else ANSWER_IS_NO


def table(outcomes: Sequence[Outcome]) -> str:
    """One line per step, and one per check."""
    lines = []
    for outcome in outcomes:
        lines.append(f"{outcome.status:<12}{outcome.seconds:7.1f} s  {outcome.step}  {outcome.message}".rstrip())
        for one in outcome.checks:
            value = f"{one['value']:.4g}" if isinstance(one["value"], float) else one["value"]
            lines.append(f"{'':12}{'pass' if one['passed'] else 'FAIL':>9}  {one['name']}: {value} ({one['target']})")
    return "\n".join(lines)


def _chosen(steps: Sequence[Step], only: Sequence[str] | None) -> list[Step]:
    unknown = sorted(set(only or ()) - {step.name for step in steps})
    if unknown:
        raise ConfigError(f"no step {', '.join(unknown)}", why="unknown", fix=f"use {', '.join(step.name for step in steps)}")
    return [step for step in steps if not only or step.name in only]


def _parser() -> argparse.ArgumentParser:
    # argparse: the GPU machine may not have what the other commands are made with
    parser = argparse.ArgumentParser(prog="python -m lineside.benchmarks.gpu", description="Everything that a GPU can prove.")
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare", help="make the folder that a GPU machine needs")
    preparing.add_argument("source", help="a checkpoint, or the width of a network with random weights: 64")
    preparing.add_argument("--out", type=Path, required=True, help="the folder to make")
    preparing.add_argument("--strips", type=int, default=PrepareOptions.strips, help="to compare heatmaps on (default: %(default)s)")
    preparing.add_argument("--patches", type=int, default=PrepareOptions.patches, help="to calibrate on (default: %(default)s)")
    running = commands.add_parser("run", help="measure on the GPU of this machine")
    running.add_argument("folder", type=Path, help="a prepared folder")
    running.add_argument("--out", type=Path, required=True, help="a folder for the results")
    running.add_argument("--seconds", type=float, default=BUDGET_S, help="for all steps together (default: %(default)s)")
    running.add_argument("--only", action="append", metavar="STEP", help="this step; may be given again")
    running.add_argument("--engines", type=Path, help="keep the engines in this folder")
    running.add_argument("--force", action="store_true", help="replace results that exist")
    return parser


def _counted(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
    for number, item in enumerate(items, start=1):
        _tell(f"{what} {number}/{total}")
        yield item


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
