"""`lineside evaluate`: what a model is worth on labelled strips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from lineside._optional import require
from lineside.dataset import Dataset
from lineside.files import make_output_folder, write_json
from lineside.manifest import UNTUNED, checked_threshold

from ._console import ForceOption, JsonOption, ProviderOption, bar, check_json, emit, facts
from .tables.models import open_model

if TYPE_CHECKING:
    from lineside.judge.evaluation import Evaluation


def evaluate(
    model: Annotated[Path, typer.Argument(help="A checkpoint (.pt), an ONNX file or an engine.")],
    dataset: Annotated[Path, typer.Argument(help="A data set with test/good, test/DEFECT and ground_truth/DEFECT.")],
    out: Annotated[Path | None, typer.Option(help="A folder for metrics.json, curves.png, scores.png and worst.png.")] = None,
    threshold: Annotated[float | None, typer.Option(help="NG from this score on; the model's own unless said.")] = None,
    provider: ProviderOption = None,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Measure a model on the labelled strips of DATASET/test.

    Example: lineside evaluate RUN/best.pt DATASET --out EVALUATION

    Example: lineside evaluate strip.onnx DATASET --threshold 0.4
    """
    from lineside.judge.evaluation import evaluate as evaluate_model
    from lineside.pictures.contact_sheet import save_contact_sheet
    from lineside.pictures.plots import save_curves, save_scores

    check_json(json, force=force)
    if threshold is not None:
        checked_threshold(threshold)
    with open_model(model, providers=provider) as opened:
        samples = Dataset.open(dataset, spec=opened.spec).test
        if out is not None:
            require("matplotlib", extra="bench")  # now, and not after an hour of work
            make_output_folder(out, force=force)
        result = evaluate_model(opened, samples, threshold=threshold, progress=bar)
        value = {"model": str(model), "dataset": str(dataset), **result.to_json()}
        if out is not None:
            write_json(out / "metrics.json", value)
            save_curves(out / "curves.png", result)
            save_scores(out / "scores.png", result)
            save_contact_sheet(out / "worst.png", result, opened.spec)
    where = [] if out is None else [Text(f"{out}: metrics.json and the pictures curves.png, scores.png, worst.png")]
    emit(value, _overall(f"{model} on {dataset}", result), _kinds(result), *where, json=json)


def _overall(title: str, result: Evaluation) -> Table:
    verdicts = result.verdicts
    rule = "--threshold" if result.threshold_source == "caller" else result.threshold_rule or UNTUNED
    rows = [
        ("threshold", f"{result.threshold:.6g} ({rule})"),
        ("image AUROC", _number(result.image_curve.auroc)),
        ("pixel AUROC", _number(result.pixel_auroc)),
        ("pixel AP", _number(result.pixel_ap)),
        ("PRO, 30 %", _number(result.pro)),
        ("F1", _number(verdicts.f1)),
        ("precision", _number(verdicts.precision)),
        ("recall per strip", _number(verdicts.recall)),
        ("recall per defect", _number(result.recall_per_defect)),
        ("false alarms per strip", _number(result.false_alarms_per_strip)),
        ("good strips called NG", f"{verdicts.good_ng} of {verdicts.good_ng + verdicts.good_ok}"),
    ]
    return facts(title, rows)


def _kinds(result: Evaluation) -> Table:
    table = Table(title="By kind", title_justify="left", title_style="bold")
    table.add_column("kind", style="cyan", overflow="fold")
    for column in ("strips", "NG", "recall per strip", "recall per defect", "image AUROC", "pixel AP"):
        table.add_column(column, justify="right")
    for kind in result.kinds:
        numbers = (kind.verdict_recall, kind.recall_per_defect, kind.image_auroc, kind.pixel_ap)
        table.add_row(Text(kind.kind), str(kind.strips), str(kind.ng), *(_number(number) for number in numbers))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
