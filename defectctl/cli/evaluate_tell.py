"""Prints what an evaluation or a comparison found: tables that lead with the defect, or JSON."""

from __future__ import annotations

from typing import Any

from defectctl.cli.tables import ABSENT, print_json, print_table
from defectctl.messages import say


def tell(result: dict[str, Any], as_json: bool) -> None:
    """Print an evaluation, the content of `metrics.json` with `out` and `files`."""
    if as_json:
        print_json(result)
        return
    about = result["dataset"]
    title = f"{about['name']}, split '{about['split']}', part '{about['part']}': {about['images']} images"
    print_table(["metric", "value", f"{100 * result['confidence']:g} % interval", "meaning"], figures(result), title)
    columns, lines = class_table(result["metrics"], result["tasks"])
    if lines:
        print_table(columns, lines)
    if cost := result["cost"]:
        say(
            f"cost: {cost['total']:,.2f} for {cost['parts']} parts ({cost['per_1000_parts'] or 0:,.2f} for 1,000), "
            f"escapes {cost['escapes_total']:,.2f}, overkill {cost['overkill_total']:,.2f}"
        )
    say(f"report: {result['files']['report']}")


def figures(result: dict[str, Any]) -> list[tuple[str, str | None, str | None, str]]:
    """Rows of the first table: name, value, interval, meaning; the defect and the escapes come first."""
    from defectctl.evaluation.headline import headline
    from defectctl.reports.evaluation_text import interval_text, value_text

    return [
        (
            row.name,
            None if row.value is None else value_text(row),
            None if row.interval is None else interval_text(row.interval, row.kind),
            row.meaning if row.value is not None else row.reason,
        )
        for row in headline(result)
    ]


def class_table(metrics: dict[str, Any], tasks: list[str]) -> tuple[list[str], list[list[Any]]]:
    """Headings and one row a class, background last; only what the model delivers, no rows where that is nothing."""
    columns: dict[str, str] = {}
    if "segmentation" in tasks:
        columns |= {"IoU": "iou", "precision": "precision", "recall": "recall", "F1": "f1", "pixels": "pixels"}
        columns |= {"defects": "instances", "found": "found", "false": "false_blobs"}
    if "detection" in tasks:
        columns |= {"AP50": "ap50", "AP": "ap", "boxes": "boxes"}
    if not columns:
        return [], []
    rows = []
    for name, row in metrics["per_class"].items():
        if name in metrics["unknown_classes"]:
            rows.append((name, {**row, "pixels": None}))
        else:
            rows.append((name, {**metrics["instance_classes"].get(name, {}), **row}))
    if "segmentation" in tasks:
        rows.append(("background", metrics["background"]))
    return ["class", *columns], [[name, *(row.get(key) for key in columns.values())] for name, row in rows]


_COMPARED = (
    "defect_iou",
    "miou_defects",
    "miou",
    "dice",
    "instance_recall",
    "false_blobs_per_image",
    "boundary_error",
    "map50",
    "map",
    "escape_rate",
    "overkill_rate",
    "image_ap",
    "image_auroc",
    "image_f1",
    "image_iou",
    "pixel_ap",
    "aupro_30",
)
"""Keys of the figures that the screen shows of a comparison; `--json` and `--out` hold them all."""


def tell_comparison(result: dict[str, Any], as_json: bool) -> None:
    """Print a comparison, what `evaluation.comparison.compare_scored` returns."""
    if as_json:
        print_json(result)
        return
    groups = result["groups"]
    rest = "" if groups == result["images"] else f" in {groups} independent groups"
    title = f"first: {result['first']['name']}\nsecond: {result['second']['name']}\n{result['images']} images{rest}"
    found = {key: result["differences"][key] for key in _COMPARED if key in result["differences"]}
    rows = [_compared(key, row) for key, row in found.items() if row["difference"] is not None]
    columns = ["metric", "first", "second", "difference", f"{100 * result['confidence']:g} % interval", "p", "better"]
    print_table(columns, rows, title)
    for name in ("first", "second"):
        if price := result[name]["cost"]:
            say(f"cost of the {name}: {price['total']:,.2f} for {price['parts']} parts")
    alone = [key for key, row in found.items() if row["difference"] is None]
    if alone:
        say(f"only one of the two has {', '.join(alone)}")
    say("p-values are not corrected for their number: choose the figure that matters before looking")
    if "out" in result:
        say(f"all figures: {result['out']}")


def _compared(key: str, row: dict[str, Any]) -> list[str | None]:
    def signed(value: float | None) -> str:
        return ABSENT if value is None else f"{value:+.3f}"

    interval = ABSENT if row["low"] is None else f"{signed(row['low'])} to {signed(row['high'])}"
    p_value = row["p_value"]
    shown = ABSENT if p_value is None else f"{p_value:.3f}" if p_value >= 0.001 else "< 0.001"
    values = [ABSENT if row[name] is None else f"{row[name]:.3f}" for name in ("first", "second")]
    return [key, *values, signed(row["difference"]), interval, shown, row["better"] or "open"]
