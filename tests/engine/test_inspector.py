from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lineside import ConfigError, DeviceError, Inspector, LinesideError, ModelError, StripError, StripSpec
from lineside.engine.result import Verdict

HeatOf = Callable[[NDArray[Any]], NDArray[np.float32]]
FORMS = ["production", "raw", "raw_float"]
MODEL_THRESHOLD = 0.25


@pytest.fixture
def inspector(models: Path) -> Iterator[Inspector]:
    with Inspector.load(models / "production.onnx") as loaded:
        yield loaded


def varied(strip: NDArray[Any], count: int) -> list[NDArray[Any]]:
    """Strips whose defects have different heights above the references."""
    strips = []
    for index in range(count):
        one = strip.copy()
        one[0, 10:13, 20:24] = 150 + 20 * index
        strips.append(one)
    return strips


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [3, 4])
def test_the_heatmap_is_what_numpy_computes(models: Path, strip: NDArray[np.uint8], heat_of: HeatOf, form: str, channels: int) -> None:
    with Inspector.load(models / f"{form}.onnx") as inspector:
        result = inspector.inspect(strip[:channels])
    assert result.heatmap.dtype == np.float32
    assert np.array_equal(result.heatmap, heat_of(strip))
    assert result.score == heat_of(strip).max()
    assert result.verdict is Verdict.NG
    assert [region.box for region in result.regions] == [(10, 20, 3, 4)]


@pytest.mark.parametrize("form", ["production", "raw_float"])
def test_bytes_and_floats_of_the_same_values_give_the_same_bits(models: Path, strip: NDArray[np.uint8], form: str) -> None:
    with Inspector.load(models / f"{form}.onnx") as inspector:
        assert np.array_equal(inspector.heatmap(strip), inspector.heatmap(strip.astype(np.float32)))


@pytest.mark.parametrize("form", FORMS)
def test_a_mask_of_an_earlier_strip_does_not_stay(models: Path, strip: NDArray[np.uint8], form: str) -> None:
    with Inspector.load(models / f"{form}.onnx") as inspector:
        inspector.inspect(strip)
        inspector.inspect(strip[:3])
        assert not inspector._backend.input[0, 3:].any()


@pytest.mark.parametrize("form", FORMS)
def test_strides_do_not_matter(models: Path, strip: NDArray[np.uint8], form: str) -> None:
    channels_last = np.ascontiguousarray(strip.transpose(1, 2, 0)).transpose(2, 0, 1)
    wide = np.zeros((4, 64, 200), np.uint8)
    wide[:, :, 1:193:2] = strip
    read_only = strip.copy()
    read_only.flags.writeable = False
    with Inspector.load(models / f"{form}.onnx") as inspector:
        expected = inspector.heatmap(strip)
        for same in (channels_last, wide[:, :, 1:193:2], strip[:, ::-1][:, ::-1], read_only):
            assert np.array_equal(inspector.heatmap(same), expected)


def test_white_is_one_and_black_zero(inspector: Inspector, strip: NDArray[np.uint8]) -> None:
    strip[:] = 0
    strip[0, 5, 6] = 255
    heatmap = inspector.heatmap(strip)
    assert (heatmap[5, 6], heatmap.sum()) == (1.0, 1.0)


def test_the_callers_strip_is_not_changed(inspector: Inspector, strip: NDArray[np.uint8]) -> None:
    before = strip.copy()
    inspector.inspect(strip)
    assert np.array_equal(strip, before)


def test_results_keep_their_heatmaps_when_the_next_strip_comes(inspector: Inspector, strip: NDArray[np.uint8], heat_of: HeatOf) -> None:
    strips = varied(strip, 3)
    results = [inspector.inspect(one) for one in strips]
    for one, result in zip(strips, results, strict=True):
        assert np.array_equal(result.heatmap, heat_of(one))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (lambda strip: strip.transpose(1, 2, 0), "channels first"),
        (lambda strip: strip[:2], "64, 96"),
        (lambda strip: strip[:, :-1], "64, 96"),
        (lambda strip: strip[0], "64, 96"),
        (lambda strip: strip.astype(np.float64), "float64"),
        (lambda strip: strip.astype(np.uint16), "uint16"),
        (lambda strip: strip.astype(np.float32) * np.float32(1.2), "0..255"),
        (lambda strip: strip.astype(np.float32) - 200, "0..255"),
        (lambda strip: np.where(strip == 220, np.nan, strip).astype(np.float32), "NaN"),
        (lambda strip: np.where(strip == 220, np.inf, strip).astype(np.float32), "infinite"),
        (lambda strip: strip.tolist(), "numpy array"),
    ],
)
def test_what_is_not_a_strip_is_refused(inspector: Inspector, strip: NDArray[np.uint8], bad: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(StripError, match=said):
        inspector.inspect(bad(strip))
    assert inspector.inspect(strip).verdict is Verdict.NG  # and the next good strip is inspected


def test_a_model_that_takes_bytes_does_not_round_floats(models: Path, strip: NDArray[np.uint8]) -> None:
    with Inspector.load(models / "raw.onnx") as inspector, pytest.raises(StripError, match="nothing is rounded"):
        inspector.inspect(strip.astype(np.float32))


@pytest.mark.parametrize(("model", "said"), [("nan", "nan"), ("loud", "1.5"), ("lying", "the score 0")])
def test_a_model_that_answers_nonsense_gives_an_error_and_no_verdict(models: Path, strip: NDArray[np.uint8], model: str, said: str) -> None:
    with Inspector.load(models / f"{model}.onnx") as inspector, pytest.raises(ModelError, match=said):
        inspector.inspect(strip)


@pytest.mark.parametrize("heat", [np.nan, np.inf, -np.inf, -0.01, 1.01])
@pytest.mark.parametrize("pixel", [(0, 0), (63, 95), (31, 7)])
def test_one_bad_pixel_is_enough(
    inspector: Inspector, strip: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, heat: float, pixel: tuple[int, int]
) -> None:
    def answer(rows: int) -> tuple[NDArray[np.float32], None]:
        heatmaps = np.zeros((rows, 64, 96), np.float32)
        heatmaps[0][pixel] = heat
        return heatmaps, None

    monkeypatch.setattr(inspector._backend, "run", answer)
    with pytest.raises(ModelError, match="do not use this model"):
        inspector.inspect(strip)


def test_a_graphs_score_that_is_nan_is_an_error(models: Path, strip: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    with Inspector.load(models / "raw.onnx") as inspector:
        monkeypatch.setattr(inspector._backend, "run", lambda rows: (np.zeros((1, 64, 96), np.float32), np.array([np.nan], np.float32)))
        with pytest.raises(ModelError, match="the score nan"):
            inspector.inspect(strip)


def test_rounding_beyond_one_is_taken_back(inspector: Inspector, strip: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    above = np.nextafter(np.float32(1), np.float32(2))
    monkeypatch.setattr(inspector._backend, "run", lambda rows: (np.full((1, 64, 96), above), None))
    result = inspector.inspect(strip)
    assert result.score == 1.0
    assert result.heatmap.max() == 1.0


def test_the_threshold_is_the_models_own_unless_said(models: Path, strip: NDArray[np.uint8]) -> None:
    strip[0, 10:13, 20:24] = 220  # heat 100 / 255 = 0.39
    with Inspector.load(models / "production.onnx") as inspector:
        assert inspector.threshold == MODEL_THRESHOLD
        assert inspector.inspect(strip).verdict is Verdict.NG
    with Inspector.load(models / "production.onnx", threshold=0.4) as inspector:
        assert inspector.threshold == 0.4
        assert inspector.inspect(strip).verdict is Verdict.OK


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(models: Path, threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        Inspector.load(models / "production.onnx", threshold=threshold)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("batch", [None, 1, 2, 5, 16])
@pytest.mark.parametrize("form", FORMS)
def test_every_batch_gives_what_single_strips_give(
    models: Path, strip: NDArray[np.uint8], form: str, batch: int | None, overlap: bool
) -> None:
    strips = varied(strip, 5)
    with Inspector.load(models / f"{form}.onnx") as inspector:
        singly = [inspector.inspect(one) for one in strips]
        together = list(inspector.inspect_many(iter(strips), batch=batch, overlap=overlap))
    assert len(together) == len(strips)
    for one, many in zip(singly, together, strict=True):
        assert np.array_equal(one.heatmap, many.heatmap)
        assert one.score == many.score


def test_a_model_with_a_fixed_batch_drops_what_fills_it_up(models: Path, strip: NDArray[np.uint8], heat_of: HeatOf) -> None:
    strips = varied(strip, 6)  # 4 + 2
    with Inspector.load(models / "fixed.onnx") as inspector:
        results = list(inspector.inspect_many(strips))
        assert len(results) == 6
        for one, result in zip(strips, results, strict=True):
            assert np.array_equal(result.heatmap, heat_of(one))
        assert np.array_equal(inspector.heatmap(strips[3]), heat_of(strips[3]))


@pytest.mark.parametrize(("model", "batch", "said"), [("fixed", 3, "4 strips at a time"), ("production", 0, "one strip at least")])
def test_a_batch_that_the_model_cannot_take_is_refused_at_once(models: Path, model: str, batch: int, said: str) -> None:
    with Inspector.load(models / f"{model}.onnx") as inspector, pytest.raises(ConfigError, match=said):
        inspector.inspect_many([], batch=batch)


def test_inspect_many_takes_no_more_strips_than_it_needs(inspector: Inspector, strip: NDArray[np.uint8]) -> None:
    taken: list[int] = []

    def camera() -> Iterator[NDArray[Any]]:
        for index in range(100):
            taken.append(index)
            yield strip

    results = inspector.inspect_many(camera(), batch=4)
    next(results)
    assert taken == [0, 1, 2, 3]


def test_inspect_many_works_on_a_camera_that_reuses_its_buffer(inspector: Inspector, strip: NDArray[np.uint8], heat_of: HeatOf) -> None:
    strips = varied(strip, 4)
    buffer = np.empty_like(strip)

    def camera() -> Iterator[NDArray[Any]]:
        for one in strips:
            buffer[:] = one
            yield buffer

    for one, result in zip(strips, inspector.inspect_many(camera(), batch=4), strict=True):
        assert np.array_equal(result.heatmap, heat_of(one))


def test_no_strips_give_no_results(inspector: Inspector) -> None:
    assert list(inspector.inspect_many([])) == []


def test_the_timing_is_split_and_a_batch_shares_it(inspector: Inspector, strip: NDArray[np.uint8]) -> None:
    single = inspector.inspect(strip).timing
    assert min(single.pre_ms, single.inference_ms, single.post_ms) > 0
    first, second = inspector.inspect_many([strip, strip], batch=2)
    assert first.timing == second.timing


def test_two_threads_in_one_inspector_are_told_about_clone(inspector: Inspector, strip: NDArray[np.uint8]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow_camera() -> Iterator[NDArray[Any]]:
        inside.set()
        assert leave.wait(10)
        yield strip

    worker = threading.Thread(target=lambda: list(inspector.inspect_many(slow_camera())))
    worker.start()
    assert inside.wait(10)
    try:
        with pytest.raises(LinesideError, match="clone"):
            inspector.inspect(strip)
        with pytest.raises(LinesideError, match="another thread"):
            inspector.close()
    finally:
        leave.set()
        worker.join()
    assert inspector.inspect(strip).verdict is Verdict.NG


def test_clones_inspect_at_the_same_time_and_get_their_own_answers(inspector: Inspector, strip: NDArray[np.uint8], heat_of: HeatOf) -> None:
    strips = varied(strip, 4)
    wrong: list[int] = []

    def work(index: int) -> None:
        with inspector.clone() as mine:
            for _ in range(50):
                if not np.array_equal(mine.inspect(strips[index]).heatmap, heat_of(strips[index])):
                    wrong.append(index)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_a_clone_outlives_the_one_it_came_from(models: Path, strip: NDArray[np.uint8]) -> None:
    with Inspector.load(models / "production.onnx", threshold=0.33) as first:
        clone = first.clone()
    with clone:
        assert clone.inspect(strip).verdict is Verdict.NG
        assert clone.threshold == 0.33


def test_a_closed_inspector_says_so_and_closes_again(models: Path, strip: NDArray[np.uint8]) -> None:
    inspector = Inspector.load(models / "production.onnx")
    inspector.close()
    inspector.close()
    for use in (lambda: inspector.inspect(strip), inspector.clone, inspector.__enter__, lambda: list(inspector.inspect_many([strip]))):
        with pytest.raises(LinesideError, match="closed"):
            use()


def test_describe_says_what_really_runs(models: Path, small: StripSpec) -> None:
    with Inspector.load(models / "production.onnx", threads=2, threshold=0.7) as inspector:
        facts = inspector.describe()
        assert inspector.spec == small
        assert inspector.manifest is not None
    assert facts["providers"] == ["CPUExecutionProvider"]
    assert (facts["threads"], facts["threshold"], facts["batch"]) == (2, 0.7, None)
    assert facts["manifest"]["threshold"] == MODEL_THRESHOLD
    assert facts["path"].endswith("production.onnx")


@pytest.mark.parametrize("name", ["best.pt", "strip.txt"])
def test_other_files_than_onnx_and_engines_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"\.onnx\) and TensorRT engines"):
        Inspector.load(tmp_path / name)


@pytest.mark.parametrize("name", ["strip.engine", "strip.plan", "STRIP.ENGINE"])
def test_an_engine_without_a_driver_is_a_device_error_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("lineside.engine.device.driver.LIBRARY", "libcuda.so.of.no.machine")
    (tmp_path / name).write_bytes(b"not even an engine")
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        Inspector.load(tmp_path / name)


def test_an_engine_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        Inspector.load(tmp_path / "strip.engine")


def test_options_of_engines_are_refused_for_onnx_files_and_the_other_way_round(models: Path, tmp_path: Path) -> None:
    for options in ({"cuda_backend": "pycuda"}, {"device": 1}, {"debug": True}):
        with pytest.raises(ConfigError, match="other kind of model"):
            Inspector.load(models / "production.onnx", **options)
    for options in ({"providers": ["cpu"]}, {"threads": 2}):
        with pytest.raises(ConfigError, match="other kind of model"):
            Inspector.load(tmp_path / "strip.engine", **options)


def test_a_fallback_inspects_in_place_of_an_engine_and_says_so_everywhere(
    models: Path, tmp_path: Path, strip: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lineside.engine.device.driver.LIBRARY", "libcuda.so.of.no.machine")
    engine = tmp_path / "strip.engine"
    engine.write_bytes(b"of another machine")
    with Inspector.load(engine, fallback=models / "production.onnx", threads=1) as inspector:
        result = inspector.inspect(strip)
        with inspector.clone() as clone:
            assert clone.inspect(strip).backend == "onnxruntime-cpu (fallback)"
    assert result.backend == "onnxruntime-cpu (fallback)"
    assert inspector.describe()["fallback"] == {
        "engine": str(engine),
        "why": "no NVIDIA driver on this machine (libcuda.so.of.no.machine is not there)",
    }
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "in place of" in caplog.text


def test_without_a_fallback_none_is_named(inspector: Inspector) -> None:
    assert inspector.describe()["fallback"] is None


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [3, 4])
def test_after_warm_up_inspect_allocates_no_array(models: Path, kind: type[np.generic], channels: int) -> None:
    strip = np.full((976, 176, channels), 7, kind).transpose(2, 0, 1)
    with Inspector.load(models / "line.onnx") as inspector:
        inspector.inspect(strip)
        session, fed = inspector._backend.session, {"input": inspector._backend.input}
        bare = peak_bytes(lambda: session.run(["output"], fed))
        ours = peak_bytes(lambda: inspector.inspect(strip))
    # Allowed are Python's small objects and the block of 8192 values that older numpy reduces by; a bool mask has 171776 bytes.
    assert ours - bare < 60_000


def test_the_allocation_test_would_see_one_mask_of_the_heatmap() -> None:
    heatmap = np.zeros((976, 176), np.float32)
    assert peak_bytes(lambda: (heatmap > 0).any()) > 60_000


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that was in use during `call` beyond before; numpy registers its arrays with tracemalloc."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_closing_ends_the_models_threads(models: Path, strip: NDArray[np.uint8]) -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    Inspector.load(models / "production.onnx", threads=1).close()  # ONNX Runtime's own, at its first session
    before = threads()
    with Inspector.load(models / "production.onnx", threads=4) as inspector:
        inspector.inspect(strip)
        assert threads() == before + 3  # the caller's is the fourth
    assert threads() == before
