"""Inspect many files and write down what was found, strip by strip.

In:   an Inspector, `Source`s, an output folder.
Out:  heatmaps/NAME.tif (float32), pictures/NAME.png, results.csv, results.json.
While it works, every finished strip is a line of results.partial.jsonl; the tables are made from it at the end, and when the work is
interrupted. After a power cut or a full disk that file is what is left, and the same command goes on from there. A strip that cannot
be read or that the model answers nonsense to becomes a row with its error, and the others are done. Holds one strip in memory at a time.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import tifffile

from lineside.engine.inspector import Inspector
from lineside.engine.result import Result, Verdict
from lineside.errors import ModelError, OutputError, StripError
from lineside.files import file_being_written, json_text, make_output_folder, write_text, writing
from lineside.notices import collecting, lines_so_far
from lineside.pictures.panels import Finding, draw_panels
from lineside.progress import Progress, silent
from lineside.reader import read_strip
from lineside.spec import StripSpec

from .strip_names import Source

SCHEMA = 1
LISTED_FAILURES = 10
PARTIAL = "results.partial.jsonl"
_PNG_COMPRESSION = 1  # noise does not get smaller with more, only four times slower


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """Where the results go, and which. `force`: files of the same names in `out` may be replaced.

    `full_scale` is the value of white in the strips' files, which uint16 files need; None: what the model's spec says.
    """

    out: Path
    pictures: bool = True
    force: bool = False
    full_scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the tables. None where there is nothing to say; `heatmap` and `picture` are paths below the output folder."""

    file: str
    verdict: Verdict
    score: float | None = None
    threshold: float
    regions: int | None = None
    largest_area_px: int | None = None
    largest_top_px: int | None = None
    largest_left_px: int | None = None
    largest_height_px: int | None = None
    largest_width_px: int | None = None
    latency_ms: float | None = None
    error: str | None = None
    warning: str | None = None
    heatmap: str | None = None
    picture: str | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of all strips: how many got each verdict, the first errors, and what ran (`Inspector.describe`)."""

    out: Path
    counts: dict[str, int]
    failures: tuple[str, ...]
    model: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {
            "out": str(self.out),
            "counts": self.counts,
            "failures": list(self.failures),
            "model": self.model,
            "warnings": list(self.warnings),
        }

    def refuse_failures(self) -> None:
        """Raises: StripError, when a strip could not be inspected; it lists the first ten."""
        failed = self.counts[Verdict.NOT_INSPECTED.value]
        if failed:
            more = [f"and {failed - len(self.failures)} more"] if failed > len(self.failures) else []
            raise StripError(
                "\n    ".join([f"{failed} of {sum(self.counts.values())} strips could not be inspected:", *self.failures, *more]),
                why=f"{self.out / 'results.csv'} has each of them as NOT_INSPECTED with its reason",
                fix="mend or remove these files; on a line, a part that was not inspected is a reject",
            )


def inspect_files(inspector: Inspector, sources: Sequence[Source], options: FolderOptions, progress: Progress = silent) -> Summary:
    """Inspect `sources` one after another and write the results to `options.out`.

    Raises:
        ConfigError: A full scale that cannot be.
        OutputError: The folder already holds files and `force` is off, or it cannot be written. What was done until then is kept.
        KeyboardInterrupt: With the tables of what was done until then in place.
    """
    spec = inspector.spec.with_files(full_scale=options.full_scale)
    run = {
        "model": inspector.describe()["sha256"],
        "threshold": inspector.threshold,
        "full_scale": spec.full_scale,
        "pictures": options.pictures,
    }
    done = _begin(options, run, sources)
    missing = [source for source in sources if str(source.path) not in done]
    try:
        for source in progress(missing, total=len(missing), what="inspecting"):
            row = _inspect_one(inspector, source, spec, options)
            with writing(options.out / PARTIAL), (options.out / PARTIAL).open("a") as lines:
                line = {"run": run, "bytes": _size(source.path), "row": asdict(row)}
                lines.write(json.dumps(line) + "\n")
    except OutputError as exc:
        fix = f"{exc.fix}; {PARTIAL} keeps what was inspected: the same command goes on from there"
        raise OutputError(exc.what, why=exc.why, fix=fix) from exc
    except KeyboardInterrupt:
        _write_tables(options.out, inspector, len(sources))
        raise
    return _write_tables(options.out, inspector, len(sources))


def _begin(options: FolderOptions, run: dict[str, Any], sources: Sequence[Source]) -> set[str]:
    """Make the folder ready; the files that an earlier run with the same model and options has done. Raises: OutputError."""
    partial = options.out / PARTIAL
    begun = partial.is_file() and not options.force
    make_output_folder(options.out, force=options.force or begun)
    known = list(_lines(options.out)) if begun else []
    if any(line["run"] != run for line in known):
        raise OutputError(
            f"{options.out}: holds the results of a run that was broken off, with another model or other options",
            why="results of two runs are not mixed",
            fix="name another folder, or begin anew with --force",
        )
    sizes = {str(source.path): _size(source.path) for source in sources}
    kept = [line for line in known if _counts(line, sizes, options.out)]
    write_text(partial, "".join(json.dumps(line) + "\n" for line in kept))
    return {line["row"]["file"] for line in kept}


def _counts(line: dict[str, Any], sizes: dict[str, int | None], out: Path) -> bool:
    """Whether a finished line holds for this run: the strip was inspected, its file has its size, and its results are there.

    A strip with a warning is inspected again: what was noticed then is not in this run's notices, and --strict has to see it.
    """
    row = line["row"]
    files = [out / row[name] for name in ("heatmap", "picture") if row[name]]
    same = sizes.get(row["file"]) == line["bytes"] is not None
    fine = row["verdict"] != Verdict.NOT_INSPECTED.value and row["warning"] is None
    return same and fine and all(file.is_file() for file in files)


def _size(path: Path) -> int | None:
    """Of a file; None where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def _inspect_one(inspector: Inspector, source: Source, spec: StripSpec, options: FolderOptions) -> Row:
    """Inspect one strip and write its files. Raises: OutputError."""
    file, threshold = str(source.path), inspector.threshold
    try:
        with collecting() as notices:
            strip = read_strip(source.path, spec)
        result = inspector.inspect(strip)
    except (StripError, ModelError) as exc:
        return Row(file=file, verdict=Verdict.NOT_INSPECTED, threshold=threshold, error=f"{exc.what} ({exc.why}): {exc.fix}")
    heatmap, picture = f"heatmaps/{source.name}.tif", f"pictures/{source.name}.png"
    with file_being_written(options.out / heatmap) as temporary:
        tifffile.imwrite(temporary, result.heatmap)
    if options.pictures:
        with file_being_written(options.out / picture) as temporary:
            draw_panels(strip, _finding(source, result)).save(temporary, compress_level=_PNG_COMPRESSION)
    largest = result.regions[0] if result.regions else None
    return Row(
        file=file,
        verdict=result.verdict,
        score=result.score,
        threshold=threshold,
        regions=len(result.regions),
        largest_area_px=largest.area_px if largest else None,
        largest_top_px=largest.top_px if largest else None,
        largest_left_px=largest.left_px if largest else None,
        largest_height_px=largest.height_px if largest else None,
        largest_width_px=largest.width_px if largest else None,
        latency_ms=round(result.timing.total_ms, 3),
        warning="; ".join(notices.kinds) or None,
        heatmap=heatmap,
        picture=picture if options.pictures else None,
    )


def _finding(source: Source, result: Result) -> Finding:
    return Finding(
        name=source.name,
        heatmap=result.heatmap,
        score=result.score,
        threshold=result.threshold,
        verdict=result.verdict.value,
        boxes=[region.box for region in result.regions],
    )


def _write_tables(out: Path, inspector: Inspector, expected: int) -> Summary:
    """Make results.csv and results.json from the lines so far, which then have served. Raises: OutputError."""
    counts = {verdict.value: 0 for verdict in Verdict}
    failures: list[str] = []
    for row in _rows(out):
        counts[row["verdict"]] += 1
        if row["error"] is not None and len(failures) < LISTED_FAILURES:
            failures.append(row["error"] if row["file"] in row["error"] else f"{row['file']}: {row['error']}")
    summary = Summary(out=out, counts=counts, failures=tuple(failures), model=inspector.describe(), warnings=lines_so_far())
    with file_being_written(out / "results.csv") as temporary, temporary.open("w", newline="", errors="surrogateescape") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Row)])
        table.writeheader()
        table.writerows(_rows(out))
    head = {
        "schema": SCHEMA,
        "complete": sum(counts.values()) == expected,
        "counts": counts,
        "model": summary.model,
        "warnings": list(summary.warnings),
    }
    with file_being_written(out / "results.json") as temporary, temporary.open("w") as file:
        file.write(json_text(head).removesuffix("\n}\n") + ',\n  "results": [')
        for index, row in enumerate(_rows(out)):
            file.write(("," if index else "") + "\n    " + json.dumps(row))
        file.write("\n  ]\n}\n")
    with writing(out):
        (out / PARTIAL).unlink()
    return summary


def _rows(out: Path) -> Iterator[dict[str, Any]]:
    """The rows of the finished lines."""
    yield from (line["row"] for line in _lines(out))


def _lines(out: Path) -> Iterator[dict[str, Any]]:
    """The finished lines; an interruption or a full disk may have left half of one at the end."""
    with (out / PARTIAL).open() as lines:
        yield from (json.loads(line) for line in lines if line.endswith("\n"))
