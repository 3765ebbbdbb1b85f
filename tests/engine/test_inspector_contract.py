"""The contract of `Inspector`, which every backend keeps: results, errors, closing, threads, clones, batches.

ONNX Runtime runs for real. TensorRT, cuda-python and PyCUDA are stand-ins, whose GPU computes with ONNX Runtime and shows nothing before
somebody waits for it. After every test the stand-in's GPU has to be empty again.
"""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lineside_standin.install import Standin
from lineside_standin.world import Gpu
from numpy.typing import NDArray

from lineside import ConfigError, Inspector, LinesideError, ModelError, StripError
from lineside.engine.result import Verdict

HeatOf = Callable[[NDArray[Any]], NDArray[np.float32]]
Load = Callable[..., Inspector]
FORMS = ["production", "raw", "raw_float"]
MODEL_THRESHOLD = 0.25
BACKENDS = {
    "onnxruntime": {},
    "cuda-python": {"cuda_backend": "cuda-python"},
    "pycuda": {"cuda_backend": "pycuda"},
    "cuda-python, integrated": {"cuda_backend": "cuda-python"},
    "pycuda, integrated": {"cuda_backend": "pycuda"},
    "cuda-python, debug": {"cuda_backend": "cuda-python", "debug": True},
}


@pytest.fixture(params=BACKENDS)
def load(request: pytest.FixtureRequest, models: Path) -> Iterator[Load]:
    """Loads a model by its name with one of the backends; further options go to `Inspector.load`."""
    backend = request.param
    if backend == "onnxruntime":
        yield lambda model, **options: Inspector.load(models / f"{model}.onnx", threads=1, **options)
        return
    standin: Standin = request.getfixturevalue("standin")
    engine_of: Callable[..., Path] = request.getfixturevalue("engine_of")
    if "integrated" in backend:
        standin.world(gpus=(Gpu(integrated=True),))
    yield lambda model, **options: Inspector.load(engine_of(model), **BACKENDS[backend], **options)
    assert standin.living() == {}


@pytest.fixture
def inspector(load: Load) -> Iterator[Inspector]:
    with load("production") as loaded:
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
def test_the_heatmap_is_what_numpy_computes(load: Load, strip: NDArray[np.uint8], heat_of: HeatOf, form: str, channels: int) -> None:
    with load(form) as inspector:
        result = inspector.inspect(strip[:channels])
    assert result.heatmap.dtype == np.float32
    assert np.array_equal(result.heatmap, heat_of(strip))
    assert result.score == heat_of(strip).max()
    assert result.verdict is Verdict.NG
    assert [region.box for region in result.regions] == [(10, 20, 3, 4)]


@pytest.mark.parametrize("form", ["production", "raw_float"])
def test_bytes_and_floats_of_the_same_values_give_the_same_bits(load: Load, strip: NDArray[np.uint8], form: str) -> None:
    with load(form) as inspector:
        assert np.array_equal(inspector.heatmap(strip), inspector.heatmap(strip.astype(np.float32)))


@pytest.mark.parametrize("form", FORMS)
def test_a_mask_of_an_earlier_strip_does_not_stay(load: Load, strip: NDArray[np.uint8], form: str) -> None:
    with load(form) as inspector:
        inspector.inspect(strip)
        inspector.inspect(strip[:3])
        assert not inspector._backend.input[0, 3:].any()


@pytest.mark.parametrize("form", FORMS)
def test_strides_do_not_matter(load: Load, strip: NDArray[np.uint8], form: str) -> None:
    channels_last = np.ascontiguousarray(strip.transpose(1, 2, 0)).transpose(2, 0, 1)
    wide = np.zeros((4, 64, 200), np.uint8)
    wide[:, :, 1:193:2] = strip
    read_only = strip.copy()
    read_only.flags.writeable = False
    with load(form) as inspector:
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


def test_a_model_that_takes_bytes_does_not_round_floats(load: Load, strip: NDArray[np.uint8]) -> None:
    with load("raw") as inspector, pytest.raises(StripError, match="nothing is rounded"):
        inspector.inspect(strip.astype(np.float32))


@pytest.mark.parametrize(("model", "said"), [("nan", "nan"), ("loud", "1.5"), ("lying", "the score 0")])
def test_a_model_that_answers_nonsense_gives_an_error_and_no_verdict(load: Load, strip: NDArray[np.uint8], model: str, said: str) -> None:
    with load(model) as inspector, pytest.raises(ModelError, match=said):
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


def test_a_graphs_score_that_is_nan_is_an_error(load: Load, strip: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    with load("raw") as inspector:
        monkeypatch.setattr(inspector._backend, "run", lambda rows: (np.zeros((1, 64, 96), np.float32), np.array([np.nan], np.float32)))
        with pytest.raises(ModelError, match="the score nan"):
            inspector.inspect(strip)


def test_rounding_beyond_one_is_taken_back(inspector: Inspector, strip: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    above = np.nextafter(np.float32(1), np.float32(2))
    monkeypatch.setattr(inspector._backend, "run", lambda rows: (np.full((1, 64, 96), above), None))
    result = inspector.inspect(strip)
    assert result.score == 1.0
    assert result.heatmap.max() == 1.0


def test_the_threshold_is_the_models_own_unless_said(load: Load, strip: NDArray[np.uint8]) -> None:
    strip[0, 10:13, 20:24] = 220  # heat 100 / 255 = 0.39
    with load("production") as inspector:
        assert inspector.threshold == MODEL_THRESHOLD
        assert inspector.inspect(strip).verdict is Verdict.NG
    with load("production", threshold=0.4) as inspector:
        assert inspector.threshold == 0.4
        assert inspector.inspect(strip).verdict is Verdict.OK


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(load: Load, threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        load("production", threshold=threshold)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("batch", [None, 1, 2, 5, 16])
@pytest.mark.parametrize("form", FORMS)
def test_every_batch_gives_what_single_strips_give(
    load: Load, strip: NDArray[np.uint8], form: str, batch: int | None, overlap: bool
) -> None:
    strips = varied(strip, 5)
    with load(form) as inspector:
        singly = [inspector.inspect(one) for one in strips]
        together = list(inspector.inspect_many(iter(strips), batch=batch, overlap=overlap))
    assert len(together) == len(strips)
    for one, many in zip(singly, together, strict=True):
        assert np.array_equal(one.heatmap, many.heatmap)
        assert one.score == many.score


def test_a_model_with_a_fixed_batch_drops_what_fills_it_up(load: Load, strip: NDArray[np.uint8], heat_of: HeatOf) -> None:
    strips = varied(strip, 6)  # 4 + 2
    with load("fixed") as inspector:
        results = list(inspector.inspect_many(strips))
        assert len(results) == 6
        for one, result in zip(strips, results, strict=True):
            assert np.array_equal(result.heatmap, heat_of(one))
        assert np.array_equal(inspector.heatmap(strips[3]), heat_of(strips[3]))


@pytest.mark.parametrize(("model", "batch", "said"), [("fixed", 3, "4 strips at a time"), ("production", 0, "batch of 0")])
def test_a_batch_that_the_model_cannot_take_is_refused_at_once(load: Load, model: str, batch: int, said: str) -> None:
    with load(model) as inspector, pytest.raises(ConfigError, match=said):
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


def test_a_clone_outlives_the_one_it_came_from(load: Load, strip: NDArray[np.uint8]) -> None:
    with load("production", threshold=0.33) as first:
        clone = first.clone()
    with clone:
        assert clone.inspect(strip).verdict is Verdict.NG
        assert clone.threshold == 0.33


def test_a_closed_inspector_says_so_and_closes_again(load: Load, strip: NDArray[np.uint8]) -> None:
    inspector = load("production")
    inspector.close()
    inspector.close()
    for use in (lambda: inspector.inspect(strip), inspector.clone, inspector.__enter__, lambda: list(inspector.inspect_many([strip]))):
        with pytest.raises(LinesideError, match="closed"):
            use()


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [3, 4])
def test_after_warm_up_inspect_allocates_nothing_but_the_answer(load: Load, kind: type[np.generic], channels: int) -> None:
    strip = np.full((976, 176, channels), 7, kind).transpose(2, 0, 1)
    with load("line") as inspector:
        for _ in range(3):
            inspector.inspect(strip)
        backend = inspector._backend
        bare = peak_bytes(lambda: backend.run(1))
        ours = peak_bytes(lambda: inspector.inspect(strip))
    # Allowed are Python's small objects and the block of 8192 values that older numpy reduces by; a bool mask has 171776 bytes.
    assert ours - bare < 60_000


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that was in use during `call` beyond before; numpy registers its arrays with tracemalloc."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
