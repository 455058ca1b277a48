"""`defectctl prepare`: raw folders of images and annotations to a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defectctl.errors import EXIT_FINDINGS, EXIT_OK, InputError, Interrupted, nearest
from defectctl.messages import say, set_quiet, warn

if TYPE_CHECKING:
    from defectctl.formats.base import ReadOptions
    from defectctl.formats.prepare import PrepareResult, SourceOptions

SHOWN_FINDINGS = 20


Raw = Annotated[
    list[Path], typer.Argument(metavar="RAW", help="Folders with images and their annotations; never changed.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the dataset.")]
Join = Annotated[
    str | None, typer.Option("--join", help="name or content: one photograph in several RAWs becomes one sample.")
]
Maps = Annotated[
    list[str] | None, typer.Option("--map", help="OLD=NEW or RAW:OLD=NEW renames a class; may be repeated.")
]
Format = Annotated[
    list[str] | None,
    typer.Option("--format", help="mask-folders, mask-suffix, voc-boxes, voc-masks or coco; default: recognised."),
]
Classes = Annotated[
    list[str] | None, typer.Option("--classes", help="Names in order of the mask value: inclusion,patches,scratches.")
]
ClassesFrom = Annotated[
    list[str] | None,
    typer.Option("--classes-from", help="prefix or folder: what names the class of a binary mask."),
]
MaskValues = Annotated[
    list[str] | None,
    typer.Option("--mask-values", help='"0=background,1=scratch,255=unknown", or a YAML or JSON file of such.'),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="Leave out the images of this pattern, e.g. 'kos21/Part7*'; may be repeated."),
]
GroupBy = Annotated[
    str | None, typer.Option("--group-by", help="Regular expression on the id; its (group) is never cut by a split.")
]
Folds = Annotated[
    Path | None, typer.Option("--folds", help="JSON or CSV of cross-validation folds: splits fold-0, fold-1, …")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 where any file was left out or is doubtful.")]
Link = Annotated[bool, typer.Option("--link", help="Leave the images where they are instead of copying them.")]
Name = Annotated[str | None, typer.Option("--name", help="The dataset's name; default: that of the --out folder.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the random parts of the split.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the dataset in --out, once the new one is whole.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages, only warnings and the result.")]


def command(
    raw: Raw,
    out: Out = Path("data"),
    join: Join = None,
    maps: Maps = None,
    format: Format = None,
    classes: Classes = None,
    classes_from: ClassesFrom = None,
    mask_values: MaskValues = None,
    exclude: Exclude = None,
    group_by: GroupBy = None,
    folds: Folds = None,
    strict: Strict = False,
    link: Link = False,
    name: Name = None,
    seed: Seed = 0,
    replace: Replace = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Turn a raw folder of images and labels, or several, into a dataset.

    The layout is recognised: pixel masks in folders of their own or beside the images, VOC boxes, VOC masks, COCO.
    Every file is checked; what cannot be used is listed with the reason in OUT/findings.csv.

    Of several RAWs, `--format`, `--classes`, `--classes-from`, `--mask-values`, `--map` and `--exclude` can be said
    for one: RAW:VALUE, with the folder's name.

    Example: defectctl prepare NEU_Seg --out data/neu --classes inclusion,patches,scratches

    Example: defectctl prepare NEU-DET SD-900 --out data/mixed --join content --classes-from SD-900:prefix
    --map SD-900:In=inclusion --map SD-900:Pa=patches --map SD-900:Sc=scratches
    """
    set_quiet(quiet)
    _check_paths(raw, folds)
    from defectctl.formats.prepare import PrepareOptions, prepare

    said = {"--format": format, "--classes": classes, "--classes-from": classes_from, "--mask-values": mask_values}
    options = PrepareOptions(
        name=name,
        seed=seed,
        link=link,
        replace=replace,
        of_source=_source_options(raw, {option: values or [] for option, values in said.items()}),
        join=join,
        maps=tuple(maps or ()),
        folds=folds,
        group_by=group_by,
        exclude=tuple(exclude or ()),
    )
    try:
        result = prepare(raw, out, options)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; '{out}' is as it was before") from error
    _tell_findings(result)
    _print_json(result) if as_json else _print_tables(result)
    return EXIT_FINDINGS if strict and result.findings else EXIT_OK


def _check_paths(raw: list[Path], folds: Path | None) -> None:
    for folder in raw:
        if not folder.is_dir():
            kind = "is a file, not a folder" if folder.exists() else "does not exist; check the path"
            raise InputError(f"the raw folder '{folder}' {kind}")
    if folds is not None and not folds.is_file():
        raise InputError(f"--folds: there is no file '{folds}'")


def _source_options(raw: list[Path], said: dict[str, list[str]]) -> dict[str, SourceOptions]:
    """Every source's options: what was said for it alone (`SOURCE:VALUE`), else what was said for all."""
    from defectctl.formats.merge import source_handles, split_source
    from defectctl.formats.prepare import SourceOptions

    handles = source_handles(raw)
    values: dict[tuple[str | None, str], str] = {}
    for option, texts in said.items():
        for text in texts:
            source, value = split_source(text, handles)
            if (source, option) in values:
                whom = f" for '{source}'" if source else "; for one of several folders write RAW:VALUE"
                raise InputError(f"{option} is given twice{whom}")
            values[source, option] = value
            _check_head(option, text, source, handles)

    def value_of(handle: str, option: str) -> str | None:
        return values.get((handle, option), values.get((None, option)))

    return {
        handle: SourceOptions(
            value_of(handle, "--format"),
            _read_options(*(value_of(handle, option) for option in ("--classes", "--classes-from", "--mask-values"))),
        )
        for handle in handles
    }


def _check_head(option: str, text: str, source: str | None, handles: list[str]) -> None:
    """`SOURCE:VALUE` with an unknown source, where no value can have a colon."""
    head, colon, _ = text.partition(":")
    if colon and source is None and option in ("--format", "--classes-from"):
        hint = nearest(head, handles)
        raise InputError(f"{option} {text}: no RAW folder is called '{head}'{hint} (called: {', '.join(handles)})")


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
    knows_masks = any(row["pixel_share"] is not None for row in result.classes)
    return f"defectctl train --preset {'quick' if knows_masks else 'yolov5s'} --data {quoted}"


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
    if result.folds:
        rows = [[name, *(_part_cell(row) for row in parts)] for name, parts in result.fold_parts.items()]
        print_table(["split", "train (good)", "val (good)", "test (good)"], rows)
    print(f"dataset: {dataset.root}")
    print(f"next: {_next_command(result)}")


def _part_cell(row: dict[str, Any]) -> str:
    return f"{row['images']} ({row['good']})"


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
            "folds": [
                {"name": split.name, "maker": split.maker, "parts": result.fold_parts[split.name]}
                for split in result.folds
            ],
            "notes": result.notes,
            "findings": [
                {"file": f.file, "problem": f.problem, "left_out": f.dropped, "text": f.text} for f in result.findings
            ],
            "next": _next_command(result),
        }
    )
