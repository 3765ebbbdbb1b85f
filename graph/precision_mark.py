"""What was done to the precision of a model, as the metadata of its file say.

In:   a model of `lineside quantize`, made from one of ours or of another program.
Out:  `PrecisionMark`. A model of ours keeps it in its manifest, one of another program in a property of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lineside.errors import ModelError
from lineside.manifest import ModelManifest, Precision, versions

if TYPE_CHECKING:
    import onnx

FOREIGN_KEY = "lineside_precision"
"""The metadata property of another program's model that was given a precision here. It does not begin with `lineside.`, which would
make it a model of ours."""


@dataclass(frozen=True, kw_only=True)
class PrecisionMark:
    """What was done to a model, as its metadata say: see the attributes of `ModelManifest`."""

    precision: Precision
    kept: Mapping[str, str]
    target: str = ""
    ranges_sha256: str = ""
    cpu: str = ""
    seven_bits: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: onnx.ModelProto, *, path: Path) -> PrecisionMark | None:
        """That of a model, ours or not; None when nothing was done to it. Raises: ModelError."""
        properties = {entry.key: entry.value for entry in model.metadata_props}
        manifest = ModelManifest.from_properties(properties, path=path)
        if manifest is not None:
            return cls(**{field.name: getattr(manifest, field.name) for field in fields(cls)})
        if FOREIGN_KEY not in properties:
            return None
        try:
            values = json.loads(properties[FOREIGN_KEY])
            mark = cls(**{name: values[name] for name in ("precision", "kept", "target", "ranges_sha256")})
            return replace(mark, cpu=values.get("cpu", ""), seven_bits=tuple(values.get("seven_bits", ())))
        except (ValueError, TypeError, KeyError) as exc:
            raise ModelError(f"{path}: damaged metadata", why=f"{FOREIGN_KEY}: {exc}", fix="quantise it again") from exc

    def to_properties(self) -> dict[str, str]:
        """For a model of another program."""
        optional = {name: value for name, value in (("cpu", self.cpu), ("seven_bits", self.seven_bits)) if value}
        always = {name: getattr(self, name) for name in ("precision", "kept", "target", "ranges_sha256")}
        return {FOREIGN_KEY: json.dumps({**always, **optional, "versions": versions()})}


def is_foreign(model: onnx.ModelProto) -> bool:
    """Whether a model of another program was given a precision here."""
    return any(entry.key == FOREIGN_KEY for entry in model.metadata_props)
