"""Networks that everybody knows, and ours, as files to measure: architectures from code, weights from a seed.

    python -m lineside.benchmarks.zoo ZOO --network resnet18 --size 224

In:   names of networks, the side of their input.
Out:  for each the files of `files`.
Speed is that of the architecture, and differences between precisions are real. What a trained network would answer, nobody can learn
from this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lineside.errors import ConfigError
from lineside.files import make_output_folder

from .files import write_files
from .networks import NETWORKS


@dataclass(frozen=True, kw_only=True)
class ZooOptions:
    """What to make.

    Attributes:
        names: Of the networks.
        size_px: Side of the picture or patch; None: the one that each is known for.
        seed: Of the weights and of the random inputs.
    """

    names: Sequence[str] = tuple(NETWORKS)
    size_px: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in NETWORKS]
        if unknown or not self.names:
            raise ConfigError(f"network {', '.join(unknown) or 'none'}", why=f"there are {', '.join(NETWORKS)}", fix="name one of them")
        for name in self.names:
            self.side_px(name)

    def side_px(self, name: str) -> int:
        """Of one network. Raises: ConfigError."""
        return NETWORKS[name].side_px(self.size_px)


def write_zoo(folder: Path, options: ZooOptions = ZooOptions()) -> list[Path]:
    """Write the files of every network into `folder`; the PyTorch files.

    Raises:
        MissingPackageError: torchvision, transformers, onnx or onnxscript is not installed.
        OutputError: The files cannot be written.
    """
    return [write_files(folder, name, NETWORKS[name], options.side_px(name), options.seed) for name in options.names]


def main(
    out: Annotated[Path, typer.Argument(help="A folder for the files.")],
    network: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(NETWORKS)}; again for more. All unless said.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the input in pixels; the one that each is known for unless said.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights and random inputs.")] = 0,
) -> None:
    """Write networks to measure."""
    options = ZooOptions(names=tuple(network or NETWORKS), size_px=size, seed=seed)
    make_output_folder(out, force=False)
    for path in write_zoo(out, options):
        typer.echo(path)


if __name__ == "__main__":
    typer.run(main)
