"""`defectctl evaluate`: a model, or masks, against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from defectctl.errors import InputError
from defectctl.messages import say, set_quiet


def command(
    model: Annotated[
        str | None, typer.Option("--model", help="Weights file or run; default: $DEFECTCTL_MODEL, else the newest run.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The dataset; default: ./data, or the only dataset below it.")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Name of the split; default: the dataset's.")] = None,
    part: Annotated[str, typer.Option("--part", help="Part of the split: test, val, train.")] = "test",
    masks: Annotated[
        Path | None, typer.Option("--masks", help="Score this folder of index masks (of predict) instead of a model.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the files; default: evaluation/ beside the model or masks.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, float32, bf16 or fp16.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads that compute on the CPU; default: cores less one.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Images at once; default: by preset and device.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No messages, only warnings and the result.")] = False,
) -> None:
    """Score a model, or masks that were predicted before, on a part of a dataset.

    Writes metrics.json, images.csv, table.npz, a confusion matrix and a sheet of the worst images.

    Example: defectctl evaluate --data data/neu --part test
    """
    set_quiet(quiet)
    if masks is not None:
        if model is not None:
            raise InputError("give --model or --masks, not both")
        from defectctl.evaluation.evaluate import evaluate_masks

        result = evaluate_masks(masks, data, split, part, out)
    else:
        from defectctl.checkpoints.runs import find_model
        from defectctl.checkpoints.weights import read_contract
        from defectctl.evaluation.evaluate import Hardware, check_hardware, evaluate

        hardware = Hardware(device, precision, threads, batch_size)
        check_hardware(hardware)
        path, why = find_model(model)
        read_contract(path)
        say(f"model: {path} ({why})")
        result = evaluate(path, data, split, part, out, hardware)
    report(result, as_json)


def report(result: dict[str, Any], as_json: bool) -> None:
    """Print what `evaluate` found: JSON, or tables that lead with the defect."""
    from defectctl.cli.tables import print_json, print_table

    if as_json:
        print_json(result)
        return
    about, metrics, parts = result["dataset"], result["metrics"], result["parts"]
    title = f"{about['name']}, split '{about['split']}', part '{about['part']}': {about['images']} images"
    print_table(["metric", "value", "meaning"], headline(metrics, parts), title)
    rows = [("background", metrics["background"]), *metrics["per_class"].items()]
    keys = ["iou", "precision", "recall", "f1", "pixels"]
    lines = [[name, *(row[key] for key in keys)] for name, row in [*rows[1:], rows[0]]]
    print_table(["class", "IoU", "precision", "recall", "F1", "pixels"], lines)
    say(f"files: {result['out']}")


def headline(metrics: dict[str, Any], parts: dict[str, Any]) -> list[tuple[str, str | float | None, str]]:
    """Rows of the first table: name, value, meaning; the defect and the escapes come first."""

    def of(count: str, total: str) -> str:
        return f"{parts[count]} of {parts[total]}" if parts[total] else "-"

    def spread(key: str) -> str | None:
        mean, deviation = metrics[key], metrics[f"{key}_std"]
        return None if mean is None else f"{mean:.3f} ± {deviation:.3f}"

    def share(key: str) -> str | None:
        return None if metrics[key] is None else f"{metrics[key]:.3f}"

    rows: list[tuple[str, str | float | None, str]] = [
        ("defect IoU", share("defect_iou"), "any defect against background, all pixels"),
        ("escapes", of("escapes", "defective_parts"), "defective parts called OK"),
        ("overkill", of("overkill", "good_parts"), "good parts called NG"),
        ("mIoU of defects", share("miou_defects"), "mean over the defect classes"),
        ("mIoU", share("miou"), "mean with background, as papers print it"),
        ("precision", share("precision"), "mean over classes, with background"),
        ("MPA", share("mpa"), "mean recall over classes, with background"),
        ("pixel accuracy", share("pixel_accuracy"), "background counts as much as it covers"),
        ("Dice", share("dice"), "mean over the defect classes"),
        ("F1 per image", spread("image_f1"), "any defect; mean ± standard deviation over images"),
        ("IoU per image", spread("image_iou"), "any defect; mean ± standard deviation over images"),
    ]
    if parts["unsure"]:
        rows.insert(3, ("unsure", str(parts["unsure"]), "parts between the two thresholds"))
    return rows
