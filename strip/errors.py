"""The errors that lineside raises on purpose.

Every one says what was found, why that cannot work and what to do, all computed from the values at hand. The command
line prints that and exits with 2; anything else that escapes is a bug of ours and keeps its traceback.

    LinesideError
    +-- ConfigError        an option, a threshold or a spec that cannot be
    +-- StripError         a picture that is not a strip of this spec
    +-- DatasetError       a folder that is not a data set, or lacks what the task needs
    +-- CheckpointError    a checkpoint that is not ours, damaged or unsafe
    +-- ModelError         an ONNX file or engine that cannot be used, or that answered nonsense
    +-- CalibrationError   a table of ranges that cannot be made, is not ours, or belongs to another model
    +-- OutputError        a place where the result cannot be written
    +-- TrainingError      a run that cannot go on
    +-- MissingPackageError     an optional package that this task needs
    +-- DeviceError        a GPU, driver or provider that is not usable
"""

from __future__ import annotations

USER_ERROR, ANSWER_IS_NO, INTERRUPTED = 2, 3, 130
"""Exit codes of every program of ours (design 14): the user's input or machine cannot do this; the work is done and the answer is no; a
break. 0 is done, and 1 a bug of ours."""


class LinesideError(Exception):
    """Something that the user can put right.

    Args:
        what: What was found, with the path or the value.
        why: What was expected, or why this cannot work.
        fix: What to do next, as a command where there is one.
    """

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (data workers): keep all three parts.
        return _rebuild, (type(self), self.what, self.why, self.fix)


def _rebuild(kind: type[LinesideError], what: str, why: str, fix: str) -> LinesideError:
    return kind(what, why=why, fix=fix)


class ConfigError(LinesideError):
    """An option, a threshold or a spec that cannot be."""


class StripError(LinesideError):
    """A picture that is not a strip of this spec."""


class DatasetError(LinesideError):
    """A folder that is not a data set, or lacks what the task needs."""


class CheckpointError(LinesideError):
    """A checkpoint that is not ours, damaged or unsafe."""


class ModelError(LinesideError):
    """An ONNX file or engine that cannot be used, or that answered nonsense."""


class CalibrationError(LinesideError):
    """A table of ranges that cannot be made, is not ours, or belongs to another model or other images."""


class OutputError(LinesideError):
    """A place where the result cannot be written."""


class TrainingError(LinesideError):
    """A run that cannot go on."""


class MissingPackageError(LinesideError):
    """An optional package that this task needs."""


class DeviceError(LinesideError):
    """A GPU, driver or provider that is not usable."""
