"""What is measured: model files times the axes that the user names.

In:   model files, and values of batch, threads, shape, runner and CUDA graph, as the command line spells them.
Out:  `Case`s, each one file and one way to run it, with names of their own; and which combinations a model cannot do.
Precision, tiling and io are properties of a file: they are compared by naming several files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from lineside.engine.files.profiles import BatchProfiles
from lineside.errors import ConfigError
from lineside.kinds import kind_of

Runner = Literal["inspector", "onnxruntime", "openvino", "pytorch", "compiled"]
"""Who runs a file. `inspector` is the product: strips in, verdicts out; the others run a bare graph, `compiled` by torch.compile."""
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file, one way to run it.

    Attributes:
        name: Unique in a measurement: what distinguishes it from the other cases.
        model: The label of the file, the same for all its cases.
        path: The file.
        runner: Who runs it.
        batch: Strips, or first axis of its inputs, of one call.
        threads: Of one run on the CPU; None: the runner's own choice.
        providers: Of ONNX Runtime; None: CPU.
        shapes: Of the inputs of a bare graph, with the batch; None for strips.
        graph: Of an engine: with a CUDA graph or without; None for other files.
    """

    name: str = ""
    model: str
    path: Path
    runner: Runner
    batch: int = 1
    threads: int | None = None
    providers: tuple[str, ...] | None = None
    shapes: Mapping[str, Shape] | None = None
    graph: bool | None = None

    @classmethod
    def inspected(cls, path: Path) -> Case:
        """A file as the product runs it, one strip at a time."""
        return cls(name=path.name, model=path.name, path=path, runner="inspector")

    @property
    def axes(self) -> tuple[Any, ...]:
        """What it has in common with the same axes of another file."""
        return self.runner, self.batch, self.threads, self.providers, self.graph

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()} if self.shapes else None
        return {**asdict(self), "path": str(self.path), "shapes": shapes, "providers": list(self.providers) if self.providers else None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Case:
        """What `to_json` gave."""
        shapes = {name: tuple(shape) for name, shape in value["shapes"].items()} if value["shapes"] else None
        providers = tuple(value["providers"]) if value["providers"] else None
        return cls(**{**value, "path": Path(value["path"]), "shapes": shapes, "providers": providers})


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The values to try; an empty axis is left to the model and the runner.

    Attributes:
        batch, threads: Numbers, 1 or more.
        providers: Of ONNX Runtime, in order of precedence: one list, not an axis of its own.
        shapes: Name of an input -> the shapes to try.
        runners: Who runs ONNX files; empty: Inspector for ours, ONNX Runtime for others.
        graph: CUDA graph of engines.
    """

    batch: tuple[int, ...] = ()
    threads: tuple[int, ...] = ()
    providers: tuple[str, ...] | None = None
    shapes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)
    runners: tuple[Runner, ...] = ()
    graph: tuple[bool, ...] = ()

    @classmethod
    def parse(
        cls,
        *,
        batch: str | None = None,
        threads: str | None = None,
        providers: Sequence[str] | None = None,
        shapes: Sequence[str] = (),
        runners: str | None = None,
        graph: str | None = None,
    ) -> Axes:
        """From texts such as "1,4,16", ["input=1x3x224x224"] and "on,off".

        Raises:
            ConfigError: A text that is none of these.
        """
        return cls(
            batch=_numbers(batch, "--batch"),
            threads=_numbers(threads, "--threads"),
            providers=tuple(providers) if providers else None,
            shapes=_shapes(shapes),
            runners=tuple(_one_of(word, get_args(Runner), "--runner") for word in _words(runners)),
            graph=tuple(_one_of(word, ("on", "off"), "--graph") == "on" for word in _words(graph)),
        )

    def words(self) -> list[str]:
        """As the command line spells them."""
        lists = {"--batch": self.batch, "--threads": self.threads, "--runner": self.runners}
        words = [word for option, values in lists.items() if values for word in (option, ",".join(map(str, values)))]
        words += [word for provider in self.providers or () for word in ("--provider", provider)]
        words += [
            word for name, shapes in self.shapes.items() for shape in shapes for word in ("--shape", f"{name}={'x'.join(map(str, shape))}")
        ]
        return [*words, "--graph", ",".join("on" if on else "off" for on in self.graph)] if self.graph else words


@dataclass(frozen=True, kw_only=True)
class Possible:
    """What one file can do.

    Attributes:
        path: The file.
        runners: Who can run it, the first unless the user says otherwise.
        batches: Of strips, that it takes; None: any.
        shapes: The shapes to run a bare graph with, one mapping for each value of the shape axis; without an axis the first axis of an
            input that takes any number is 1.
        open_batch: Inputs of a bare graph whose first axis takes any number.
    """

    path: Path
    runners: tuple[Runner, ...]
    batches: BatchProfiles | None = None
    shapes: tuple[Mapping[str, Shape], ...] = ()
    open_batch: tuple[str, ...] = ()

    @property
    def is_engine(self) -> bool:
        """By its suffix."""
        return kind_of(self.path) == "engine"

    @property
    def is_onnx(self) -> bool:
        """By its suffix."""
        return kind_of(self.path) == "onnx"


def cases_of(models: Sequence[Possible], axes: Axes) -> tuple[list[Case], list[str]]:
    """The cases, those of the first model first; and what was left out, in words.

    Raises:
        ConfigError: There is nothing to measure of a model.
    """
    cases: list[Case] = []
    left_out: list[str] = []
    for model, label in zip(models, labels([model.path for model in models]), strict=True):
        found = []
        for one in _cases_of_model(model, label, axes):
            if isinstance(one, str):
                left_out.append(one)
            else:
                found.append(one)
        if not found:
            raise ConfigError(f"{model.path}: nothing to measure", why="; ".join(left_out), fix="name a batch and a runner that it takes")
        cases += found
    return _named(cases), list(dict.fromkeys(left_out))


def labels(paths: Sequence[Path]) -> list[str]:
    """File names; with as much of the folders as tells two apart; the same file twice gets a number."""
    texts = [path.name for path in paths]
    for position, path in enumerate(paths):
        twins = [other for other in paths if other.name == path.name and other.resolve() != path.resolve()]
        if twins:
            common = os.path.commonpath([one.resolve().parent for one in (path, *twins)])
            texts[position] = str(path.resolve().relative_to(common))
    return [f"{text} #{texts[: position + 1].count(text)}" if texts.count(text) > 1 else text for position, text in enumerate(texts)]


def _cases_of_model(model: Possible, label: str, axes: Axes) -> Iterator[Case | str]:
    """Its cases, and what it cannot do."""
    wanted = axes.runners or model.runners[:1]
    if not set(wanted) & set(model.runners):
        yield f"{label} cannot be run by {', '.join(wanted)}"
    for runner in (runner for runner in wanted if runner in model.runners):
        bare = runner != "inspector" and bool(model.shapes)
        threads: Iterable[int | None] = (None,) if model.is_engine else axes.threads or (None,)
        graphs: Iterable[bool | None] = (axes.graph or (True,)) if model.is_engine else (None,)
        providers = axes.providers if model.is_onnx and runner != "openvino" else None
        for shapes, batch, count, graph in product(model.shapes if bare else (None,), axes.batch or (None,), threads, graphs):
            sized = _with_batch(shapes, batch, model.open_batch) if shapes is not None else None
            rows = _rows(model, batch, sized)
            if rows is None or (batch is not None and rows != batch):
                yield f"{label} does not take a batch of {batch}"
                continue
            yield Case(
                model=label, path=model.path, runner=runner, batch=rows, threads=count, providers=providers, shapes=sized, graph=graph
            )


def _rows(model: Possible, batch: int | None, shapes: Mapping[str, Shape] | None) -> int | None:
    """How many go in at once; None when it cannot be."""
    if shapes is not None:
        first = next(iter(shapes.values()))
        return first[0] if first else 1
    if model.batches is None:
        return batch or 1
    if batch is None:
        return model.batches.smallest
    return batch if model.batches.index_for(batch) is not None else None


def _with_batch(shapes: Mapping[str, Shape], batch: int | None, names: Sequence[str]) -> Mapping[str, Shape]:
    return {name: (batch, *shape[1:]) if batch is not None and name in names else shape for name, shape in shapes.items()}


def _named(cases: Sequence[Case]) -> list[Case]:
    """Names of the model and of the axes in which its cases differ from one another."""
    tells: Mapping[str, Any] = {
        "runner": lambda case: case.runner,
        "batch": lambda case: f"batch {case.batch}",
        "threads": lambda case: f"{case.threads} threads" if case.threads != 1 else "1 thread",
        "shapes": lambda case: " ".join("x".join(map(str, shape)) for shape in (case.shapes or {}).values()),
        "graph": lambda case: "graph" if case.graph else "no graph",
    }
    found = []
    for case in cases:
        family = [other for other in cases if other.model == case.model]
        values = {axis: {_told(other, axis) for other in family} - {None} for axis in tells}
        words = [tells[axis](case) for axis, different in values.items() if len(different) > 1]
        found.append(replace(case, name=", ".join([case.model, *filter(None, words)])))
    return found


def _told(case: Case, axis: str) -> str | None:
    """What tells a case from the others on an axis; None where it has no such axis. The batch tells shapes that differ in it alone."""
    if axis == "shapes":
        return str([shape[1:] for shape in case.shapes.values()]) if case.shapes else None
    return str(getattr(case, axis))


def _words(text: str | None) -> list[str]:
    return [word.strip().lower() for word in text.split(",")] if text is not None else []


def _numbers(text: str | None, option: str) -> tuple[int, ...]:
    words = _words(text)
    if not all(word.isascii() and word.isdigit() and int(word) > 0 for word in words):
        raise ConfigError(f"{option} {text}", why="it takes numbers from 1 on, such as 1,4,16", fix=f"say {option} 1 or {option} 1,4")
    return tuple(dict.fromkeys(int(word) for word in words))


def _one_of(word: str, known: Sequence[str], option: str) -> Any:
    if word not in known:
        raise ConfigError(f"{option} {word}", why=f"it takes {', '.join(known)}", fix=f"say {option} {known[0]}")
    return word


def _shapes(texts: Sequence[str]) -> dict[str, tuple[Shape, ...]]:
    found: dict[str, tuple[Shape, ...]] = {}
    for text in texts:
        name, _, sides = text.rpartition("=")
        words = sides.lower().split("x")
        if not name or not all(word.isascii() and word.isdigit() and int(word) > 0 for word in words):
            raise ConfigError(f"--shape {text}", why="it takes the name of an input and its sides", fix="say --shape input=1x3x224x224")
        found[name] = (*found.get(name, ()), tuple(map(int, words)))
    return found
