"""`defectctl prepare`: raw folders of images and annotations to a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defectctl.errors import EXIT_FINDINGS, EXIT_OK, InputError, Interrupted, nearest
from defectctl.messages import set_quiet

if TYPE_CHECKING:
    from defectctl.dataset.types import Dataset
    from defectctl.formats.base import ReadOptions
    from defectctl.formats.prepare import SourceOptions

Raw = Annotated[
    list[Path], typer.Argument(metavar="RAW", help="Folders with images and their annotations; never changed.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the dataset; default: data.")]
Join = Annotated[
    str | None, typer.Option("--join", help="name or content: one photograph in several RAWs becomes one sample.")
]
Maps = Annotated[
    list[str] | None, typer.Option("--map", help="OLD=NEW or RAW:OLD=NEW renames a class; may be repeated.")
]
Format = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="mask-folders, mask-suffix, voc-boxes, voc-masks, coco, labelme, yolo, mvtec, image-folders, label-table"
        " or rle-csv; default: recognised.",
    ),
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
    typer.Option(
        "--mask-values", help='"0=background,1=scratch,255=unknown", "#ff0000=scratch", or a YAML or JSON file of such.'
    ),
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
Resplit = Annotated[bool, typer.Option("--resplit", help="Make a leak-free split 'grouped' beside the folder's own.")]
KFold = Annotated[
    int | None, typer.Option("--kfold", min=2, help="So many folds of our own: splits fold-0, fold-1, …, leak-free.")
]
Calibration = Annotated[
    float,
    typer.Option(
        "--calibration", min=0, max=0.4, help="Share of the images set aside for thresholds, e.g. 0.15: trains nothing."
    ),
]
Parts = Annotated[
    bool,
    typer.Option("--parts", help="Find images that show parts of one another, too (crops, mosaics); takes longer."),
]
Distrust = Annotated[
    bool, typer.Option("--distrust", help="Where a box has hardly any mask in it, make its area unknown in the mask.")
]
To = Annotated[
    str | None, typer.Option("--to", help="coco, voc, yolo or masks: write a prepared dataset for other tools.")
]
SplitName = Annotated[
    str | None, typer.Option("--split", help="With --to: the split whose parts are written; default: the dataset's.")
]
Segment = Annotated[bool, typer.Option("--segment", help="With --to yolo: outlines instead of boxes.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 where any file was left out or is doubtful.")]
Link = Annotated[bool, typer.Option("--link", help="Leave the images where they are instead of copying them.")]
Name = Annotated[str | None, typer.Option("--name", help="The dataset's name; default: that of the --out folder.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the random parts of the split.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the dataset in --out, once the new one is whole.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages, only warnings and the result.")]


def command(
    raw: Raw,
    out: Out = None,
    join: Join = None,
    maps: Maps = None,
    format: Format = None,
    classes: Classes = None,
    classes_from: ClassesFrom = None,
    mask_values: MaskValues = None,
    exclude: Exclude = None,
    group_by: GroupBy = None,
    folds: Folds = None,
    kfold: KFold = None,
    resplit: Resplit = False,
    calibration: Calibration = 0.0,
    parts: Parts = False,
    distrust: Distrust = False,
    to: To = None,
    split: SplitName = None,
    segment: Segment = False,
    strict: Strict = False,
    link: Link = False,
    name: Name = None,
    seed: Seed = 0,
    replace: Replace = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Turn a raw folder of images and labels, or several, into a dataset.

    The layout is recognised: pixel masks beside the images or in folders of their own, COCO, LabelMe, YOLO, VOC,
    MVTec-AD, folders of good and bad images, tables of labels or run-lengths. Every file is checked; what is wrong or
    doubtful is listed with the reason in OUT/findings.csv and shown in OUT/report.html.

    Of several RAWs, `--format`, `--classes`, `--classes-from`, `--mask-values`, `--map` and `--exclude` can be said
    for one: RAW:VALUE, with the folder's name.

    Example: defectctl prepare NEU_Seg --out data/neu --classes inclusion,patches,scratches --resplit

    Example: defectctl prepare NEU-DET SD-900 --out data/mixed --join content --classes-from SD-900:prefix
    --map SD-900:In=inclusion --map SD-900:Pa=patches --map SD-900:Sc=scratches

    Example: defectctl prepare data/neu --to coco --out neu-coco
    """
    set_quiet(quiet)
    _check_paths(raw, folds)
    if to is not None:
        foreign = {"--join": join, "--map": maps, "--format": format, "--classes": classes, "--exclude": exclude}
        foreign |= {"--classes-from": classes_from, "--mask-values": mask_values, "--group-by": group_by}
        foreign |= {"--folds": folds, "--kfold": kfold, "--resplit": resplit, "--calibration": calibration}
        foreign |= {"--parts": parts, "--distrust": distrust}
        foreign |= {"--link": link, "--name": name, "--seed": seed}
        out = _export_folder(raw, out, [option for option, value in foreign.items() if value])
        return _export(raw[0], out, to, split, segment, replace, strict, as_json)
    if split or segment:
        raise InputError(f"{'--split' if split else '--segment'} goes with --to; leave it out")
    from defectctl.formats.prepare import PrepareOptions, prepare
    from defectctl.formats.unchanged import unchanged

    said = {"--format": format, "--classes": classes, "--classes-from": classes_from, "--mask-values": mask_values}
    out = out or Path("data")
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
        parts=parts,
        distrust=distrust,
        resplit=resplit,
        kfold=kfold,
        calibration=calibration,
    )
    if (dataset := unchanged(raw, out, options)) is not None:
        return _tell_unchanged(dataset, strict, as_json)
    try:
        result = prepare(raw, out, options)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; '{out}' is as it was before") from error
    from defectctl.cli.prepare_tell import print_json_document, print_tables, tell_findings

    tell_findings(result)
    print_json_document(result) if as_json else print_tables(result)
    return EXIT_FINDINGS if strict and result.findings else EXIT_OK


def _tell_unchanged(dataset: Dataset, strict: bool, as_json: bool) -> int:
    """The same command on the same files: nothing is to be done, and the exit code is what it was."""
    if as_json:
        from defectctl.cli.tables import print_json

        about = {"name": dataset.name, "fingerprint": dataset.fingerprint, "counts": dataset.counts}
        print_json({"out": str(dataset.root), "unchanged": True, **about})
    else:
        print(f"'{dataset.root}' is up to date: neither the files nor the options have changed since it was prepared")
    return EXIT_FINDINGS if strict and dataset.counts["findings"] else EXIT_OK


def _export_folder(raw: list[Path], out: Path | None, foreign: list[str]) -> Path:
    """The folder for an export; refuses what does not go with one."""
    if len(raw) != 1:
        raise InputError(f"--to takes one prepared dataset, not {len(raw)} folders")
    if foreign:
        raise InputError(f"{foreign[0]} is for raw folders, not for --to; leave it out")
    if out is None:
        raise InputError("--to needs --out, a new folder")
    return out


def _export(
    dataset: Path, out: Path, form: str, split: str | None, segment: bool, replace: bool, strict: bool, as_json: bool
) -> int:
    """Write a prepared dataset for other tools."""
    from defectctl.cli.prepare_tell import print_export, tell_export
    from defectctl.formats.exports.export import export

    try:
        result = export(dataset, out, form, split, replace, segment)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; '{out}' is as it was before") from error
    tell_export(result)
    print_export(result, as_json)
    return EXIT_FINDINGS if strict and result.findings else EXIT_OK


def _check_paths(raw: list[Path], folds: Path | None) -> None:
    for folder in raw:
        if not folder.is_dir():
            kind = (
                "is a file, not a folder; unpack an archive first"
                if folder.exists()
                else "does not exist; check the path"
            )
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
    from defectctl.formats.masks.mask_values import check_class_names, parse_mask_values

    if classes_from not in (None, "prefix", "folder"):
        raise InputError(f"--classes-from takes prefix or folder, not '{classes_from}'")
    names = check_class_names(part.strip() for part in classes.split(",")) if classes is not None else []
    values = parse_mask_values(mask_values) if mask_values is not None else None
    return ReadOptions(tuple(names), classes_from, values)
