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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages, only warnings and the result.")] = False,
) -> None:
    """Score a model, or masks that were predicted before, on a part of a dataset.

    Pixels, boxes or whole parts are scored, whichever the model delivers. Writes metrics.json, images.csv, table.npz,
    a confusion matrix and a sheet of the worst images.

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
    print_table(["metric", "value", "meaning"], headline(metrics, parts, result["tasks"]), title)
    columns, lines = class_table(metrics, result["tasks"])
    if lines:
        print_table(columns, lines)
    say(f"files: {result['out']}")


def class_table(metrics: dict[str, Any], tasks: list[str]) -> tuple[list[str], list[list[Any]]]:
    """Headings and one row a class, background last; only what the model delivers, no rows where that is nothing."""
    columns: dict[str, str] = {}
    if "segmentation" in tasks:
        columns |= {"IoU": "iou", "precision": "precision", "recall": "recall", "F1": "f1", "pixels": "pixels"}
    if "detection" in tasks:
        columns |= {"AP50": "ap50", "AP": "ap", "boxes": "boxes"}
    if not columns:
        return [], []
    rows = list(metrics["per_class"].items())
    if "segmentation" in tasks:
        rows.append(("background", metrics["background"]))
    return ["class", *columns], [[name, *(row.get(key) for key in columns.values())] for name, row in rows]


def headline(metrics: dict[str, Any], parts: dict[str, Any], tasks: list[str]) -> list[tuple[str, str | None, str]]:
    """Rows of the first table: name, value, meaning; the defect and the escapes come first."""
    rows = _defect_rows(metrics, tasks) + _part_rows(metrics, parts)
    return rows + (_pixel_rows(metrics) if "segmentation" in tasks else [])


Rows = list[tuple[str, str | None, str]]


def _share(metrics: dict[str, Any], key: str) -> str | None:
    return None if metrics[key] is None else f"{metrics[key]:.3f}"


def _defect_rows(metrics: dict[str, Any], tasks: list[str]) -> Rows:
    """How well the defects themselves are found."""
    rows: Rows = []
    if "segmentation" in tasks:
        rows.append(("defect IoU", _share(metrics, "defect_iou"), "any defect against background, all pixels"))
    if "detection" in tasks:
        rows.append(("mAP50", _share(metrics, "map50"), "boxes, mean over classes, overlap 0.5"))
        rows.append(("mAP", _share(metrics, "map"), "boxes, mean over classes and overlaps 0.5 to 0.95"))
    return rows


def _part_rows(metrics: dict[str, Any], parts: dict[str, Any]) -> Rows:
    """What becomes of whole parts, at the thresholds in force and at any."""

    def of(count: str, total: str) -> str:
        return f"{parts[count]} of {parts[total]}" if parts[total] else "-"

    rows: Rows = [
        ("escapes", of("escapes", "defective_parts"), "defective parts called OK"),
        ("overkill", of("overkill", "good_parts"), "good parts called NG"),
    ]
    if parts["unsure"]:
        rows.append(("unsure", str(parts["unsure"]), "parts between the two thresholds"))
    if metrics["image_ap"] is None:
        return rows
    best = metrics["best_f1"]
    at_best = f"parts; at score {best['threshold']:.3f}: TP {best['tp']}, FP {best['fp']}, FN {best['fn']}"
    return [
        *rows,
        ("image AP", _share(metrics, "image_ap"), "parts ranked by score, average precision"),
        ("image AUROC", _share(metrics, "image_auroc"), "chance that a defective part scores above a good one"),
        ("best F1", f"{best['f1']:.3f}", f"{at_best}, TN {best['tn']}"),
        (
            "FP at full recall",
            f"{metrics['fp_at_full_recall']} of {parts['good_parts']}",
            "good parts called NG if no defect may escape",
        ),
    ]


def _pixel_rows(metrics: dict[str, Any]) -> Rows:
    def spread(key: str) -> str | None:
        mean, deviation = metrics[key], metrics[f"{key}_std"]
        return None if mean is None else f"{mean:.3f} ± {deviation:.3f}"

    rows: Rows = [
        ("mIoU of defects", _share(metrics, "miou_defects"), "mean over the defect classes"),
        ("mIoU", _share(metrics, "miou"), "mean with background, as papers print it"),
        ("precision", _share(metrics, "precision"), "mean over classes, with background"),
        ("MPA", _share(metrics, "mpa"), "mean recall over classes, with background"),
        ("pixel accuracy", _share(metrics, "pixel_accuracy"), "background counts as much as it covers"),
        ("Dice", _share(metrics, "dice"), "mean over the defect classes"),
        ("F1 per image", spread("image_f1"), "any defect; mean ± standard deviation over images"),
        ("IoU per image", spread("image_iou"), "any defect; mean ± standard deviation over images"),
    ]
    if metrics["pixel_ap"] is not None:
        rows.append(("pixel AP", _share(metrics, "pixel_ap"), "pixels ranked by defect probability, any defect"))
    return rows
