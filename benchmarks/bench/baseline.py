"""Is it slower than it was? A measurement against one that was kept, for a user's own continuous integration.

In:   bench.json of an earlier `lineside bench`, and a new measurement on the same kind of machine.
Out:  a `Change` per row that both have. Slower is what the whole interval says, never one number.
The two did not run in the same rounds, and the machine may be busier today: each call is taken in units of the yardstick that ran in its
round. Medians are compared, and blocks of consecutive rounds are drawn, so that a slow stretch of either run widens the interval as it
should. What remains from run to run is in no interval: the allowance is for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lineside.benchmarks.measure.environment import environment, machine_of
from lineside.benchmarks.measure.stats import ratio_of_separate_medians
from lineside.benchmarks.subjects.cases import Case
from lineside.errors import ConfigError
from lineside.judge.bootstrap import Interval

from .measurement import SCHEMA, Measurement

ALLOWED = 0.10
"""How much slower is no regression, unless the user says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One row, then and now.

    Attributes:
        name, mode: The row's.
        before_ms, now_ms: Medians of one call.
        ratio: Now over before, in units of the yardstick.
        allowed: Slower by more than this share is a regression.
    """

    name: str
    mode: str
    before_ms: float
    now_ms: float
    ratio: Interval
    allowed: float

    @property
    def answer(self) -> str:
        """Slower and faster are what the whole interval is beyond the allowance; unsure, when it reaches over it."""
        if self.ratio.low > 1 + self.allowed:
            return "slower"
        if self.ratio.high < 1 / (1 + self.allowed):
            return "faster"
        return "unsure" if self.ratio.high > 1 + self.allowed else "as before"

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {**asdict(self), "answer": self.answer}


@dataclass(frozen=True, kw_only=True)
class Against:
    """A measurement beside its baseline.

    Attributes:
        path, when, machine: Of the baseline.
        changes: Of the rows that both have.
        remarks: What makes the two less comparable: another machine that was forced, other versions, rows that only one has.
    """

    path: Path
    when: str
    machine: str
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]

    @property
    def slower(self) -> tuple[Change, ...]:
        """The regressions."""
        return tuple(change for change in self.changes if change.answer == "slower")

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {
            "path": str(self.path),
            "when": self.when,
            "machine": self.machine,
            "changes": [change.to_json() for change in self.changes],
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A measurement that was kept; slower than it by more than the share `allowed` is a regression."""

    path: Path
    when: str
    rows: Mapping[tuple[str, str], Mapping[str, Any]]
    yardsticks: Mapping[str, Sequence[float]]
    environment: Mapping[str, Any]
    allowed: float = ALLOWED

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read bench.json. Raises: ConfigError, when it is not one, or of another schema."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["schema"] != SCHEMA:
                raise KeyError(f"schema {value['schema']}")
            rows = {(row["name"], row["mode"]): row for row in value["rows"]}
            yardsticks = value["yardstick_ms"]
            for (name, mode), row in rows.items():
                if not 0 < len(row["latency"]["samples_ms"]) == len(yardsticks[mode]):
                    raise KeyError(f"{name} and its yardstick")
            environment = value["rows"][0]["environment"]
            found = cls(path=path, when=value["when"], rows=rows, yardsticks=yardsticks, environment=environment)
            machine_of(found.environment)
        except OSError as exc:
            raise ConfigError(f"{path}: {exc.strerror}", why="a baseline was expected there", fix="check the path") from exc
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as exc:
            raise ConfigError(
                f"{path}: not a measurement of `lineside bench` ({exc})",
                why=f"a baseline is its JSON of schema {SCHEMA}",
                fix="make one: lineside bench MODEL... --json BASELINE.json",
            ) from exc
        return found

    @classmethod
    def of_this_machine(cls, path: Path, *, allowed: float, force: bool = False) -> Baseline:
        """Read bench.json; one of another machine only with `force`. Raises: ConfigError, also for an allowance below 0."""
        if not allowed >= 0:
            raise ConfigError(f"an allowance of {allowed:.0%}", why="slower by less than nothing is faster", fix="use 0 or more")
        found = replace(cls.read(path), allowed=allowed)
        if not force:
            found.refuse_other_machine(environment())
        return found

    def refuse_other_machine(self, here: Mapping[str, Any]) -> None:
        """Raises: ConfigError, when it was measured on another kind of machine."""
        then, now = machine_of(self.environment), machine_of(here)
        if then != now:
            raise ConfigError(
                f"{self.path}: measured on {then}",
                why=f"this is {now}: what differs would be the machine",
                fix="make a baseline here, or add --force-baseline",
            )

    def refuse_other_cases(self, cases: Sequence[Case]) -> None:
        """Raises: ConfigError, when it has none of them."""
        known = dict.fromkeys(name for name, _ in self.rows)
        if not any(case.name in known for case in cases):
            raise ConfigError(
                f"{self.path}: no row of {', '.join(case.name for case in cases)}",
                why=f"it has {', '.join(known)}",
                fix="measure the same models with the same axes",
            )

    def compare(self, found: Measurement) -> Against:
        """Compare the rows that both have.

        Raises:
            ConfigError: They have none in common.
        """
        now = {(row.case.name, row.mode): row.row.samples_ms for row in found.rows}
        self.refuse_other_cases([row.case for row in found.rows])
        common = [key for key in now if key in self.rows]
        changes = []
        for name, mode in common:
            before_ms, now_ms = self.rows[name, mode]["latency"]["samples_ms"], now[name, mode]
            changes.append(
                Change(
                    name=name,
                    mode=mode,
                    before_ms=median(before_ms),
                    now_ms=median(now_ms),
                    ratio=ratio_of_separate_medians(np.divide(now_ms, found.yardsticks[mode]), np.divide(before_ms, self.yardsticks[mode])),
                    allowed=self.allowed,
                )
            )
        return Against(
            path=self.path,
            when=self.when,
            machine=machine_of(self.environment),
            changes=tuple(changes),
            remarks=tuple(self._remarks(found, [key for key in (*self.rows, *now) if key not in common])),
        )

    def _remarks(self, found: Measurement, lonely: Sequence[tuple[str, str]]) -> list[str]:
        then, now = machine_of(self.environment), machine_of(found.environment)
        remarks = [f"the baseline is of another machine: {then}; this is {now}"] if then != now else []
        packages = [self.environment.get("packages") or {}, found.environment["packages"]]
        for name in sorted(set().union(*packages)):
            before, after = (versions.get(name) for versions in packages)
            if before != after and (before or after):
                remarks.append(f"{name}: {before or 'not installed'} then, {after or 'not installed'} now")
        for mode in {mode for _, mode in self.rows} & set(found.yardsticks):
            machine = median(found.yardsticks[mode]) / median(self.yardsticks[mode])
            remarks.append(f"the machine itself took {machine:.2f} times as long as then ({mode}); the ratios are without that")
        return [*remarks, *(f"only one of the two has {name} ({mode})" for name, mode in dict.fromkeys(lonely))]
