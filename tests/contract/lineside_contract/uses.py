"""Read sources, and say what they take of TensorRT.

In:   a folder of Python files, written by the custom of `receivers`.
Out:  `Use` per chain of attributes and calls that begins at the module or at an object of TensorRT's: where it stands, what it takes, step
      by step, and under which guards. Classes that derive from TensorRT's are `Override`s.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .receivers import ALSO_READ, MODULE, NOT_READ, RECEIVERS


@dataclass(frozen=True)
class Call:
    """What a call gives: how many values without a name, and the names of the others; None where a star hides them."""

    positional: int | None
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """An attribute; and whether it is called, or set."""

    name: str
    call: Call | None = None
    stored: bool = False


@dataclass(frozen=True)
class Guard:
    """A condition: `hasattr(root.steps, name)`, or a comparison of the version; `wanted` is False in the other branch."""

    wanted: bool = True
    root: str = ""
    steps: tuple[Step, ...] = ()
    name: str = ""
    operator: str = ""
    version: tuple[int, ...] = ()


@dataclass(frozen=True)
class Use:
    """A chain. `root`: a class of TensorRT's, or nothing for the module."""

    root: str
    steps: tuple[Step, ...]
    where: str
    guards: tuple[Guard, ...] = ()

    def __str__(self) -> str:
        shown = "".join(f".{step.name}{'()' if step.call else ''}{' =' if step.stored else ''}" for step in self.steps)
        return f"{self.where}: {self.root or MODULE}{shown}"


@dataclass(frozen=True)
class Override:
    """A method of a class that derives from TensorRT's `base`, with how many parameters it takes beside self."""

    base: str
    method: str
    parameters: int
    where: str


@dataclass(frozen=True)
class Found:
    """All that a folder takes.

    Attributes:
        loose: Every attribute that is in no use, with where it stands.
        defined: Names of the functions and attributes that the folder makes itself.
    """

    uses: tuple[Use, ...]
    overrides: tuple[Override, ...]
    loose: tuple[tuple[str, str], ...]
    defined: frozenset[str]


def read(folder: Path, module: str = MODULE, receivers: Mapping[str, str] = RECEIVERS) -> Found:
    """What the sources in `folder` take of the module that they call `module`."""
    uses: list[Use] = []
    overrides: list[Override] = []
    loose: list[tuple[str, str]] = []
    defined: set[str] = set()
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined |= set(_defined(tree))
        if inside.parts[0] in NOT_READ and path.name not in ALSO_READ:
            continue
        reader = _Reader(str(inside), module, receivers)
        if path.name in ALSO_READ or _names_the_module(tree, module):
            reader.visit(tree)
        uses += reader.uses
        overrides += reader.overrides
        loose += [
            (node.attr, f"{inside}:{node.lineno}")
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and id(node) not in reader.covered
        ]
    return Found(tuple(uses), tuple(overrides), tuple(loose), frozenset(defined))


def _names_the_module(tree: ast.AST, module: str) -> bool:
    return any(
        (isinstance(node, ast.Name) and node.id == module)
        or (isinstance(node, ast.Attribute) and node.attr == module)
        or (isinstance(node, ast.arg) and node.arg == module)
        for node in ast.walk(tree)
    )


def _defined(tree: ast.AST) -> Iterator[str]:
    """Names of functions and attributes that the sources make themselves."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (part.target.id for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name))
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            yield node.attr


_Chain = tuple[str, tuple[Step, ...]]


class _Reader(ast.NodeVisitor):
    """Walks one file. Guards and local names are those of where it is."""

    def __init__(self, name: str, module: str, receivers: Mapping[str, str]) -> None:
        self.name, self._module, self._receivers = name, module, receivers
        self.uses: list[Use] = []
        self.overrides: list[Override] = []
        self.covered: set[int] = set()
        self._guards: tuple[Guard, ...] = ()
        self._locals: list[dict[str, _Chain | None]] = [{}]

    # scopes

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # ast's name
        """A function's parameters and assignments decide what its names stand for."""
        known: dict[str, _Chain | None] = {}
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            if argument.annotation is not None and ast.unparse(argument.annotation) not in ("Any", "Any | None", "ModuleType"):
                known[argument.arg] = None
        self._locals.append(known)
        for target, value in _assignments(node):
            if isinstance(target, ast.Name):
                chain = self._chain(value) if value is not None else None
                if chain is not None:
                    known[target.id] = chain
                elif not isinstance(value, ast.Call):  # a call of ours returns what it is called
                    known.setdefault(target.id, None)
        self.generic_visit(node)
        self._locals.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """A class that derives from TensorRT's has to take the parameters that TensorRT gives."""
        for base in node.bases:
            chain = self._chain(base)
            if chain is not None and len(chain[1]) == 1 and not chain[0]:
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                        where = f"{self.name}:{method.lineno}"
                        self.overrides.append(Override(chain[1][0].name, method.name, len(method.args.args) - 1, where))
        self.generic_visit(node)

    # guards

    def visit_If(self, node: ast.If) -> None:
        self._branches(node.test, node.body, node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._branches(node.test, [node.body], [node.orelse])

    def _branches(self, test: ast.expr, body: Sequence[ast.AST], orelse: Sequence[ast.AST]) -> None:
        self.visit(test)
        guards, outside = self._guards_of(test), self._guards
        self._guards = (*outside, *guards)
        for statement in body:
            self.visit(statement)
        self._guards = (*outside, *(replace(guard, wanted=not guard.wanted) for guard in guards)) if len(guards) == 1 else outside
        for statement in orelse:
            self.visit(statement)
        self._guards = outside

    def _guards_of(self, test: ast.expr) -> tuple[Guard, ...]:
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            return tuple(guard for value in test.values for guard in self._guards_of(value))
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return tuple(replace(guard, wanted=not guard.wanted) for guard in self._guards_of(test.operand))
        if isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == "hasattr":
            chain, name = self._chain(test.args[0]), test.args[1]
            if chain is not None and isinstance(name, ast.Constant):
                return (Guard(root=chain[0], steps=chain[1], name=str(name.value)),)
        if isinstance(test, ast.Compare) and "version" in ast.unparse(test.left) and isinstance(test.comparators[0], ast.Tuple):
            numbers = ast.literal_eval(test.comparators[0])
            return (Guard(operator=type(test.ops[0]).__name__, version=tuple(numbers)),)
        return ()

    # chains

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._take(node)

    def visit_Call(self, node: ast.Call) -> None:
        self._take(node)

    def _take(self, node: ast.Attribute | ast.Call) -> None:
        """Note the longest chain that ends here, and go on inside what it is called with."""
        chain = self._chain(node)
        if chain is None:
            self.generic_visit(node)
            return
        if chain[1]:
            self.uses.append(Use(*chain, f"{self.name}:{node.lineno}", self._guards))
        inner: ast.expr = node
        while isinstance(inner, (ast.Attribute, ast.Call)):
            if isinstance(inner, ast.Attribute):
                self.covered.add(id(inner))
                inner = inner.value
            else:
                for argument in (*inner.args, *(keyword.value for keyword in inner.keywords)):
                    self.visit(argument)
                inner = inner.func

    def _chain(self, node: ast.expr) -> _Chain | None:
        """The root and steps of an expression; None when it is none of TensorRT's."""
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if isinstance(node, ast.Attribute):
            stored = isinstance(node.ctx, ast.Store)
            if node.attr == self._module:
                return "", ()
            if isinstance(node.value, ast.Name) and node.value.id == "self" and node.attr.lstrip("_") in self._receivers:
                return (self._receivers[node.attr.lstrip("_")], ()) if not stored else None
            base = self._chain(node.value)
            return None if base is None else (base[0], (*base[1], Step(node.attr, stored=stored)))
        if isinstance(node, ast.Call):
            base = self._chain(node.func)
            if base is None or not base[1]:
                return None
            starred = any(isinstance(argument, ast.Starred) for argument in node.args) or any(one.arg is None for one in node.keywords)
            call = Call(None if starred else len(node.args), tuple(one.arg for one in node.keywords if one.arg))
            return base[0], (*base[1][:-1], replace(base[1][-1], call=call))
        if isinstance(node, ast.IfExp):
            return self._chain(node.body) or self._chain(node.orelse)
        return None

    def _named(self, name: str) -> _Chain | None:
        for scope in reversed(self._locals):
            if name in scope:
                return scope[name]
        if name == self._module:
            return "", ()
        return (self._receivers[name], ()) if name in self._receivers else None


def _assignments(function: ast.FunctionDef) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Every target of a function with the value that it gets, as far as one can be told."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple) and len(target.elts) == len(node.value.elts):
                    yield from zip(target.elts, node.value.elts, strict=True)
                elif isinstance(target, ast.Tuple):
                    yield from ((part, None) for part in target.elts)
                else:
                    yield target, node.value
        elif isinstance(node, ast.NamedExpr):
            yield node.target, node.value
        elif isinstance(node, ast.AnnAssign):  # one that is said to be something else is none of TensorRT's
            yield node.target, node.value if ast.unparse(node.annotation) == "Any" else None
        elif isinstance(node, (ast.For, ast.comprehension)):
            targets = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
            yield from ((target, None) for target in targets)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            yield node.optional_vars, None
