"""`defectctl train`: a preset and a dataset to a run folder with a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defectctl.messages import say, set_quiet

if TYPE_CHECKING:
    from defectctl.training.launch import TrainOutcome
    from defectctl.training.request import TrainJob


def command(
    preset: Annotated[str | None, typer.Option("--preset", help="A preset's name or YAML file (see --list).")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Prepared dataset; default: ./data, or the only dataset below it.")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Split to train on; default: the dataset's own.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a preset value, e.g. train.stages.0.epochs=50."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run folders; default: ./runs.")] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a run that was stopped or killed.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads that compute on the CPU; default: cores less one.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of start weights, order and augmentation.")] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="List models and presets, and exit; with --preset, one preset's options.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, train nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages, only warnings and the result.")] = False,
) -> None:
    """Train a model on a dataset.

    Makes a run folder with the model file (the best checkpoint on the validation part), the history and its curves.
    Ctrl-C saves; a run that was stopped or killed goes on with --resume.

    Example: defectctl train --preset sme-deeplab --data data/neu
    """
    set_quiet(quiet)
    if show_list:
        from defectctl.cli.train_list import list_all, list_preset

        list_all(as_json) if preset is None else list_preset(preset, as_json)
        return
    from defectctl.training.request import TrainOptions, check_request

    job = check_request(
        TrainOptions(
            preset=preset,
            data=data,
            split=split,
            overrides=tuple(overrides or ()),
            out=out,
            resume=resume,
            device=device,
            threads=threads,
            seed=seed,
            quiet=quiet,
        )
    )
    say(f"data: {job.dataset.root}, split '{job.split.name}' ({len(job.train)} train, {len(job.val)} val)")
    if dry_run:
        _show_plan(job, as_json)
        return
    from defectctl.training.launch import start_training

    _report(start_training(job), as_json)


def _show_plan(job: TrainJob, as_json: bool) -> None:
    from defectctl.cli.tables import print_json, print_table

    plan = job.summary()
    if as_json:
        print_json(plan)
        return
    stages = [
        f"{s['name']} ({s['epochs']} epochs)" if "epochs" in s else f"{s['name']} ({s['updates']} updates)"
        for s in plan["stages"]
    ]
    images = ", ".join(f"{count} {name}" for name, count in plan["images"].items())
    shown = {**plan, "classes": ", ".join(plan["classes"]), "images": images, "stages": ", ".join(stages)}
    print_table(("plan", ""), [(key, str(value)) for key, value in shown.items()])


def _report(outcome: TrainOutcome, as_json: bool) -> None:
    from defectctl.cli.tables import print_json, print_table

    if as_json:
        print_json(
            {
                "run": str(outcome.run),
                "model": str(outcome.model),
                "metric": outcome.metric,
                "best": outcome.best,
                "best_epoch": outcome.best_epoch,
                "epochs": outcome.epochs,
                "updates": outcome.updates,
            }
        )
        return
    print_table(
        ("run", outcome.metric, "epoch", "of", "model"),
        [(str(outcome.run), outcome.best, outcome.best_epoch, outcome.epochs, str(outcome.model))],
    )
