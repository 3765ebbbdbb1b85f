"""The program: its commands, and the one place where exit codes are decided.

0 done; 1 a bug of ours, with traceback; 2 the user's input or machine cannot do this, one message with what, why, fix;
3 the answer is no; 130 interrupted.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import typer

from lineside import __version__
from lineside.errors import INTERRUPTED, USER_ERROR, LinesideError, OutputError
from lineside.files import NO_ROOM

from ._console import err
from ._outputs import checked
from ._reading import reading
from ._streams import make_steady
from .audit import audit
from .bench import bench
from .build import build
from .calibrate import calibrate
from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .infer import infer
from .qualify import qualify
from .quantize import quantize
from .sensitivity import sensitivity
from .show import show
from .synth import synth
from .train import train
from .tune import tune

# A wrong option or argument. Typer's recent releases carry their own copy of click: reach the class through what typer exports.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="lineside",
    help="From good strips of a production line to an engine that can be trusted on that line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lineside {__version__}")
        raise typer.Exit


@app.callback()
def lineside(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
) -> None:
    """From good strips of a production line to an engine that can be trusted on that line."""


for command in (
    doctor,
    demo,
    synth,
    train,
    evaluate,
    export,
    infer,
    show,
    calibrate,
    audit,
    sensitivity,
    quantize,
    build,
    qualify,
    tune,
    bench,
):
    app.command()(checked(reading(command)))


def main(arguments: list[str] | None = None) -> int:
    """Run the program with `arguments` (default: the process's own) and return the exit code."""
    try:
        code = app(args=arguments, prog_name="lineside", standalone_mode=False)
        sys.stdout.flush()  # what cannot be written is said now, not while Python ends
    except LinesideError as exc:
        return _refused(exc)
    except OSError as exc:
        if exc.errno not in NO_ROOM:
            raise
        place = exc.filename or tempfile.gettempdir()  # a scratch folder of a command; outputs say it themselves
        return _refused(OutputError(f"cannot write {place}", why=str(exc.strerror).lower(), fix="free some space there, or set TMPDIR"))
    except _UsageError as exc:
        exc.show()
        return USER_ERROR
    except (typer.Abort, KeyboardInterrupt):
        err.print("interrupted", style="yellow")
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _refused(error: LinesideError) -> int:
    """Say an error and give its exit code."""
    err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    return USER_ERROR


def entry() -> None:
    """What the installed program `lineside` calls."""
    make_steady()
    sys.exit(main())
