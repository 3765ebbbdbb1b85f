"""`Inspector` as its caller sees it: a backend of `measure`.

In:   an Inspector, and strips in turn.
Out:  the stages of a call in nanoseconds on the host's clock: `read`, where strips come from files; `convert`, which checks a strip and
      writes it into the input as the model takes it; `inference`; `post`, which checks the answer and judges.
On a CPU `inference` is computing and nothing else. With an engine it is copying in, computing and copying out, and waiting for them:
`engine_stages` takes it apart, on the GPU's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lineside.benchmarks.measure.inputs import Strips
from lineside.engine.inspector import Inspector
from lineside.engine.result import Result

READ, CONVERT, INFERENCE, POST = "read", "convert", "inference", "post"
_NS_PER_MS = 1e6


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """`Inspector.inspect`, or `inspect_many` on `rows` strips at once; stages of all of them together."""

    name: str
    inspector: Inspector
    strips: Strips
    rows: int = 1

    def run(self, index: int) -> Mapping[str, int]:
        """One batch."""
        before_ns = self.strips.read_ns
        timings = [result.timing for result in self.results(index)]
        stages = {
            CONVERT: sum(timing.pre_ms for timing in timings),
            INFERENCE: sum(timing.inference_ms for timing in timings),
            POST: sum(timing.post_ms for timing in timings),
        }
        read_ns = self.strips.read_ns - before_ns
        return {**({READ: read_ns} if read_ns else {}), **{stage: round(ms * _NS_PER_MS) for stage, ms in stages.items()}}

    def results(self, index: int) -> list[Result]:
        """What it answers."""
        if self.rows == 1:  # also of a model that fixes a larger batch
            return [self.inspector.inspect(self.strips.take(index))]
        batch = (self.strips.take(index * self.rows + row) for row in range(self.rows))
        return list(self.inspector.inspect_many(batch, batch=self.rows))
