"""`lineside doctor`: what this machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ._console import ForceOption, JsonOption, check_json, emit, facts

if TYPE_CHECKING:
    from lineside.engine.doctor import Diagnosis


def doctor(json: JsonOption = None, force: ForceOption = False) -> None:
    """Say what this machine can do, and how to get what is missing.

    Stage by stage, with the exact command for each missing part. Safe everywhere.

    Example: lineside doctor
    """
    from lineside.engine.doctor import diagnose

    check_json(json, force=force)
    diagnosis = diagnose()
    emit(diagnosis.to_json(), _machine(diagnosis), _stages(diagnosis), json=json)


def _machine(diagnosis: Diagnosis) -> Table:
    gpus = [
        f"{gpu.name}, compute capability {gpu.compute_capability[0]}.{gpu.compute_capability[1]}, {gpu.memory_bytes / 2**30:.0f} GiB"
        for gpu in (diagnosis.driver.gpus if diagnosis.driver else ())
    ]
    return facts(
        "This machine",
        [
            ("Python", diagnosis.python),
            ("system", diagnosis.system),
            ("INT8 on the CPU", diagnosis.int8_on_cpu),
            ("GPU", "; ".join(gpus) or f"none ({diagnosis.driver_problem})"),
            *([("driver", "CUDA up to {}.{}".format(*diagnosis.driver.cuda_version))] if diagnosis.driver else []),
            *([("Jetson", diagnosis.jetson)] if diagnosis.jetson else []),
            ("TensorRT", diagnosis.tensorrt),
            ("packages", ", ".join(f"{name} {version}" for name, version in diagnosis.packages.items())),
        ],
    )


def _stages(diagnosis: Diagnosis) -> Table:
    stages = Table(title="Stages", title_justify="left", title_style="bold")
    for column in ("stage", "does", "answer"):
        stages.add_column(column, overflow="fold")
    for answer in diagnosis.stages:
        said, more = ("ready", answer.use) if answer.ready else (f"missing: {', '.join(answer.missing)}", answer.fix)
        stages.add_row(answer.stage, answer.does, Text.assemble((said, "green" if answer.ready else "yellow"), "\n", more))
    return stages
