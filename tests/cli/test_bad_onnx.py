"""ONNX files that cannot be read, loaded or run, through every command that takes one: exit code 2, what, why and fix, nothing left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.cli.main import main
from lineside.spec import StripSpec
from lineside.synth.synthetic import SynthOptions, synthesize

onnx = pytest.importorskip("onnx", reason="the files are made with it")
pytest.importorskip("onnxruntime", reason="it runs them")

MODEL = Path(__file__).parents[1] / "engine" / "models" / "production.onnx"
SPEC = StripSpec.of_size(64, 96, tile_px=64)
SIZE = ("--size", "64x96", "--tile", "64")
OPSET = 17
COMMANDS: dict[str, tuple[str, ...]] = {
    "calibrate": ("calibrate", "BAD", "DATA", "--out", "OUT/made.json", "--patches", "4", *SIZE),
    "calibrate ours": ("calibrate", "OURS", "DATA", "--out", "OUT/made.json", "--patches", "4"),
    "quantize for ONNX Runtime": ("quantize", "BAD", "TABLE", "--target", "onnxruntime", "--out", "OUT/made.onnx"),
    "quantize for TensorRT": ("quantize", "BAD", "TABLE", "--target", "tensorrt", "--out", "OUT/made.onnx"),
    "quantize to FP16": ("quantize", "OURS", "--precision", "fp16", "--out", "OUT/made.onnx"),
    "quantize --auto": ("quantize", "OURS", "TABLE", "--target", "tensorrt", "--out", "OUT/made.onnx", "--auto", "DATA"),
    "sensitivity": ("sensitivity", "OURS", "TABLE", "DATA"),
    "audit": ("audit", "TABLE", "DATA", "--model", "BAD"),
    "bench": ("bench", "BAD", "--seconds", "0.1", "--no-cold-start"),
    "bench ours": ("bench", "OURS", "--seconds", "0.1", "--no-cold-start"),
    "infer": ("infer", "OURS", "DATA/test", "--out", "OUT/results"),
    "evaluate": ("evaluate", "OURS", "DATA"),
    "qualify": ("qualify", "OURS", "--reference", str(MODEL), "--dataset", "DATA", "--report", "OUT/report"),
    "qualify against": ("qualify", str(MODEL), "--reference", "OURS", "--dataset", "DATA", "--report", "OUT/report"),
    "tune": ("tune", "OURS", "DATA"),
    "build --plan-only": ("build", "OURS", "--out", "OUT/made.engine", "--plan-only"),
}


def model(*, opset: int = OPSET, ir: int = 8) -> Any:
    """Three convolutions, image -> output."""
    rng = np.random.default_rng(0)
    made, weights = [], []
    for at, (inputs, outputs) in enumerate(((3, 4), (4, 4), (4, 3))):
        weights.append(onnx.numpy_helper.from_array(rng.normal(0, 0.3, (outputs, inputs, 3, 3)).astype(np.float32), f"w{at}"))
        source, target = ("input", "t1", "t2")[at], ("t1", "t2", "output")[at]
        made.append(onnx.helper.make_node("Conv", [source, f"w{at}"], [target], name=f"conv{at}", pads=[1, 1, 1, 1]))
    value = onnx.helper.make_tensor_value_info
    ends = [value("input", 1, ["N", 3, 64, 96])], [value("output", 1, ["N", 3, 64, 96])]
    graph = onnx.helper.make_graph(made, "graph", *ends, weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=ir)


def edited(change: Callable[[Any], object], **form: int) -> Callable[[Path], None]:
    """A writer of the model after `change`."""

    def write(path: Path) -> None:
        changed = model(**form)
        change(changed)
        path.write_bytes(changed.SerializeToString())

    return write


def _external(path: Path, *, left: bytes | None) -> None:
    onnx.save(model(), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").unlink()
    if left is not None:
        (path.parent / "weights.bin").write_bytes(left)


def _shift(changed: Any) -> None:
    """A Reshape to a shape that is computed from the input's, and one larger: nothing but a run can tell."""
    one = onnx.numpy_helper.from_array(np.array([0, 0, 1, 0]), "one")
    changed.graph.initializer.append(one)
    node = onnx.helper.make_node
    nodes = [node("Shape", ["t1"], ["s"]), node("Add", ["s", "one"], ["s1"]), node("Reshape", ["t1", "s1"], ["r"], name="larger")]
    for node in reversed(nodes):
        changed.graph.node.insert(1, node)
    changed.graph.node[4].input[0] = "r"


def _shift_an_open_output(changed: Any) -> None:
    _shift(changed)
    for side in changed.graph.output[0].type.tensor_type.shape.dim:
        side.dim_param = "open"


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("this is no model"),
    "a picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" * 20),
    "truncated": lambda path: path.write_bytes(model().SerializeToString()[:400]),
    "its last bytes missing": lambda path: path.write_bytes(model().SerializeToString()[:-3]),
    "no graph": lambda path: path.write_bytes(onnx.ModelProto(ir_version=8).SerializeToString()),
    "no nodes": edited(lambda changed: changed.graph.ClearField("node")),
}
"""No ONNX file, for any tool."""
UNLOADABLE: dict[str, Callable[[Path], object]] = {
    "no opset": edited(lambda changed: changed.ClearField("opset_import")),
    "opset 99": edited(lambda changed: None, opset=99),
    "the next opset": edited(lambda changed: None, opset=onnx.defs.onnx_opset_version() + 1),
    "opset 0": edited(lambda changed: None, opset=0),
    "file format 99": edited(lambda changed: None, ir=99),
    "unknown operator": edited(lambda changed: setattr(changed.graph.node[1], "op_type", "Frobnicate")),
    "unknown domain": edited(lambda changed: setattr(changed.graph.node[1], "domain", "com.example")),
    "external weights missing": lambda path: _external(path, left=None),
    "external weights cut off": lambda path: _external(path, left=b"1234"),
    "weights cut off": edited(lambda changed: setattr(changed.graph.initializer[0], "raw_data", b"1234")),
    "weights of no type": edited(lambda changed: setattr(changed.graph.initializer[0], "data_type", 99)),
    "weights of integers": edited(
        lambda changed: changed.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.int8), "w0"))
    ),
    "two nodes that make one tensor": edited(lambda changed: changed.graph.node[1].output.__setitem__(0, "t1")),
    "an input that nothing makes": edited(lambda changed: changed.graph.node[1].input.__setitem__(0, "nobody")),
    "an output that nothing makes": edited(lambda changed: setattr(changed.graph.output[0], "name", "nobody")),
    "a circle": edited(lambda changed: changed.graph.node[0].input.__setitem__(0, "t2")),
    "an input of no type": edited(lambda changed: changed.graph.input[0].ClearField("type")),
    "an input of an unknown type": edited(lambda changed: setattr(changed.graph.input[0].type.tensor_type, "elem_type", 99)),
    "an input of text": edited(lambda changed: setattr(changed.graph.input[0].type.tensor_type, "elem_type", 8)),
    "an attribute of another type": edited(lambda changed: setattr(changed.graph.node[0].attribute[0], "type", 3)),
}
"""ONNX files by their outside, which `show` can describe."""
UNFIT: dict[str, Callable[[Path], object]] = {
    "an input of no shape": edited(lambda changed: changed.graph.input[0].type.tensor_type.ClearField("shape")),
    "an input of any size": edited(
        lambda changed: [setattr(side, "dim_param", "S") for side in changed.graph.input[0].type.tensor_type.shape.dim[2:]]
    ),
    "an input of no height": edited(lambda changed: setattr(changed.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 0)),
    "weights of another shape": edited(
        lambda changed: changed.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.ones((4, 7, 3, 3), np.float32), "w1"))
    ),
    "a Reshape to a wrong shape": edited(_shift),
}
"""ONNX Runtime loads them; that they do not do shows later, at the latest when they run."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A data set, and a table of ranges of a good model."""
    folder = tmp_path_factory.mktemp("given")
    synthesize(folder / "data", SynthOptions(spec=SPEC, train=2, valid=1, test=1))
    (folder / "good.onnx").write_bytes(model().SerializeToString())
    arguments = (folder / "good.onnx", folder / "data", "--out", folder / "good.json", "--patches", "4", *SIZE)
    assert main(["calibrate", *map(str, arguments)]) == 0
    return {"DATA": folder / "data", "TABLE": folder / "good.json"}


def refused(command: str, write: Callable[[Path], object], given: dict[str, Path], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a command that has to refuse the file."""
    bad, ours = folder / "bad.onnx", folder / "ours.onnx"
    write(bad)
    metadata = onnx.ModelProto(metadata_props=onnx.load(str(MODEL)).metadata_props)
    ours.write_bytes(bad.read_bytes() + metadata.SerializeToString())  # protobuf joins messages that follow each other
    before = set(folder.iterdir())
    places = {**given, "BAD": bad, "OURS": ours, "OUT": folder}
    arguments = []
    for part in COMMANDS[command]:
        name, slash, below = part.partition("/")
        arguments.append(f"{places[name]}{slash}{below}" if name in places else part)
    capsys.readouterr()
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in ("error: ", "why: ", "fix: "))
    assert "Traceback" not in message
    assert {path for path in folder.iterdir() if path.name not in ("results", "report")} == before
    return message


@pytest.mark.parametrize("kind", [*UNREADABLE, *UNLOADABLE])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_does_not_load(
    command: str, kind: str, given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(command, {**UNREADABLE, **UNLOADABLE}[kind], given, tmp_path, capsys)
    assert "bad.onnx" in message or "ours.onnx" in message


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_loads_and_does_not_do(
    command: str, kind: str, given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(command, UNFIT[kind], given, tmp_path, capsys)


@pytest.mark.parametrize("kind", [*UNREADABLE, *UNLOADABLE, *UNFIT])
def test_show_describes_whatever_is_an_onnx_file_and_refuses_the_rest(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.onnx"
    {**UNREADABLE, **UNLOADABLE, **UNFIT}[kind](path)
    code, said = main(["show", str(path)]), capsys.readouterr()
    if kind in UNREADABLE:
        assert code == 2
        assert all(part in said.err for part in ("bad.onnx", "why: ", "fix: "))
    else:
        assert code == 0
        assert "3 Conv" in said.out or "2 Conv" in said.out


@pytest.mark.parametrize("command", ["calibrate", "bench", "infer", "evaluate", "qualify"])
def test_a_run_that_fails_says_what_onnx_runtime_says(
    command: str, given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = edited(_shift_an_open_output) if command == "calibrate" else UNFIT["a Reshape to a wrong shape"]
    message = refused(command, write, given, tmp_path, capsys)
    assert "larger" in message  # the node
    assert "64 x 96" in message or "64x96" in message  # what it was run on
