from __future__ import annotations

from pathlib import Path

import pytest

from lineside import StripError
from lineside.engine.infer.strip_names import find_sources


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A data set with the same names in several folders, and things that are no strips."""
    for name in (
        "test/spot/000.tif",
        "test/good/000.tif",
        "test/good/001.TIFF",
        "ground_truth/spot/000.png",
        "notes.txt",
        "test/.hidden.tif",
    ):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"strip")
    return tmp_path / "data"


def names(paths: list[Path], out: Path = Path("out")) -> list[str]:
    return [source.name for source in find_sources(paths, out=out)]


def test_a_folder_is_searched_with_all_its_subfolders_in_a_fixed_order(tree: Path) -> None:
    sources = find_sources([tree], out=tree / "out")
    assert [source.name for source in sources] == ["test/good/000", "test/good/001", "test/spot/000"]
    assert [source.path for source in sources] == [tree / "test/good/000.tif", tree / "test/good/001.TIFF", tree / "test/spot/000.tif"]


def test_a_file_is_called_by_its_name(tree: Path) -> None:
    assert names([tree / "test/spot/000.tif"]) == ["000"]
    assert names([tree / "notes.txt"]) == ["notes"]  # named by the user, so it is tried, and refused by the reader


def test_two_paths_with_the_same_names_below_are_told_apart(tree: Path) -> None:
    assert names([tree / "test/good", tree / "test/spot"]) == ["good/000", "001", "spot/000"]
    assert names([tree / "test/spot/000.tif", tree / "test/good/000.tif"]) == ["spot/000", "good/000"]


def test_the_names_do_not_depend_on_the_order_of_the_paths(tree: Path) -> None:
    one, other = (
        find_sources(paths, out=Path("out"))
        for paths in ([tree / "test/good", tree / "test/spot"], [tree / "test/spot", tree / "test/good"])
    )
    assert {source.path: source.name for source in one} == {source.path: source.name for source in other}


def test_files_that_differ_in_their_suffix_keep_it(tree: Path) -> None:
    for name in ("000.png", "000.png.tif"):
        (tree / "test/good" / name).write_bytes(b"strip")
    found = names([tree / "test"])
    assert found == ["good/000.png", "good/000.png.tif", "good/000.tif", "good/001.TIFF", "spot/000"]
    assert len(set(found)) == len(found)


def test_a_file_that_is_named_twice_is_inspected_once(tree: Path) -> None:
    again = [tree / "test/good/000.tif", tree / "test/spot/../good/000.tif", tree / "ground_truth/../test/good"]
    assert names([tree / "test", *again]) == names([tree / "test"])


def test_links_to_one_file_are_strips_of_their_own(tree: Path) -> None:
    (tree / "test/good/again.tif").symlink_to(tree / "test/good/000.tif")
    assert names([tree / "test/good"]) == ["000", "001", "again"]


def test_earlier_results_inside_the_folder_are_no_strips(tree: Path) -> None:
    earlier = tree / "results/heatmaps/000.tif"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"heatmap")
    assert "results/heatmaps/000" not in names([tree], out=tree / "results")
    assert "results/heatmaps/000" in names([tree], out=tree / "elsewhere")


def test_a_path_without_strips_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StripError, match="no strips"):
        find_sources([tree, tmp_path / "empty"], out=tmp_path / "out")
    with pytest.raises(StripError, match="no such file"):
        find_sources([tree / "typo"], out=tmp_path / "out")
