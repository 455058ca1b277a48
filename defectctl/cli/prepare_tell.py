"""What `defectctl prepare` prints: findings on stderr; tables, or one JSON document, on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from defectctl.messages import say, warn

if TYPE_CHECKING:
    from defectctl.formats.base import Finding
    from defectctl.formats.exports.export import ExportResult
    from defectctl.formats.prepare import PrepareResult

SHOWN_FINDINGS = 20


def _next_command(result: PrepareResult) -> str:
    folder = str(result.dataset.root)
    quoted = f'"{folder}"' if " " in folder else folder
    knows_masks = any(row["pixel_share"] is not None for row in result.classes)
    return f"defectctl train --preset {'quick' if knows_masks else 'yolov5s'} --data {quoted}"


def tell_findings(result: PrepareResult) -> None:
    """Layout, notes and findings, on stderr."""
    say(f"recognised {result.format}: {result.layout}")
    for note in result.notes:
        say(f"note: {note}")
    for finding in result.advice:
        say(f"look: {finding.text}")
    if result.findings:
        left_out = sum(finding.dropped for finding in result.findings)
        file = result.dataset.root / "findings.csv"
        warn(f"{_shown(result.findings)}, {left_out} left out; all of them in '{file}'")


def tell_export(result: ExportResult) -> None:
    """Notes and left-out samples of an export, on stderr."""
    for note in result.notes:
        say(f"note: {note}")
    if result.findings:
        warn(f"{_shown(result.findings)}, left out")


def _shown(findings: list[Finding]) -> str:
    """Print the first findings; return their number and kinds."""
    for finding in findings[:SHOWN_FINDINGS]:
        say(f"  {finding.file}: {finding.text}")
    if len(findings) > SHOWN_FINDINGS:
        say(f"  … and {len(findings) - SHOWN_FINDINGS} more")
    kinds: dict[str, int] = {}
    for finding in findings:
        kinds[finding.problem] = kinds.get(finding.problem, 0) + 1
    counted = ", ".join(f"{count} {problem}" for problem, count in sorted(kinds.items()))
    return f"{len(findings)} findings ({counted})"


def print_tables(result: PrepareResult) -> None:
    from defectctl.cli.tables import print_table

    counts, dataset = result.dataset.counts, result.dataset
    print(f"{dataset.name}: {counts['images']:,} images, {counts['good']:,} of them good")
    boxes = any(source.known.boxes for source in dataset.sources.values())
    rows = [
        [row["class"], row["images"], _percent(row["pixel_share"]), row["objects"] if boxes else None]
        for row in result.classes
    ]
    print_table(["class", "images", "pixels", "boxes"], rows)
    parts = [[row["part"], row["images"], row["good"], *row["classes"].values()] for row in result.parts]
    print_table([f"split {result.split.name}", "images", "good", *dataset.class_names], parts)
    if result.others:
        names = list(dict.fromkeys(row["part"] for rows in result.other_parts.values() for row in rows))
        rows = []
        for name, own in result.other_parts.items():
            cells = {row["part"]: _part_cell(row) for row in own}
            rows.append([name, *(cells.get(part) for part in names)])
        print_table(["split", *(f"{part} (good)" for part in names)], rows)
    print(f"dataset: {dataset.root}")
    print(f"report: {result.report}")
    print(f"next: {_next_command(result)}")


def _part_cell(row: dict[str, Any]) -> str:
    return f"{row['images']} ({row['good']})"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.3%}"


def print_json_document(result: PrepareResult) -> None:
    from defectctl.cli.tables import print_json

    dataset = result.dataset
    print_json(
        {
            "out": str(dataset.root),
            "name": dataset.name,
            "format": result.format,
            "layout": result.layout,
            "fingerprint": dataset.fingerprint,
            "counts": dataset.counts,
            "classes": result.classes,
            "split": {"name": result.split.name, "maker": result.split.maker, "parts": result.parts},
            "other_splits": [
                {"name": split.name, "maker": split.maker, "parts": result.other_parts[split.name]}
                for split in result.others
            ],
            "report": str(result.report),
            "notes": result.notes,
            "advice": _finding_rows(result.advice),
            "findings": _finding_rows(result.findings),
            "next": _next_command(result),
        }
    )


def print_export(result: ExportResult, as_json: bool) -> None:
    """What an export wrote."""
    from defectctl.cli.tables import print_json, print_table

    if as_json:
        print_json(
            {
                "out": str(result.out),
                "form": result.form,
                "split": result.split,
                "images": result.images,
                "objects": result.objects,
                "notes": result.notes,
                "findings": _finding_rows(result.findings),
            }
        )
        return
    print_table([f"split {result.split}", "images"], [list(item) for item in result.images.items()])
    print_table(["class", "objects"], [list(item) for item in result.objects.items()])
    print(f"{result.form}: {result.out}")


def _finding_rows(findings: list[Finding]) -> list[dict[str, Any]]:
    return [{"file": f.file, "problem": f.problem, "left_out": f.dropped, "text": f.text} for f in findings]
