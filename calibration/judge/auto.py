"""Automatic mixed precision: as many layers in INT8 as the gate allows, or the plain answer "ship FP16".

In:   a float32 model, its table of ranges, labelled strips, and how to quantise.
Out:  the INT8 model and beside it NAME.auto.json with the path that was taken; without a passing model the JSON alone.

Every candidate runs over all labelled strips and is judged by `gate.decide` against the float32 model, at the model's threshold, which is
never changed. The first candidate is all layers in INT8. If it fails, layers return to the rest's precision in the order of their damage
(`sensitivity`): 1, 2, 4, ... of them, because a candidate costs a pass over the strips, then by halving between the last that failed and
the first that passed. What comes out did pass itself. When layers of a third of the multiply-adds were not enough, FP16 is tried.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lineside.calibration.place.half import half
from lineside.calibration.place.precision_file import PrecisionSummary, write_quantized_model
from lineside.calibration.place.quantize import QuantizeOptions, quantized
from lineside.calibration.ranges.table import RangesTable
from lineside.dataset import Dataset, Sample
from lineside.engine.inspector import Inspector
from lineside.files import refuse_existing, write_bytes, write_json
from lineside.graph.cost import multiply_adds
from lineside.graph.float_model import FloatModel
from lineside.graph.layer_precision import executed
from lineside.judge.compare import outcomes
from lineside.judge.gate import GateDecision, decide
from lineside.judge.outcome import StripOutcome
from lineside.progress import Progress, silent

from .sensitivity import Sensitivity, SensitivityOptions, measure_sensitivity

if TYPE_CHECKING:
    import onnx

SCHEMA = 1
MOST_RETURNED = 1 / 3
"""Share of the multiply-adds that may be outside of INT8: beyond it FP16 alone is nearly as fast and has less to prove."""

Answer = Literal["int8", "fp16", "none"]
"""Ship the INT8 model; ship FP16; or neither keeps the verdicts."""


@dataclass(frozen=True, kw_only=True)
class AutoStep:
    """A candidate.

    Attributes:
        what: In words.
        returned: Layers that were taken out of INT8 for the gate, the most damaging first.
        int8_share: Of the multiply-adds, what is INT8.
        decision: Of the gate.
    """

    what: str
    returned: tuple[str, ...]
    int8_share: float
    decision: GateDecision


@dataclass(frozen=True, kw_only=True)
class AutoResult:
    """What came out.

    Attributes:
        options: How to quantise, as given.
        steps: Every candidate in the order it was tried, the last one being FP16 where INT8 did not do.
        sensitivity: Why layers were returned in this order; None when none had to be.
    """

    options: QuantizeOptions
    steps: tuple[AutoStep, ...]
    sensitivity: Sensitivity | None

    @property
    def chosen(self) -> AutoStep | None:
        """The candidate to ship; None when neither INT8 nor FP16 keeps the verdicts."""
        # the search goes on below what passed and above what did not, so the last one that passed is the one with the fewest layers
        return next((step for step in reversed(self.steps) if step.decision.passed), None)

    @property
    def answer(self) -> Answer:
        """What to ship."""
        if self.chosen is None:
            return "none"
        return "int8" if self.chosen.int8_share else "fp16"

    @property
    def question(self) -> str | None:
        """Whether another threshold would have kept the verdicts of the first candidate: a person decides that."""
        first = self.steps[0].decision
        if first.other_threshold is None:
            return None
        return f"at the threshold {first.other_threshold:.6g} instead of {first.threshold:.6g} all INT8 would keep every verdict: use it?"

    def to_json(self) -> dict[str, Any]:
        """The content of NAME.auto.json."""
        return {
            "schema": SCHEMA,
            "answer": self.answer,
            "question": self.question,
            "target": self.options.target,
            "keep": sorted(self.options.keep),
            "steps": [{**asdict(step), "decision": step.decision.to_json()} for step in self.steps],
            "sensitivity": self.sensitivity.to_json() if self.sensitivity else None,
        }


def report_path(out: Path) -> Path:
    """Where the path that was taken is written: NAME.auto.json beside NAME.onnx."""
    return out.with_suffix(".auto.json")


def quantize_automatically(
    source: Path, ranges: Path, dataset: Path, out: Path, options: QuantizeOptions, *, force: bool = False, progress: Progress = silent
) -> tuple[AutoResult, PrecisionSummary | None]:
    """Write the fastest model of `source` that passes the gate to `out`, and the path to it to `report_path(out)`.

    Without an INT8 model that passes only the report is written, and an older `out` stays as it is.

    Args:
        source: A float32 ONNX file.
        ranges: Its table of ranges.
        dataset: A data set whose test/ holds the labelled strips.
        out: The ONNX file to write.
        options: Target, rest, and layers that are kept in any case.
        force: Overwrite what exists.
        progress: Told of every strip and of every layer that is tried.

    Returns:
        What came out, and what was written.

    Raises:
        OutputError: `out` or the report exists, or cannot be written.
        ModelError, CalibrationError, ConfigError: See `quantized`.
        StripError, DatasetError: The data set has no labelled strips, or a strip or mask is not what the spec says.
    """
    for path in (out, report_path(out)):
        refuse_existing(path, force=force)
    table = RangesTable.read(ranges)
    model = FloatModel.read(source, spec=table.spec)
    samples = Dataset.open(dataset, spec=model.manifest.spec).test
    result = choose_layers(model, table, samples, options, progress=progress)
    written = None
    if result.answer == "int8" and result.chosen:
        chosen = replace(options, keep=options.keep | {*result.chosen.returned})
        written = write_quantized_model(model, table, out, chosen, force=force)
    write_json(report_path(out), {"model": str(source), "dataset": str(dataset), **result.to_json()})
    return result, written


def choose_layers(
    model: FloatModel, table: RangesTable, samples: Sequence[Sample], options: QuantizeOptions, *, progress: Progress = silent
) -> AutoResult:
    """Find the fewest layers to return. Raises what `quantize_automatically` does, but for the files."""
    trial = _Trial(model, table, samples, options, progress)
    sensitivity = None
    if not trial.passes(()):
        wanted = SensitivityOptions(target=options.target, leave_one_out=False, cpu=options.cpu)
        sensitivity = measure_sensitivity(model, table, samples, wanted, progress=progress)
        order = trial.returnable([layer.name for layer in sensitivity.layers])
        if fewest(len(order), lambda count: trial.passes(order[:count])) is None:
            trial.half_passes()
    return AutoResult(options=options, steps=tuple(trial.steps), sensitivity=sensitivity)


def fewest(most: int, passes: Callable[[int], bool]) -> int | None:
    """The least number from 1 to `most` that passes, when what passes does so with more, too; None when none that was tried does."""
    low = high = 0
    for high in sorted({min(2**power, most) for power in range(most.bit_length() + 1)} - {0}):
        if passes(high):
            break
        low = high
    if high == low:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


class _Trial:
    """Makes candidates, runs them over the strips, and writes down what the gate said (`steps`)."""

    def __init__(
        self, model: FloatModel, table: RangesTable, samples: Sequence[Sample], options: QuantizeOptions, progress: Progress
    ) -> None:
        self.steps: list[AutoStep] = []
        self._model, self._table, self._samples, self._options, self._progress = model, table, samples, options, progress
        self._costs = multiply_adds(model.network)
        self._outside: frozenset[str] = frozenset()  # layers that are not INT8 in the first candidate, whatever the reason
        self._reference = self._outcomes(model.network.model, "float32")

    def passes(self, returned: tuple[str, ...]) -> bool:
        """Whether the candidate with these layers out of INT8 passes the gate."""
        options = replace(self._options, keep=self._options.keep | {*returned})
        candidate = quantized(self._model.network.model, self._table, options, path=self._model.path)
        if not returned:
            layers = executed(candidate, path=self._model.path).layers
            self._outside = frozenset(layer.name for layer in layers if layer.precision != "int8")
        return self._judge(candidate, f"INT8 but {len(returned)} layers" if returned else "all INT8", returned)

    def half_passes(self) -> bool:
        """Whether FP16 passes the gate."""
        candidate = half(self._model.network.model, table=self._table, path=self._model.path)
        return self._judge(candidate, "FP16", tuple(self._costs))

    def returnable(self, order: Sequence[str]) -> tuple[str, ...]:
        """As many layers from the front of `order`, of those that are INT8, as may return."""
        integer = [name for name in order if name not in self._outside]
        most = sum(self._share([*self._outside, *integer[: count + 1]]) <= MOST_RETURNED for count in range(len(integer)))
        return tuple(integer[:most])

    def _judge(self, candidate: onnx.ModelProto, what: str, returned: tuple[str, ...]) -> bool:
        decision = decide(self._reference, self._outcomes(candidate, what), threshold=self._model.manifest.threshold)
        int8_share = executed(candidate, path=self._model.path).share("int8")
        self.steps.append(AutoStep(what=what, returned=returned, int8_share=int8_share, decision=decision))
        return decision.passed

    def _outcomes(self, model: onnx.ModelProto, what: str) -> tuple[StripOutcome, ...]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self._model.path.name
            write_bytes(path, model.SerializeToString())
            with Inspector.load(path) as inspector:
                return outcomes(inspector, self._samples, threshold=inspector.threshold, progress=self._progress, what=what)

    def _share(self, names: Iterable[str]) -> float:
        """Of the multiply-adds."""
        return sum(self._costs[name] for name in names) / sum(self._costs.values())
