"""`defectctl evaluate`: a model, masks or an earlier evaluation against the truth; thresholds; two models; folds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from defectctl.errors import InputError
from defectctl.messages import say, set_quiet


def _promise(name: str, what: str) -> Any:
    return typer.Option(name, metavar="SHARE", help=what, rich_help_panel="Thresholds")


def command(
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL|EVALUATION",
            help="A weights file, run, or folder of an earlier evaluation; two are compared.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Weights file or run; default: $DEFECTCTL_MODEL, else the newest run.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The dataset; default: ./data, or the only dataset below it.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Name of the split; default: the model's, else the dataset's.")
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", help="Part of the split; default: test, with --calibrate calibration.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option("--masks", help="Score this folder of index masks (of predict) instead of a model.")
    ] = None,
    pool: Annotated[
        bool, typer.Option("--pool", help="Put the evaluations (or models) of several folds into one; needs --out.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the files; default: evaluation/ beside the model or masks.")
    ] = None,
    threshold: Annotated[
        str | None, typer.Option("--threshold", help="Judge parts by this score (or two, OK,NG), not the model's own.")
    ] = None,
    confidence: Annotated[
        float, typer.Option("--confidence", metavar="SHARE", help="Of intervals and of promises.")
    ] = 0.95,
    cost_escape: Annotated[
        float | None, typer.Option("--cost-escape", metavar="PRICE", help="Of a defective part called OK.")
    ] = None,
    cost_overkill: Annotated[
        float | None, typer.Option("--cost-overkill", metavar="PRICE", help="Of a good part called NG.")
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Choose thresholds and store them in the model: to keep a promise, else by lowest cost, else by F1.",
            rich_help_panel="Thresholds",
        ),
    ] = False,
    max_escape: Annotated[
        float | None, _promise("--max-escape", "Promise: at most this share of defective parts is called OK.")
    ] = None,
    max_overkill: Annotated[
        float | None, _promise("--max-overkill", "Promise: at most this share of good parts is called NG.")
    ] = None,
    max_missed_pixels: Annotated[
        float | None,
        _promise("--max-missed-pixels", "Promise: at most this share of a part's defect pixels missed."),
    ] = None,
    max_missed_defects: Annotated[
        float | None, _promise("--max-missed-defects", "Promise: at most this share of a part's defects missed.")
    ] = None,
    prevalence: Annotated[
        float | None, _promise("--prevalence", "Share of defective parts in production, to weigh costs with.")
    ] = None,
    unseen: Annotated[
        bool,
        typer.Option(
            "--unseen",
            help="You state that the model never saw these parts, where that cannot be checked.",
            rich_help_panel="Thresholds",
        ),
    ] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, float32, bf16 or fp16.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads that compute on the CPU; default: cores less one.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Images at once; default: by preset and device.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages, only warnings and the result.")] = False,
) -> None:
    """Score a model on a part of a dataset, choose its thresholds, or compare two models.

    Pixels, single defects, boxes and whole parts are scored, as far as the model delivers them and their truth is
    known. Writes report.html, metrics.json, images.csv and table.npz, from which everything is told again without the
    network.

    Examples:

    \b
      defectctl evaluate --data data/neu
      defectctl evaluate --calibrate --max-escape 0.01 --max-overkill 0.05
      defectctl evaluate runs/unet-001 runs/unet-cbam-001
      defectctl evaluate RUN/evaluation/neu-random-test --threshold 0.4,0.7
    """
    set_quiet(quiet)
    from defectctl.evaluation.asked import Asked
    from defectctl.evaluation.evaluate import Hardware
    from defectctl.evaluation.wanted import Wanted
    from defectctl.inference.options import parse_threshold

    if model is not None and subjects:
        raise InputError("give the model either as an argument or with --model, not both")
    names = [model] if model is not None else list(subjects or [])
    asked = Asked(parse_threshold(threshold), confidence, cost_escape, cost_overkill)
    wanted = Wanted(max_escape, max_overkill, max_missed_pixels, max_missed_defects, prevalence, unseen)
    hardware = Hardware(device, precision, threads, batch_size)
    asked.check()
    _check_together(names, masks, pool, calibrate, asked, wanted, out)
    where = (data, split, part)
    if masks is not None:
        from defectctl.evaluation.evaluate import evaluate_masks

        report(evaluate_masks(masks, data, split, part or "test", out, asked), as_json)
    elif pool or len(names) > 1:
        _several(names, pool, where, out, hardware, asked, as_json)
    else:
        report(_single(names, calibrate, where, out, hardware, asked, wanted), as_json)


def _check_together(
    names: list[str], masks: Path | None, pool: bool, calibrate: bool, asked: Any, wanted: Any, out: Path | None
) -> None:
    """Refuse options that do not go together, before anything heavy is loaded."""
    if masks is not None and (names or pool or calibrate):
        raise InputError("--masks stands alone: give masks or a model, not both, and neither --pool nor --calibrate")
    given = {
        "--max-escape": wanted.max_escape,
        "--max-overkill": wanted.max_overkill,
        "--max-missed-pixels": wanted.max_missed_pixels,
        "--max-missed-defects": wanted.max_missed_defects,
        "--prevalence": wanted.prevalence,
        "--unseen": wanted.unseen or None,
    }
    asks = [option for option, value in given.items() if value is not None]
    if asks and not calibrate:
        raise InputError(f"{asks[0]} chooses a threshold, which only --calibrate does: add it")
    if calibrate and (pool or len(names) > 1):
        raise InputError("--calibrate takes one model: its thresholds are chosen from its own scores")
    if pool and out is None:
        raise InputError("--pool needs --out, the folder for the pooled evaluation")
    if not pool and len(names) > 2:
        raise InputError(f"{len(names)} evaluations are given: two are compared, more are pooled with --pool --out DIR")


def _single(
    names: list[str], calibrate: bool, where: tuple, out: Path | None, hardware: Any, asked: Any, wanted: Any
) -> dict[str, Any]:
    from defectctl.checkpoints.runs import find_model
    from defectctl.checkpoints.weights import read_contract
    from defectctl.evaluation import calibrate as calibration
    from defectctl.evaluation.evaluate import check_hardware, evaluate, judge_again
    from defectctl.evaluation.scored import load_scored
    from defectctl.evaluation.subjects import earlier_evaluation, named_model, refuse_choice

    check_hardware(hardware)
    folder = earlier_evaluation(names[0]) if names else None
    if folder is not None:
        refuse_choice(folder, *where)
        say(f"from the table in {folder}; no network is run")
        scored = load_scored(folder)
        return calibration.calibrate_again(scored, wanted, asked, out) if calibrate else judge_again(scored, asked, out)
    path, why = (named_model(names[0]), "as named") if names else find_model(None)
    read_contract(path)
    say(f"model: {path} ({why})")
    data, split, part = where
    if calibrate:
        return calibration.calibrate(path, wanted, data, split, part, out, hardware, asked)
    return evaluate(path, data, split, part or "test", out, hardware, asked)


def _several(
    names: list[str], pool: bool, where: tuple, out: Path | None, hardware: Any, asked: Any, as_json: bool
) -> None:
    from defectctl.evaluation.evaluate import check_hardware
    from defectctl.evaluation.subjects import scores_of

    check_hardware(hardware)
    data, split, part = where
    scored = scores_of(names, data, split, part, hardware)
    if pool:
        from defectctl.evaluation.pooling import pool as pooled

        assert out is not None
        report(pooled(scored, asked, out), as_json)
        return
    from defectctl.cli.evaluate_tell import tell_comparison
    from defectctl.evaluation.comparison import compare_scored

    tell_comparison(compare_scored(*scored, asked=asked, out=out), as_json)


def report(result: dict[str, Any], as_json: bool) -> None:
    """Print what was found: JSON, or tables that lead with the defect."""
    from defectctl.cli.evaluate_tell import tell

    tell(result, as_json)
