"""`defectctl prepare`: a raw folder of images and annotations to a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defectctl.errors import EXIT_FINDINGS, EXIT_OK, InputError, Interrupted
from defectctl.messages import say, set_quiet, warn

if TYPE_CHECKING:
    from defectctl.formats.base import ReadOptions
    from defectctl.formats.prepare import PrepareResult

SHOWN_FINDINGS = 20


def command(
    raw: Annotated[
        Path, typer.Argument(metavar="RAW", help="Folder with images and their annotations; never changed.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the dataset.")] = Path("data"),
    format: Annotated[
        str | None,
        typer.Option("--format", help="mask-folders, mask-suffix, voc-boxes, voc-masks or coco; default: recognised."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="Names in order of the mask value: inclusion,patches,scratches.")
    ] = None,
    classes_from: Annotated[
        str | None, typer.Option("--classes-from", help="prefix or folder: what names the class of a binary mask.")
    ] = None,
    mask_values: Annotated[
        str | None,
        typer.Option("--mask-values", help='"0=background,1=scratch,255=unknown", or a YAML or JSON file of such.'),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 where any file was left out or is doubtful.")
    ] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Leave the images where they are instead of copying them.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="The dataset's name; default: that of the --out folder.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random parts of the split.")] = 0,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the dataset in --out, once the new one is whole.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages, only warnings and the result.")] = False,
) -> int:
    """Turn a raw folder of images and labels into a dataset.

    The layout is recognised: pixel masks in folders of their own or beside the images, VOC boxes, VOC masks, COCO.
    Every file is checked; what cannot be used is listed with the reason in OUT/findings.csv.

    Example: defectctl prepare NEU_Seg --out data/neu --classes inclusion,patches,scratches
    """
    set_quiet(quiet)
    if not raw.is_dir():
        kind = "is a file, not a folder" if raw.exists() else "does not exist; check the path"
        raise InputError(f"the raw folder '{raw}' {kind}")
    from defectctl.formats.prepare import PrepareOptions, prepare

    options = PrepareOptions(format, _read_options(classes, classes_from, mask_values), name, seed, link, replace)
    try:
        result = prepare(raw, out, options)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; '{out}' is as it was before") from error
    _tell_findings(result)
    _print_json(result) if as_json else _print_tables(result)
    return EXIT_FINDINGS if strict and result.findings else EXIT_OK


def _read_options(classes: str | None, classes_from: str | None, mask_values: str | None) -> ReadOptions:
    from defectctl.formats.base import ReadOptions
    from defectctl.formats.mask_values import check_class_names, parse_mask_values

    if classes_from not in (None, "prefix", "folder"):
        raise InputError(f"--classes-from takes prefix or folder, not '{classes_from}'")
    names = check_class_names(part.strip() for part in classes.split(",")) if classes is not None else []
    values = parse_mask_values(mask_values) if mask_values is not None else None
    return ReadOptions(tuple(names), classes_from, values)


def _next_command(result: PrepareResult) -> str:
    folder = str(result.dataset.root)
    quoted = f'"{folder}"' if " " in folder else folder
    return f"defectctl train --preset quick --data {quoted}"


def _tell_findings(result: PrepareResult) -> None:
    """Layout, notes and findings, on stderr."""
    say(f"recognised {result.format}: {result.layout}")
    for note in result.notes:
        say(f"note: {note}")
    if not result.findings:
        return
    for finding in result.findings[:SHOWN_FINDINGS]:
        say(f"  {finding.file}: {finding.text}")
    if len(result.findings) > SHOWN_FINDINGS:
        say(f"  … and {len(result.findings) - SHOWN_FINDINGS} more")
    kinds: dict[str, int] = {}
    for finding in result.findings:
        kinds[finding.problem] = kinds.get(finding.problem, 0) + 1
    counted = ", ".join(f"{count} {problem}" for problem, count in sorted(kinds.items()))
    left_out = sum(finding.dropped for finding in result.findings)
    file = result.dataset.root / "findings.csv"
    warn(f"{len(result.findings)} findings ({counted}), {left_out} left out; all of them in '{file}'")


def _print_tables(result: PrepareResult) -> None:
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
    print(f"dataset: {dataset.root}")
    print(f"next: {_next_command(result)}")


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.3%}"


def _print_json(result: PrepareResult) -> None:
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
            "notes": result.notes,
            "findings": [
                {"file": f.file, "problem": f.problem, "left_out": f.dropped, "text": f.text} for f in result.findings
            ],
            "next": _next_command(result),
        }
    )
