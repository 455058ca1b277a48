"""`defectctl predict`: images to masks, boxes and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defectctl.errors import EXIT_DEFECTS, EXIT_FINDINGS, EXIT_INTERRUPTED, EXIT_OK, InputError
from defectctl.fileio import check_writable
from defectctl.imaging.limits import MAX_MPX, let_opencv_decode
from defectctl.messages import counter, say, set_quiet

if TYPE_CHECKING:
    from defectctl.inference.options import PredictOptions
    from defectctl.inference.predict import Summary
    from defectctl.inference.sources import InputFile
    from defectctl.inference.watch import WatchOptions

Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT", help="Images, folders, glob patterns; - reads a list of paths from stdin."),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results; keeps the inputs' sub-folders.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="Weights file, exported model.onnx, or run; default: $DEFECTCTL_MODEL, else the newest run."
    ),
]
Write = Annotated[
    str, typer.Option("--write", help="What to write, with commas: masks, overlays, defect-maps, csv, coco, summary.")
]
Recursive = Annotated[
    bool, typer.Option("--recursive/--no-recursive", help="Whether to walk into the sub-folders of a folder.")
]
Threshold = Annotated[
    str | None,
    typer.Option("--threshold", help="Image score from which a part is NG; 0.4,0.7: UNSURE from 0.4, NG from 0.7."),
]
MinArea = Annotated[
    int | None, typer.Option("--min-area", min=0, help="Smallest defect in pixels; default: the model's.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str, typer.Option("--precision", help="auto, float32, bf16 or fp16.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads that compute on the CPU; default: cores less one.")
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Images at once; default: by preset and device.")
]
SkipDone = Annotated[
    bool | None,
    typer.Option(
        "--skip-done/--replace",
        help="Go on with an earlier run in OUT, or start anew; default: anew, but with --watch on.",
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many images of the list.")]
MaxMpx = Annotated[
    float, typer.Option("--max-mpx", min=0.001, help="Million pixels of the largest image that is decoded.")
]
Watch = Annotated[
    Path | None, typer.Option("--watch", help="Predict what comes into this folder until stopped, in place of INPUT.")
]
MoveDone = Annotated[
    Path | None, typer.Option("--move-done", help="With --watch: folder that inputs go to once their row is written.")
]
Interval = Annotated[float, typer.Option("--interval", min=0.01, help="With --watch: seconds between two looks.")]
Settle = Annotated[
    float, typer.Option("--settle", min=0.0, help="With --watch: seconds that a file must stay as it is to be read.")
]
Patience = Annotated[
    float,
    typer.Option("--patience", min=0.0, help="With --watch: seconds until a file that stays unreadable is given up."),
]
FailOnDefect = Annotated[bool, typer.Option("--fail-on-defect", help="Exit with 4 where any part is NG or UNSURE.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages and no progress, only warnings and results.")]


def command(
    out: Out,
    inputs: Inputs = None,
    model: Model = None,
    write: Write = "masks",
    recursive: Recursive = True,
    threshold: Threshold = None,
    min_area: MinArea = None,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    batch_size: BatchSize = None,
    skip_done: SkipDone = None,
    limit: Limit = None,
    max_mpx: MaxMpx = MAX_MPX,
    watch: Watch = None,
    move_done: MoveDone = None,
    interval: Interval = 0.1,
    settle: Settle = 0.1,
    patience: Patience = 30.0,
    fail_on_defect: FailOnDefect = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Predict masks, boxes and verdicts of images, as far as the model delivers them.

    Writes an index mask (palette PNG, in the pixels of the image after its EXIF orientation) for each image and one
    row for each in OUT/predictions.jsonl, with its defects, boxes, score and verdict. An image that cannot be read
    gets a row and exit code 3 at the end.

    Example: defectctl predict images/ --out masks/ --write masks,overlays
    """
    from defectctl.checkpoints.runs import find_model
    from defectctl.checkpoints.weights import read_contract
    from defectctl.inference.device import check_device_name, check_precision_name
    from defectctl.inference.options import PredictOptions, of_image, of_tables, parse_kinds, parse_threshold
    from defectctl.inference.sources import list_inputs

    set_quiet(quiet)
    let_opencv_decode(max_mpx)
    check_device_name(device)
    check_precision_name(precision)
    kinds = parse_kinds(write)
    options = PredictOptions(
        of_image(kinds),
        parse_threshold(threshold),
        min_area,
        batch_size,
        watch is not None if skip_done is None else skip_done,
        tables=of_tables(kinds),
        max_mpx=max_mpx,
    )
    check_writable(out, "the results folder")
    if watch is None:
        watched = None
        if move_done is not None:
            raise InputError("--move-done goes with --watch DIR")
        if not inputs:
            raise InputError("no INPUT is given; name images or folders, or a folder to --watch")
        files = list_inputs(inputs, out, recursive)[:limit]
    else:
        if inputs or limit:
            raise InputError("--watch DIR takes the place of INPUT and knows no --limit; leave them out")
        from defectctl.inference.watch import WatchOptions, check_places

        watched = WatchOptions(watch, move_done, recursive, interval, settle, patience)
        check_places(watched, out)
        files = []
    path, why = find_model(model)
    read_contract(path).preset_config()
    say(f"model: {path} ({why})")

    summary, used = _predict(files, watched, out, path, options, device, precision, threads)
    _report(summary, {"model": str(path), "why": why, "out": str(out), **used}, as_json)
    if used.get("stopped_by", "").startswith("SIG"):
        raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(_exit_code(summary, fail_on_defect))


def _predict(
    files: list[InputFile],
    watched: WatchOptions | None,
    out: Path,
    path: Path,
    options: PredictOptions,
    device: str,
    precision: str,
    threads: int | None,
) -> tuple[Summary, dict[str, Any]]:
    """Load the model, fill in what the user left to it, and predict; also return the settings that were used."""
    import cv2

    from defectctl.inference.abilities import tasks_of, thresholds_in_force, warn_of_other_use
    from defectctl.inference.load import open_runner
    from defectctl.inference.predict import predict_files

    runner, contract = open_runner(path, device, precision, threads, options.batch_size)
    cv2.setNumThreads(1)  # images are already worked on side by side
    warn_of_other_use(contract.calibration, runner.precision, contract.min_area, options)
    tasks = tasks_of(contract)
    box_score = runner.predict.box_score
    options = replace(
        options,
        thresholds=thresholds_in_force(contract.thresholds, tasks, box_score, options.thresholds),
        min_area=contract.min_area if options.min_area is None else options.min_area,
        batch_size=options.batch_size or contract.preset_config().predict.batch_size,
    )
    used: dict[str, Any] = {"device": str(runner.device), "precision": runner.precision, "tasks": list(tasks)}
    if watched is not None:
        from defectctl.inference.watch import watch_folder

        found = watch_folder(watched, out, runner, contract, path, options, _say_row)
        summary = found.summary
        used |= {"stopped_by": found.stopped_by, "moved": found.moved, "waiting": len(found.waiting)}
    else:
        with counter(len(files), "predict") as count:
            summary = predict_files(files, out, runner, contract, path, options, lambda row: count(1))
    return summary, {**used, "thresholds": options.thresholds, "min_area": options.min_area}


def _say_row(row: dict[str, Any]) -> None:
    if row["verdict"] != "UNREADABLE":  # that has been told with its reason
        say(f"{row['file']!r}: {row['verdict']}, score {row['score']:.3f}")


def _report(summary: Summary, settings: dict[str, Any], as_json: bool) -> None:
    from defectctl.cli.tables import print_json, print_table

    rate = summary.images / summary.seconds if summary.seconds > 0 else 0.0
    if as_json:
        verdicts = {name.lower(): count for name, count in summary.verdicts.items()}
        print_json(
            {
                **settings,
                "images": summary.images,
                **verdicts,
                "skipped": summary.skipped,
                "skipped_verdicts": {name.lower(): count for name, count in sorted(summary.earlier.items())},
                "defects": summary.defects,
                "removed_small": summary.removed,
                "seconds": round(summary.seconds, 3),
                "images_per_second": round(rate, 2),
                "unreadable_files": summary.unreadable,
            }
        )
        return
    rows: list[tuple[str, int | str]] = [("images", summary.images), *summary.verdicts.items()]
    if summary.skipped:
        rows.append(("done before", summary.skipped))
    if what := _counted(settings["tasks"]):
        rows += [(f"{what}: {name}", count) for name, count in summary.defects.items()]
    if summary.removed:
        rows.append((f"removed, below {settings['min_area']} pixels", summary.removed))
    typer.echo(f"results in {settings['out']}, {rate:.1f} images/s")
    print_table(["", "count"], rows)


def _counted(tasks: Sequence[str]) -> str | None:
    """What a summary counts by class: outlined defects, boxes where there are no masks, nothing without either."""
    if "segmentation" in tasks:
        return "defects"
    return "boxes" if "detection" in tasks else None


def _exit_code(summary: Summary, fail_on_defect: bool) -> int:
    """What the command ends with; parts that an earlier run found defective count as well."""
    found = Counter(summary.verdicts) + summary.earlier
    if fail_on_defect and found["NG"] + found["UNSURE"]:
        return EXIT_DEFECTS
    return EXIT_FINDINGS if summary.verdicts["UNREADABLE"] else EXIT_OK
