"""Inspect strips with a model, whatever runs it.

    with Inspector.load("strip.engine") as inspector:  # or strip.onnx
        result = inspector.inspect(strip)

In:   a model file, ONNX or a TensorRT engine; strips (C, H, W) uint8 or float32 in 0..255, C = 3 or 4, any strides.
Out:  `Result` per strip. A model that answers NaN or anything outside [0, 1] is an error: NaN >= threshold is false, and
      the verdict on a bad part would be OK.
One Inspector per thread; `clone()` makes another one on the same model.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter_ns
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lineside.errors import ConfigError, LinesideError, ModelError, StripError
from lineside.judge.threshold import DEFAULT_THRESHOLD
from lineside.kinds import kind_of
from lineside.manifest import ModelManifest, checked_threshold
from lineside.reader import check_form, check_range
from lineside.spec import CHANNELS, FULL_SCALE, StripSpec

from .device.protocol import CudaBackend
from .fallback import CANNOT_RUN, Fallback, fall_back
from .files.golden import refuse_other_answers
from .files.profiles import BatchProfiles
from .result import Result, Timing
from .run.backend import Backend, LoadOptions
from .run.open_backend import open_backend
from .run.runner import RunOptions

ROUNDING = 1e-6
"""How far heat may lie outside [0, 1], and the graph's score from the heatmap's maximum: a few steps of a float32 below 1."""
_WHITE = np.float32(FULL_SCALE)
_NS_PER_MS = 1e6


class _Prepared(NamedTuple):
    """A batch in the input buffer: how many strips, nanoseconds of preparing them, and when the last was ready."""

    rows: int
    pre_ns: int
    ready_ns: int


class Inspector:
    """A loaded model. `close()` is idempotent; not for two threads at once, which it notices and refuses.

    The thread that calls owns the input buffer until the answer is there; after the first call nothing is allocated per strip but
    what the runtime returns.
    """

    def __init__(self, backend: Backend, *, threshold: float, fallback: Fallback | None = None) -> None:
        self._backend = backend
        self._threshold = checked_threshold(threshold)
        self._fallback = fallback
        self._name = f"{backend.name} (fallback)" if fallback else backend.name
        self._busy = threading.Lock()
        self._closed = False

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        threshold: float | None = None,
        spec: StripSpec | None = None,
        cuda_backend: CudaBackend = "auto",
        device: int = 0,
        fallback: str | Path | None = None,
        debug: bool = False,
    ) -> Inspector:
        """Load a model. An engine inspects its golden strips before it is handed out.

        Args:
            path: An engine of `lineside build` (.engine, .plan), an ONNX file of `lineside export`, or any with the production contract
                when `spec` is given.
            providers: For ONNX files: names as ONNX Runtime has them, or short ("cpu", "cuda"), in order of precedence; None: CPU. A
                provider that cannot run is an error, never replaced by another.
            threads: For ONNX files: threads of one run; None: one per physical core that the process may use.
            threshold: NG at or above it; None: what the model carries.
            spec: The strips of a model that carries no metadata.
            cuda_backend: For engines: "cuda-python" or "pycuda"; "auto": what is installed, cuda-python first.
            device: For engines: the number of the GPU.
            fallback: For engines: the ONNX file that inspects when the engine cannot. Results, `describe` and the log say so.
            debug: For engines: fill the answers with NaN before every run, so that what is left unwritten is an error.

        Raises:
            ModelError: Not a model that this version can run, or an engine that was not built for this machine.
            DeviceError: There is no usable GPU, or a provider is not available or does not run.
            ConfigError: A threshold outside 0..1, less than one thread, or an option of the other kind of model.
            MissingPackageError: What runs the model is not installed.
        """
        path = Path(path)
        wanted = LoadOptions(
            providers=providers, threads=threads, spec=spec, run=RunOptions(cuda_backend=cuda_backend, device=device, debug=debug)
        )
        if fallback is None or kind_of(path) == "onnx":
            return cls._open(path, wanted, threshold)
        onnx = Path(fallback)
        try:
            return cls._open(path, replace(wanted, providers=None, threads=None), threshold)
        except CANNOT_RUN as exc:
            instead = cls._open(onnx, replace(wanted, run=RunOptions()), threshold)
            return cls(instead._backend, threshold=instead.threshold, fallback=fall_back(path, exc, onnx, instead.manifest))

    @classmethod
    def _open(cls, path: Path, options: LoadOptions, threshold: float | None) -> Inspector:
        backend = open_backend(path, options)
        try:
            if threshold is None:
                threshold = backend.model.manifest.threshold if backend.model.manifest else DEFAULT_THRESHOLD
            inspector = cls(backend, threshold=threshold)
            refuse_other_answers(backend.golden(), inspector._heat_and_score, path=path)
        except BaseException:
            backend.close()
            raise
        return inspector

    @property
    def spec(self) -> StripSpec:
        """The strips that the model inspects."""
        return self._backend.model.spec

    @property
    def threshold(self) -> float:
        """A strip is NG when its score is at least this."""
        return self._threshold

    @property
    def threshold_rule(self) -> str | None:
        """How the threshold was chosen; None for one that is not the model's own."""
        known = self.manifest
        return known.threshold_rule if known is not None and known.threshold == self._threshold else None

    @property
    def manifest(self) -> ModelManifest | None:
        """What the model says about itself; None for a model without metadata."""
        return self._backend.model.manifest

    @property
    def weights_sha256(self) -> str | None:
        """Of the float network that the model was made from; None for a model without metadata."""
        return self.manifest.weights_sha256 if self.manifest else None

    @property
    def profiles(self) -> BatchProfiles | None:
        """How many strips go in at once; None when any number does."""
        return self._backend.model.profiles

    def describe(self) -> dict[str, Any]:
        """What is loaded and what really runs it, as JSON values."""
        fallback = self._fallback.to_json() if self._fallback else None
        return {**self._backend.describe(), "threshold": self._threshold, "fallback": fallback}

    def inspect(self, strip: NDArray[Any]) -> Result:
        """Inspect one strip.

        Args:
            strip: (C, H, W) uint8 or float32 in 0..255, C = 3 or 4, any strides. Not changed, not kept.

        Raises:
            StripError: It is something else.
            ModelError: The model cannot run, or answers nonsense.
            LinesideError: Another thread is inspecting, or the Inspector is closed.
        """
        return self._run(iter((strip,)), 1)[0]

    def inspect_many(self, strips: Iterable[NDArray[Any]], *, batch: int | None = None, overlap: bool = False) -> Iterator[Result]:
        """Inspect strips in their order, `batch` of them in one run; None: one, or the fewest that the model takes.

        Takes only as many strips as it needs for the next results. Raises what `inspect` raises, at the strip that is at fault.

        Args:
            strips: As `inspect` takes them.
            batch: Strips of one run.
            overlap: Prepare and copy one batch while the GPU works on the one before: with two clones, so twice the memory, and one
                batch more is taken than is answered. Pays off where a GPU computes about as long as a strip takes to arrive on it.

        Raises:
            ConfigError: The model cannot take that many.
        """
        profiles = self.profiles
        smallest = 1 if profiles is None else profiles.smallest
        rows = smallest if batch is None else batch
        if rows < 1 or (profiles is not None and profiles.index_for(rows) is None):
            raise ConfigError(
                f"batch of {rows}",
                why="a batch has one strip at least" if profiles is None else f"this model takes {profiles} strips at a time",
                fix="use 1 or more" if profiles is None else f"leave the batch out: it is {smallest} then",
            )
        return self._overlapping(iter(strips), rows) if overlap else self._batches(iter(strips), rows)

    def heatmap(self, strip: NDArray[Any]) -> NDArray[np.float32]:
        """The heatmap of one strip, (H, W) float32 in [0, 1]. Raises what `inspect` raises."""
        return self.inspect(strip).heatmap

    def clone(self) -> Inspector:
        """An Inspector for another thread: the same model and threshold, buffers of its own.

        Raises:
            LinesideError: This one is closed.
        """
        self._refuse_closed()
        return Inspector(self._backend.clone(), threshold=self._threshold, fallback=self._fallback)

    def close(self) -> None:
        """Let go of the model and the buffers.

        Raises:
            LinesideError: Another thread is inspecting.
        """
        self._take()
        try:
            self._closed = True
            self._backend.close()
        finally:
            self._busy.release()

    def __enter__(self) -> Inspector:
        self._refuse_closed()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _batches(self, strips: Iterator[NDArray[Any]], rows: int) -> Iterator[Result]:
        while results := self._run(strips, rows):
            yield from results

    def _overlapping(self, strips: Iterator[NDArray[Any]], rows: int) -> Iterator[Result]:
        with self.clone() as first, self.clone() as second:
            running: tuple[Inspector, _Prepared] | None = None
            for lane in cycle((first, second)):
                prepared = lane._prepare(strips, rows)
                if prepared.rows:
                    lane._backend.start(prepared.rows)
                if running is not None:
                    before, batch = running
                    yield from before._judge(batch, *before._backend.finish(batch.rows))
                if not prepared.rows:
                    return
                running = lane, prepared

    def _run(self, strips: Iterator[NDArray[Any]], rows: int) -> list[Result]:
        """Inspect the next `rows` strips, fewer at the end: the hot path."""
        self._take()
        try:
            self._refuse_closed()
            prepared = self._prepare(strips, rows)
            return self._judge(prepared, *self._backend.run(prepared.rows)) if prepared.rows else []
        finally:
            self._busy.release()

    def _prepare(self, strips: Iterator[NDArray[Any]], rows: int) -> _Prepared:
        """Write the next `rows` strips into the input buffer."""
        self._backend.reserve(rows)
        pre_ns = count = 0
        for strip in islice(strips, rows):
            started = perf_counter_ns()
            self._fill(self._backend.input[count], strip)
            pre_ns += perf_counter_ns() - started
            count += 1
        return _Prepared(count, pre_ns, perf_counter_ns())

    def _judge(self, prepared: _Prepared, heatmaps: NDArray[np.float32], scores: NDArray[np.float32] | None) -> list[Result]:
        """Check the answers and make results of them."""
        ran = perf_counter_ns()
        judged = [_checked_score(heatmaps[row], None if scores is None else scores[row]) for row in range(prepared.rows)]
        share = _NS_PER_MS * prepared.rows
        timing = Timing(
            pre_ms=prepared.pre_ns / share,
            inference_ms=(ran - prepared.ready_ns) / share,
            post_ms=(perf_counter_ns() - ran) / share,
        )
        return [
            Result(heatmap=heatmaps[row], score=score, threshold=self._threshold, timing=timing, backend=self._name)
            for row, score in enumerate(judged)
        ]

    def _heat_and_score(self, strip: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        result = self.inspect(strip)
        return result.heatmap, result.score

    def _fill(self, row: NDArray[Any], strip: NDArray[Any]) -> None:
        """Write a strip into one row (C, H, W) of the input buffer, as the model takes it.

        Values are checked there, where they lie in order: between the interleaved channels of a camera that takes thirty times as long.
        """
        self._check(strip, row.dtype)
        np.copyto(row[: len(strip)], strip[: len(row)])
        row[len(strip) :] = 0  # a raw model's mask channel, where the strip has none
        if strip.dtype != np.uint8:
            check_range(row[: len(CHANNELS)], FULL_SCALE, name="strip")
        if len(row) == len(CHANNELS):  # production takes [0, 1]; raw takes the values as they are
            np.divide(row, _WHITE, out=row)

    def _check(self, strip: NDArray[Any], taken: np.dtype[Any]) -> None:
        """Raises: StripError, when the strip has not the form that the model takes."""
        if not isinstance(strip, np.ndarray):
            raise StripError(f"strip: a {type(strip).__name__}", why="a strip is a numpy array (C, H, W)", fix="use numpy.asarray(...)")
        check_form(strip, self.spec, name="strip")
        if taken == np.uint8 and strip.dtype != np.uint8:
            raise StripError(
                f"strip: values of type {strip.dtype}",
                why="this model takes bytes (io=raw, uint8), and nothing is rounded in silence",
                fix="send uint8 as the camera gives it, or use a model that takes float32",
            )

    def _take(self) -> None:
        if not self._busy.acquire(blocking=False):
            raise LinesideError(
                "this Inspector is at work in another thread",
                why="it owns one input buffer, so it inspects for one thread at a time",
                fix="give every thread its own: inspector.clone() shares the model",
            )

    def _refuse_closed(self) -> None:
        if self._closed:
            raise LinesideError("this Inspector is closed", why="its model has been let go", fix="load it again: Inspector.load(...)")


def _checked_score(heatmap: NDArray[np.float32], graph_score: np.float32 | None) -> float:
    """The score of one heatmap: its maximum, which the graph's own score has to agree with.

    Raises:
        ModelError: A value is NaN, infinite or outside [0, 1], or the two scores differ.
    """
    low, high = heatmap.min(), heatmap.max()  # one NaN makes both NaN, and every comparison with NaN is false
    score = high if graph_score is None else graph_score
    if not (low >= -ROUNDING and high <= 1 + ROUNDING and abs(score - high) <= ROUNDING):
        raise ModelError(
            f"the model answered heat from {low:g} to {high:g} and the score {score:g}",
            why="heat is a probability in 0..1, and the score is its maximum",
            fix="do not use this model on the line; export it again from its checkpoint",
        )
    if low < 0 or high > 1:
        np.clip(heatmap, 0, 1, out=heatmap)
    return min(max(float(high), 0.0), 1.0)
