from __future__ import annotations

import csv
import errno
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from lineside import Inspector, OutputError, StripError
from lineside.engine.infer import folder
from lineside.engine.infer.folder import PARTIAL, FolderOptions, Summary, inspect_files
from lineside.engine.infer.strip_names import find_sources
from lineside.notices import collecting
from lineside.reader import read_strip


@pytest.fixture
def inspector(models: Path) -> Iterator[Inspector]:
    with Inspector.load(models / "production.onnx") as loaded:
        yield loaded


@pytest.fixture
def strips(tmp_path: Path, strip: NDArray[np.uint8]) -> Path:
    """Three strips: one OK, one NG, one that is cut off."""
    root = tmp_path / "strips"
    (root / "good").mkdir(parents=True)
    (root / "spot").mkdir()
    tifffile.imwrite(root / "spot/000.tif", strip.astype(np.float32), photometric="minisblack", planarconfig="separate")
    good = strip.copy()
    good[0] = 120
    good[0, 0, 0] = 121  # a Target that is a copy of a reference has a warning
    tifffile.imwrite(root / "good/000.tif", good.astype(np.float32), photometric="minisblack", planarconfig="separate")
    whole = (root / "good/000.tif").read_bytes()
    (root / "good/cut.tif").write_bytes(whole[: len(whole) // 2])
    return root


def run(inspector: Inspector, strips: Path, out: Path, **options: Any) -> Summary:
    return inspect_files(inspector, find_sources([strips], out=out), FolderOptions(out=out, **options))


def table(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_strip_has_a_row_a_heatmap_and_a_picture(
    inspector: Inspector, strips: Path, strip: NDArray[np.uint8], heat_of: Callable[[NDArray[Any]], NDArray[np.float32]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary = run(inspector, strips, out)
    assert summary.counts == {"OK": 1, "NG": 1, "NOT_INSPECTED": 1}
    good, cut, spot = table(out)
    assert (good["verdict"], cut["verdict"], spot["verdict"]) == ("OK", "NOT_INSPECTED", "NG")
    assert (spot["regions"], spot["largest_area_px"]) == ("1", "12")
    assert [spot[f"largest_{side}_px"] for side in ("top", "left", "height", "width")] == ["10", "20", "3", "4"]
    assert float(spot["score"]) == heat_of(strip).max()
    assert "cut.tif" in cut["error"]
    assert (cut["score"], cut["heatmap"], good["error"]) == ("", "", "")
    heatmap = tifffile.imread(out / spot["heatmap"])
    assert heatmap.dtype == np.float32
    assert np.array_equal(heatmap, heat_of(strip))
    with Image.open(out / spot["picture"]) as picture:
        assert picture.format == "PNG"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "heatmaps/good/000.tif",
        "heatmaps/spot/000.tif",
        "pictures/good/000.png",
        "pictures/spot/000.png",
        "results.csv",
        "results.json",
    ]


def test_json_and_csv_say_the_same(inspector: Inspector, strips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(inspector, strips, out)
    results = json.loads((out / "results.json").read_text())
    assert (results["schema"], results["complete"]) == (1, True)
    assert results["counts"] == {"OK": 1, "NG": 1, "NOT_INSPECTED": 1}
    assert results["model"]["sha256"] == inspector.describe()["sha256"]
    as_text = [{key: "" if value is None else str(value) for key, value in row.items()} for row in results["results"]]
    assert as_text == table(out)


def test_pictures_can_be_left_out(inspector: Inspector, strips: Path, tmp_path: Path) -> None:
    run(inspector, strips, tmp_path / "out", pictures=False)
    assert not (tmp_path / "out/pictures").exists()
    assert table(tmp_path / "out")[0]["picture"] == ""


def test_each_row_is_on_disk_before_the_next_strip(inspector: Inspector, strips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lines_seen: list[int] = []

    def watching(items: Iterable[Any], *, total: int, what: str) -> Iterator[Any]:
        for item in items:
            lines_seen.append(len((out / PARTIAL).read_text().splitlines()))
            yield item

    inspect_files(inspector, find_sources([strips], out=out), FolderOptions(out=out), watching)
    assert lines_seen == [0, 1, 2]
    assert not (out / PARTIAL).exists()


def test_an_interruption_keeps_what_was_done(inspector: Inspector, strips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def interrupted(items: Iterable[Any], *, total: int, what: str) -> Iterator[Any]:
        yield from list(items)[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect_files(inspector, find_sources([strips], out=out), FolderOptions(out=out), interrupted)
    assert [row["verdict"] for row in table(out)] == ["OK", "NOT_INSPECTED"]
    assert json.loads((out / "results.json").read_text())["complete"] is False
    assert not (out / PARTIAL).exists()


def test_half_a_line_of_an_interruption_is_not_taken_for_a_row(
    inspector: Inspector, strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def interrupted(items: Iterable[Any], *, total: int, what: str) -> Iterator[Any]:
        yield next(iter(items))
        with (out / PARTIAL).open("a") as lines:
            lines.write('{"file": "strips/good/00')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect_files(inspector, find_sources([strips], out=out), FolderOptions(out=out), interrupted)
    assert len(table(out)) == len(json.loads((out / "results.json").read_text())["results"]) == 1


def test_a_full_disk_is_one_error_and_leaves_the_rows_so_far(
    inspector: Inspector, strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write = tifffile.imwrite

    def full(path: Path, *arguments: Any) -> None:
        write(path, *arguments)
        if "spot" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder.tifffile, "imwrite", full)
    with pytest.raises(OutputError, match=r"cannot write .*spot/000\.tif[\s\S]*no space left"):
        run(inspector, strips, out)
    assert len((out / PARTIAL).read_text().splitlines()) == 2
    assert sorted(path.name for path in out.rglob("*.tif")) == ["000.tif"]
    assert not (out / "results.csv").exists()


def test_what_was_inspected_before_the_disk_was_full_is_not_inspected_again(
    inspector: Inspector, strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write, inspected = tmp_path / "out", tifffile.imwrite, []

    def full(path: Path, *arguments: Any) -> None:
        if "spot" in str(path):
            raise OSError("6144 requested and 512 written")  # numpy's own, without a number
        write(path, *arguments)

    monkeypatch.setattr(folder.tifffile, "imwrite", full)
    with pytest.raises(OutputError, match="the same command goes on from there"):
        run(inspector, strips, out)
    monkeypatch.setattr(folder.tifffile, "imwrite", write)
    monkeypatch.setattr(folder, "read_strip", lambda path, spec: inspected.append(path.parent.name) or read_strip(path, spec))
    assert run(inspector, strips, out).counts == {"OK": 1, "NG": 1, "NOT_INSPECTED": 1}
    assert inspected == ["good", "spot"], "the good strip that cannot be read is tried again, the other one is not"
    assert sorted(row["verdict"] for row in table(out)) == ["NG", "NOT_INSPECTED", "OK"]


def test_a_strip_with_a_warning_is_inspected_again_so_that_the_warning_stands_in_the_results(
    inspector: Inspector, strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    copied = tifffile.imread(strips / "good/000.tif")
    copied[1] = copied[0]
    tifffile.imwrite(strips / "good/000.tif", copied, photometric="minisblack", planarconfig="separate")
    monkeypatch.setattr(folder, "_write_tables", lambda *_: (_ for _ in ()).throw(OutputError("full", why="no space", fix="free some")))
    with pytest.raises(OutputError, match="full"):
        run(inspector, strips, out)
    monkeypatch.undo()
    with collecting() as notices:
        run(inspector, strips, out)
    assert any("Target" in line for line in notices.lines())
    assert json.loads((out / "results.json").read_text())["warnings"] == list(notices.lines())


def test_results_of_another_threshold_are_not_mixed_with_those_that_were_broken_off(
    models: Path, inspector: Inspector, strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(folder, "_write_tables", lambda *_: (_ for _ in ()).throw(OutputError("full", why="no space", fix="free some")))
    with pytest.raises(OutputError, match="full"):
        run(inspector, strips, out)
    monkeypatch.undo()
    with Inspector.load(models / "production.onnx", threshold=0.9) as other, pytest.raises(OutputError, match="other options"):
        run(other, strips, out)
    assert run(inspector, strips, out).counts["NG"] == 1


def test_a_model_that_answers_nonsense_to_a_strip_is_a_row_too(models: Path, strips: Path, tmp_path: Path) -> None:
    with Inspector.load(models / "nan.onnx") as inspector:
        summary = run(inspector, strips, tmp_path / "out")
    assert summary.counts["NOT_INSPECTED"] == 3
    assert "nan" in table(tmp_path / "out")[0]["error"]
    assert "good/000.tif: the model answered" in summary.failures[0]


def test_existing_results_are_kept_unless_forced(inspector: Inspector, strips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(inspector, strips, out)
    before = (out / "results.csv").read_bytes()
    with pytest.raises(OutputError, match="--force"):
        run(inspector, strips, out)
    assert (out / "results.csv").read_bytes() == before
    assert run(inspector, strips, out, force=True).counts["NG"] == 1


def test_the_summary_of_failures_lists_ten_and_counts_the_rest(inspector: Inspector, tmp_path: Path) -> None:
    strips = tmp_path / "strips"
    strips.mkdir()
    for index in range(13):
        (strips / f"{index:02}.tif").write_bytes(b"")
    summary = run(inspector, strips, tmp_path / "out")
    with pytest.raises(StripError) as caught:
        summary.refuse_failures()
    lines = caught.value.what.splitlines()
    assert lines[0].startswith("13 of 13 strips")
    assert len(lines) == 12
    assert "09.tif" in lines[10]
    assert "3 more" in lines[11]


def test_without_failures_nothing_is_refused(inspector: Inspector, strips: Path, tmp_path: Path) -> None:
    summary = run(inspector, strips / "spot", tmp_path / "out")
    assert (summary.counts["NOT_INSPECTED"], summary.counts["NG"]) == (0, 1)
    summary.refuse_failures()


def test_a_name_that_is_not_text_goes_through(inspector: Inspector, strips: Path, tmp_path: Path) -> None:
    odd = Path(str(strips / "spot") + "/\udcff\n.tif")  # bytes that are not UTF-8, and a line break
    (strips / "spot/000.tif").rename(odd)
    summary = run(inspector, strips / "spot", tmp_path / "out")
    assert summary.counts["NG"] == 1
    with (tmp_path / "out/results.csv").open(newline="", errors="surrogateescape") as file:
        assert next(csv.DictReader(file))["file"] == str(odd)
