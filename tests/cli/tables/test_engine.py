"""What `lineside show` says of an engine, from its sidecar alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lineside.cli.tables.engine import engine_tables
from lineside.engine.files.sidecar import EngineManifest


@pytest.mark.parametrize(("answer", "said"), [("not qualified", "no: it was found not qualified"), ("qualified", "yes")])
def test_only_an_engine_that_qualified_is_called_so(sidecar_of: Callable[..., EngineManifest], answer: str, said: str) -> None:
    manifest = sidecar_of()
    entry = {"answer": answer, "when": "2026-11-21", "plan_sha256": manifest.plan_sha256, "report": "gone.json"}
    console = Console(width=200, record=True)
    console.print(*engine_tables(Path("strip.engine"), replace(manifest, qualification=entry)))
    rows = [line.strip("│┃ ") for line in console.export_text().splitlines()]
    qualified = next(row for row in rows if row.startswith("qualified"))
    assert qualified.removeprefix("qualified").strip("│┃ ").startswith(said)
