"""What `lineside bench` measures, and how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lineside.benchmarks.measure.latency import LatencyOptions
from lineside.errors import ConfigError

from .measurement import FLAT_OUT, PACED


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What to measure, and how long.

    Attributes:
        seconds: Of the interleaved measurement, for all cases together.
        warm_up_seconds: The most for one load of a case to settle; None: all warm-ups together take no longer than the measurement.
        paced_ms: Measure once more, one call every so many milliseconds.
        soak_minutes: Measure for so many minutes more.
        loads: How often every model is loaded anew during a measurement; an interval within one load knows nothing of the next.
        cold: Whether to measure load time and memory in processes of their own.
        strips: A folder whose strips are read inside the call; None: strips lie in memory.
        roofline: Whether to measure this machine's peak, and say how near to it the models come.
        seed: Of the order of the cases in a round.
    """

    seconds: float = 30.0
    warm_up_seconds: float | None = None
    paced_ms: float | None = None
    soak_minutes: float | None = None
    loads: int = 5
    cold: bool = True
    strips: Path | None = None
    roofline: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loads < 1:
            raise ConfigError(f"{self.loads} loads", why="what is measured is loaded", fix="use 1 or more")
        self.latency(None)
        if self.paced_ms is not None:
            self.latency(self.paced_ms)
        if self.soak_minutes is not None and not self.soak_minutes > 0:
            raise ConfigError(f"a soak of {self.soak_minutes} minutes", why="it takes time", fix="use a number above 0, or leave it out")

    def words(self) -> list[str]:
        """As the command line spells them."""
        words = ["--seconds", f"{self.seconds:g}"]
        words += ["--paced", f"{self.paced_ms:g}"] if self.paced_ms is not None else []
        words += ["--loads", str(self.loads)]
        words += ["--soak", f"{self.soak_minutes:g}"] if self.soak_minutes is not None else []
        words += ["--strips", str(self.strips)] if self.strips is not None else []
        words += ["--roofline"] if self.roofline else []
        return words if self.cold else [*words, "--no-cold-start"]

    @property
    def modes(self) -> dict[str, float | None]:
        """The interleaved measurements, with their periods."""
        return {FLAT_OUT: None} if self.paced_ms is None else {FLAT_OUT: None, PACED: self.paced_ms}

    def latency(self, period_ms: float | None, *, cases: int = 1) -> LatencyOptions:
        """Of one of the interleaved measurements of so many cases."""
        warm_up_seconds = self.seconds / (cases * self.loads) if self.warm_up_seconds is None else self.warm_up_seconds
        return LatencyOptions(seconds=self.seconds, warm_up_seconds=warm_up_seconds, period_ms=period_ms, seed=self.seed)
