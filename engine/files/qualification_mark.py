"""What an engine's sidecar says of its qualification, and what speaks against believing it.

In:   the answer of a qualification, or an engine with its sidecar.
Out:  the entry `qualification` of the sidecar; `doubt`, a sentence, or nothing when the engine qualified and nothing was edited since.
The mark names the engine and the report by their sha256: of another engine, or with an edited report, it does not count. On a line PC the
report is not there, and need not be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lineside.manifest import sha256_of_file

from .sidecar import EngineManifest, sidecar_path

QUALIFIED = "qualified"


def mark_of(report: Path, *, answer: str, when: str, strips: int, plan_sha256: str, reference_sha256: str) -> dict[str, Any]:
    """The entry of the sidecar, for the report.json at `report`."""
    return {
        "answer": answer,
        "when": when,
        "strips": strips,
        "plan_sha256": plan_sha256,
        "reference_sha256": reference_sha256,
        "report": str(report.resolve()),
        "report_sha256": sha256_of_file(report),
    }


def mark(engine: Path, entry: dict[str, Any]) -> None:
    """Write the entry into the sidecar of an engine; a model without one gets no mark. Raises: ModelError, OutputError."""
    if sidecar_path(engine).is_file():
        replace(EngineManifest.read(engine), qualification=entry).write(engine)


def doubt(manifest: EngineManifest) -> str | None:
    """Why nobody should believe that this engine may go on the line; None when it qualified."""
    mark: Mapping[str, Any] = manifest.qualification or {}
    if not mark:
        return "it was never qualified: lineside qualify"
    if mark.get("plan_sha256") != manifest.plan_sha256:
        return "another engine was qualified under its name: qualify this one"
    if mark.get("answer") != QUALIFIED:
        return f"it was found {mark.get('answer')} on {mark.get('when')}"
    report = Path(str(mark.get("report")))
    if report.is_file() and sha256_of_file(report) != mark.get("report_sha256"):
        return f"{report} was edited since it was qualified: qualify it again"
    return None
