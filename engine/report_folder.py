"""The folder of a qualification's report, and the mark that an engine's sidecar gets from it.

In:   a folder; a finished `Qualification` and its report.json.
Out:  a folder that is empty, or that an earlier run of a qualification has left; an engine's sidecar that says what was found.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lineside.files import make_output_folder

from .compared import FILE
from .qualification import Qualification
from .qualification_mark import mark_of
from .sidecar import EngineManifest, sidecar_path


def prepare(folder: Path, *, force: bool) -> None:
    """Make the folder ready. One with the results of a qualification is taken as it is; `force` begins anew.

    Raises:
        OutputError: It holds something else, or cannot be written.
    """
    begun = folder / FILE
    make_output_folder(folder, force=force or begun.is_file())
    if force:
        begun.unlink(missing_ok=True)


def mark(model: Path, found: Qualification, report: Path) -> None:
    """Write the answer into the sidecar of an engine; a model without one gets no mark. Raises: ModelError, OutputError."""
    if sidecar_path(model).is_file():
        about = mark_of(
            report,
            answer=found.answer,
            when=found.when,
            strips=len(found.compared),
            plan_sha256=found.candidate.sha256,
            reference_sha256=found.reference.sha256,
        )
        replace(EngineManifest.read(model), qualification=about).write(model)
