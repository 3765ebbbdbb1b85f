"""What a command says of the strips that it reads: warnings, and the two options that decide about them.

Every command that reads strips gets --strict and --allow-lossy here; what was noticed stands in its result and on stderr.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from lineside.notices import collecting

from ._console import err

READS_STRIPS = ("dataset", "paths", "strips", "auto", "golden")
"""Names of parameters: folders and files of strips."""
StrictOption = Annotated[bool, typer.Option("--strict", help="Make errors of the warnings about strips and masks.")]
LossyOption = Annotated[
    bool, typer.Option("--allow-lossy", help="Also read JPEGs with colour at half its resolution, in which defects may fade.")
]


def reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the two options, where it reads strips."""
    signature = inspect.signature(command)
    if not set(READS_STRIPS).intersection(signature.parameters):
        return command

    @functools.wraps(command)
    def run(*, strict: bool, allow_lossy: bool, **values: Any) -> Any:
        with collecting(strict=strict, allow_lossy=allow_lossy) as notices:
            try:
                done = command(**values)
            finally:
                for line in notices.lines():
                    err.print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
            notices.refuse()
            return done

    options = {"strict": StrictOption, "allow_lossy": LossyOption}
    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind) for name, kind in options.items()]
    hints = get_type_hints(command, include_extras=True)  # typer does not resolve the names of a signature that is made
    known = [one.replace(annotation=hints[one.name]) for one in signature.parameters.values()]
    run.__signature__ = signature.replace(parameters=[*known, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {**hints, **options}
    return run
