"""Which layers INT8 hurts: quantise one at a time, and leave one out of all.

In:   a float32 model, its table of ranges, a target, and labelled strips.
Out:  a `Sensitivity`: per layer the damage to heatmaps and to the margins of the scores, the worst first.
Runs the network on chosen tiles, not on strips: those whose part of the stitched heatmap holds a defect, and as many of good strips.
What is not quantised is float32, so that the damage is that of INT8 alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lineside.calibration.place.qdq import with_qdq
from lineside.calibration.place.quantize import RULES, Cpu, Target, placement_of, refuse_cpu_of_a_gpu, refuse_old_opset
from lineside.calibration.ranges.table import RangesTable
from lineside.dataset import Sample
from lineside.engine.machine import physical_cores
from lineside.engine.run.session import ask, open_session
from lineside.errors import ConfigError
from lineside.graph.cost import multiply_adds
from lineside.graph.float_model import FloatModel
from lineside.graph.layers import Layer, layers_of
from lineside.graph.network import LOGITS, TILES
from lineside.graph.splice import raise_opset
from lineside.manifest import checked_threshold
from lineside.progress import Progress, silent

from .labelled_tiles import LabelledTiles, read_labelled_tiles

if TYPE_CHECKING:
    import onnx

SCHEMA = 1
DEFAULT_TILES = 96
"""On a model of 16 base channels all 57 networks take some two minutes on two cores with these."""
_TILES_AT_ONCE = 16
"""What a network of 64 base channels needs for them stays under 1 GiB."""


@dataclass(frozen=True, kw_only=True)
class SensitivityOptions:
    """What to try.

    Attributes:
        target: Whose rules place the Q/DQ nodes.
        tiles: How many tiles to look at.
        seed: Of their choice.
        leave_one_out: Also leave each layer out of an all-INT8 network; doubles the time.
        cpu: As of `QuantizeOptions`.
    """

    target: Target
    tiles: int = DEFAULT_TILES
    seed: int = 0
    leave_one_out: bool = True
    cpu: Cpu | None = None

    def __post_init__(self) -> None:
        if self.tiles < 2:
            raise ConfigError(f"{self.tiles} tiles", why="one with a defect and one without are needed", fix=f"use --tiles {DEFAULT_TILES}")
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}", why="a seed is not negative", fix="use --seed 0")
        refuse_cpu_of_a_gpu(self.target, self.cpu)


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What a quantised network does to the heat of the tiles.

    Attributes:
        defective, good: Mean over the tiles with and without a defect of the largest change of heat in the tile. None: there are none.
        margin: Mean loss of the distance of a tile's score from the threshold, to the side where it belongs; below 0 for a gain.
    """

    defective: float | None
    good: float | None
    margin: float

    @property
    def heat(self) -> float:
        """Both classes weighing the same: what layers are ranked by."""
        return float(np.mean([part for part in (self.defective, self.good) if part is not None]))


@dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """One layer.

    Attributes:
        name: Of its convolution.
        share: Of the network's multiply-adds.
        alone: With this layer in INT8, and no other.
        without: With all layers in INT8 but this one; None when that was not tried.
    """

    name: str
    share: float
    alone: Damage
    without: Damage | None


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """All layers, the most damaging first.

    Attributes:
        target: Whose rules placed the Q/DQ nodes.
        threshold: Of the margins.
        defective_tiles, good_tiles: How many tiles were looked at.
        seed: Of their choice.
        everything: The damage of all layers in INT8.
        layers: By falling damage alone.
    """

    target: Target
    threshold: float
    defective_tiles: int
    good_tiles: int
    seed: int
    everything: Damage
    layers: tuple[LayerSensitivity, ...]

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {"schema": SCHEMA, **asdict(self)}


def measure_sensitivity(
    model: FloatModel,
    table: RangesTable,
    samples: Sequence[Sample],
    options: SensitivityOptions,
    *,
    threshold: float | None = None,
    progress: Progress = silent,
) -> Sensitivity:
    """Try every layer of `model` in INT8.

    Args:
        model: The float32 model.
        table: Its ranges.
        samples: Labelled strips.
        options: What to try.
        threshold: Of the verdicts; None: the model's own.
        progress: Told of every network that is tried.

    Raises:
        CalibrationError: The table is of another model.
        ModelError: The model's opset has no per-channel scales.
        DatasetError: There is no strip whose defects are known.
        StripError: A strip cannot be read or is not of the model's spec.
    """
    table.refuse_other(model.network, path=model.path)
    refuse_old_opset(model)
    level = checked_threshold(model.manifest.threshold if threshold is None else threshold)
    rules = RULES[options.target]
    patch = model.network.patch_model()
    raise_opset(patch, rules.OPSETS["fp32"])
    layers = layers_of(patch)
    names = [layer.name for layer in layers]
    tiles = read_labelled_tiles(samples, model.manifest.spec, count=options.tiles, seed=options.seed)
    reference = _heat(patch, tiles, model.path)

    def damage(integer: Collection[Layer]) -> Damage:
        placed = placement_of(patch, tuple(integer), table, target=options.target, rest="fp32", cpu=options.cpu)
        return _damage(reference, _heat(with_qdq(patch, placed), tiles, model.path), tiles.defective, level)

    trials: dict[tuple[str, ...], Damage] = {}
    wanted = [layers, *((layer,) for layer in layers)]
    if options.leave_one_out:
        wanted += [tuple(other for other in layers if other is not layer) for layer in layers]
    for integer in progress(wanted, total=len(wanted), what=f"{len(wanted)} networks"):
        trials[tuple(layer.name for layer in integer)] = damage(integer)
    costs = multiply_adds(model.network)
    found = [
        LayerSensitivity(
            name=name,
            share=costs[name] / sum(costs.values()),
            alone=trials[(name,)],
            without=trials.get(tuple(other for other in names if other != name)),
        )
        for name in names
    ]
    return Sensitivity(
        target=options.target,
        threshold=level,
        defective_tiles=int(tiles.defective.sum()),
        good_tiles=int((~tiles.defective).sum()),
        seed=options.seed,
        everything=trials[tuple(names)],
        layers=tuple(sorted(found, key=lambda layer: -layer.alone.heat)),
    )


def _heat(patch: onnx.ModelProto, tiles: LabelledTiles, path: Path) -> NDArray[np.float32]:
    """(T, tile, tile): the heat of a patch model, 0 where a tile does not count in the stitched heatmap."""
    session = open_session(path, threads=physical_cores(), content=patch.SerializeToString())
    logits = np.concatenate(
        [
            ask(session, [LOGITS], {TILES: tiles.pixels[begin : begin + _TILES_AT_ONCE]}, path=path)[0]
            for begin in range(0, len(tiles.pixels), _TILES_AT_ONCE)
        ]
    )
    heat: NDArray[np.float32] = special.expit(logits[:, 1] - logits[:, 0]) * tiles.keep
    return heat


def _damage(reference: NDArray[np.float32], heat: NDArray[np.float32], defective: NDArray[np.bool_], threshold: float) -> Damage:
    change = np.abs(heat - reference).max(axis=(1, 2))
    side = np.where(defective, 1.0, -1.0)
    margins = [side * (values.max(axis=(1, 2)) - threshold) for values in (reference, heat)]
    parts: Mapping[bool, NDArray[Any]] = {which: change[defective == which] for which in (True, False)}
    return Damage(
        defective=float(parts[True].mean()) if parts[True].size else None,
        good=float(parts[False].mean()) if parts[False].size else None,
        margin=float(np.mean(margins[0] - margins[1])),
    )
