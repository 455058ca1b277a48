"""`defectctl export`: a trained model to one ONNX file that predicts without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defectctl.errors import InputError
from defectctl.fileio import check_writable
from defectctl.messages import say, set_quiet

if TYPE_CHECKING:
    from defectctl.export.export import Exported


def command(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Weights file or run; default: $DEFECTCTL_MODEL, else the newest run."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file, ending in .onnx; default: model.onnx beside the weights.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Dataset to try the file on, its validation part; default: generated surfaces."),
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Images of the dataset that it is tried on.")] = 32,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads that compute; default: cores less one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages, only warnings and the result.")] = False,
) -> None:
    """Write a trained model as ONNX and check that it predicts what the original predicts.

    The file holds everything that predict needs: network, classes, input, thresholds. It is written only if its masks,
    probabilities and boxes agree with those of PyTorch in float32. Afterwards:

    defectctl predict images/ --out masks/ --model model.onnx

    Example: defectctl export runs/sme-deeplab-001 --out model.onnx --data data
    """
    from defectctl.checkpoints.onnx_file import ONNX_ENDING, is_onnx
    from defectctl.checkpoints.runs import EXPORT_FILE, find_model
    from defectctl.checkpoints.weights import read_contract

    set_quiet(quiet)
    path, why = find_model(model, said_by="MODEL")
    if is_onnx(path):
        raise InputError(f"'{path}' is an exported model already; give the model.safetensors that it was made from")
    read_contract(path).preset_config()
    out = path.with_name(EXPORT_FILE) if out is None else out
    if not is_onnx(out):
        raise InputError(f"--out '{out}' does not end in {ONNX_ENDING}; give a file name such as {EXPORT_FILE}")
    if out.is_dir():
        raise InputError(f"--out '{out}' is a folder; give a file name such as {out / EXPORT_FILE}")
    check_writable(out.parent, "the folder")
    if data is not None:
        from defectctl.dataset.locate import find_dataset

        find_dataset(data)
    say(f"model: {path} ({why})")

    from defectctl.export.export import check_packages, export_model
    from defectctl.inference.device import set_threads

    check_packages()
    set_threads(threads)
    _report(export_model(path, out, data, images), as_json)


def _report(exported: Exported, as_json: bool) -> None:
    from defectctl.cli.tables import print_json, print_table

    if as_json:
        print_json(exported.to_dict())
        return
    parity = exported.parity
    rows: list[tuple[str, str]] = []
    if parity.same_pixels is not None:
        rows.append(("pixels of the same class", f"{parity.same_pixels:.4%}"))
        overlap = "no defect found" if parity.defect_iou is None else f"{parity.defect_iou:.4f}"
        rows.append(("overlap of the defect masks (IoU)", overlap))
    if parity.chance_gap is not None:
        rows.append(("largest difference in probability", f"{parity.chance_gap:.1e}"))
    if parity.boxes is not None:
        share = "no box found" if parity.same_boxes is None else f"{parity.same_boxes:.2%} of {parity.boxes}"
        rows.append(("boxes with their like", share))
    typer.echo(f"{exported.path}: {exported.bytes / 1e6:.1f} MB, agrees with PyTorch")
    print_table([f"tried on {parity.images} images ({exported.tried_on})", ""], rows)
