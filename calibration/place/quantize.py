"""From a float32 model and its table of ranges to an INT8 model, for one target.

In:   a float32 model of `lineside export` or of another program, the table that `lineside calibrate` made for it, and `QuantizeOptions`.
Out:  the model with Q/DQ nodes where the target's rules want them; names, shapes and types of inputs and outputs stay.
What is a rule of a target is in `qdq_tensorrt` and `qdq_onnxruntime`; here is what they share: which layers, in what order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, get_args

from lineside.calibration.ranges.table import RangesTable
from lineside.errors import ConfigError, ModelError
from lineside.graph.float_model import FloatModel
from lineside.graph.half import behind_the_network, in_half
from lineside.graph.layers import Layer, layers_of
from lineside.graph.opsets import SCALES_PER_CHANNEL
from lineside.graph.precision_mark import PrecisionMark
from lineside.graph.splice import raise_opset

from . import qdq_onnxruntime, qdq_tensorrt
from .half import ASKED, too_large
from .pair_sums import with_seven_bits
from .qdq import Placement, Rest, with_qdq

if TYPE_CHECKING:
    import onnx

Target = Literal["tensorrt", "onnxruntime"]
Cpu = Literal["any", "vnni"]
"""For which CPUs: "any" is right on all of them, "vnni" only on those that have it."""

RULES: dict[Target, ModuleType] = {"tensorrt": qdq_tensorrt, "onnxruntime": qdq_onnxruntime}

FIRST_LAYER = "first layer: it reads the strip itself, and is a small part of the work"
LAST_LAYER = "logits: the score is read off them, and they are a small part of the work"


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """How to quantise.

    Attributes:
        target: Who will run the file.
        keep: Names of convolutions whose layers stay in `rest`.
        rest: What is not INT8: "fp16" or "fp32"; None: what suits the target, FP16 for TensorRT, FP32 for ONNX Runtime.
        first_and_last: Quantise the first layer and the logits too.
        cpu: Which CPUs will run a file for ONNX Runtime; None: any.
    """

    target: Target
    keep: frozenset[str] = frozenset()
    rest: Rest | None = None
    first_and_last: bool = False
    cpu: Cpu | None = None

    def __post_init__(self) -> None:
        for name, value, known in (("target", self.target, Target), ("rest", self.rest or "fp32", Rest), ("cpu", self.cpu or "any", Cpu)):
            if value not in get_args(known):
                raise ConfigError(f"{name} {value!r}", why="unknown", fix=f"use {' or '.join(get_args(known))}")
        refuse_cpu_of_a_gpu(self.target, self.cpu)

    @property
    def precision_of_rest(self) -> Rest:
        """`rest`, or the target's own."""
        return self.rest or RULES[self.target].DEFAULT_REST


def quantized(model: onnx.ModelProto, table: RangesTable, options: QuantizeOptions, *, path: Path) -> onnx.ModelProto:
    """The INT8 model of the float32 model `model`, which was read from `path` and is not changed.

    Raises:
        ModelError: It is not a float32 model, or of an opset without per-channel scales.
        CalibrationError: The table is of another model.
        ConfigError: A layer to keep that is not there, or none is left to quantise.
    """
    source = FloatModel.of(model, path=path, spec=table.spec)
    source.refuse_unknown(options.keep)
    table.refuse_other(source.network, path=path)
    rules, rest = RULES[options.target], options.precision_of_rest
    refuse_old_opset(source)
    patch = source.network.patch_model()
    raise_opset(patch, rules.OPSETS[rest])
    layers = layers_of(patch)
    overflowing = too_large(layers, table) if rest == "fp16" else {}
    kept = _kept(layers, options) | overflowing
    integer = [layer for layer in layers if layer.name not in kept]
    if not integer:
        raise ConfigError(f"all {len(layers)} layers are kept", why="nothing is left for INT8", fix="keep fewer layers")
    placed = placement_of(patch, integer, table, target=options.target, rest=rest, cpu=options.cpu)
    changed = with_qdq(patch, placed)
    if rest == "fp16":
        in_float = {node.name for layer in layers if layer.name in overflowing for node in layer.nodes}
        if not rules.INTEGERS_AMONG_HALF:
            half_nodes = {node.name for layer in layers if layer.name in kept for node in layer.nodes} - in_float
            in_float = {node.name for node in changed.graph.node} - half_nodes
        changed = in_half(changed, keep=in_float | behind_the_network(source.network))
    mark = PrecisionMark(precision="int8", kept=kept, target=options.target, ranges_sha256=table.sha256, seven_bits=placed.seven_bits)
    if rules.SATURATES_WITHOUT_VNNI:
        mark = replace(mark, cpu=options.cpu or "any")
    return source.with_network(changed, mark)


def placement_of(
    patch: onnx.ModelProto, integer: Sequence[Layer], table: RangesTable, *, target: Target, rest: Rest, cpu: Cpu | None
) -> Placement:
    """Where the Q/DQ nodes of the target go, with weights that are right on the CPUs that may run them."""
    rules = RULES[target]
    placed: Placement = rules.placement(patch, integer, table, rest=rest)
    return with_seven_bits(patch, integer, placed) if rules.SATURATES_WITHOUT_VNNI and cpu != "vnni" else placed


def refuse_cpu_of_a_gpu(target: Target, cpu: Cpu | None) -> None:
    """Refuse a choice of CPUs for a target that runs on none. Raises: ConfigError."""
    if cpu is not None and not RULES[target].SATURATES_WITHOUT_VNNI:
        raise ConfigError(f"--cpu {cpu} for {target}", why="a GPU will run that file, and adds in 32 bits", fix="leave --cpu out")


def _kept(layers: Iterable[Layer], options: QuantizeOptions) -> dict[str, str]:
    """The layers that are not to be INT8 -> why."""
    first = {layer.name: FIRST_LAYER for layer in layers if layer.is_first}
    last = {layer.name: LAST_LAYER for layer in layers if layer.is_last}
    return ({} if options.first_and_last else first | last) | dict.fromkeys(sorted(options.keep), ASKED)


def refuse_old_opset(source: FloatModel) -> None:
    """Refuse a model whose opset has no scales per channel. Raises: ModelError."""
    if source.opset < SCALES_PER_CHANNEL:
        ours, name = source.lineage, source.path.name
        again = f"lineside export CHECKPOINT --tiling {ours.tiling} --io {ours.io} --opset 18 --out {name} --force" if ours else ""
        raise ModelError(
            f"{source.path}: opset {source.opset}",
            why=f"INT8 weights have a scale per channel, which ONNX knows from opset {SCALES_PER_CHANNEL} on",
            fix=again or f"export {name} again with opset 18: torch.onnx.export(..., opset_version=18)",
        )
