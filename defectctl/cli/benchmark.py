"""`defectctl benchmark`: what a model costs and how fast it is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from defectctl.errors import InputError
from defectctl.messages import say, set_quiet

DEFAULT_CLASSES = 3
"""Defect classes of a preset's network where nothing is said; 1 for networks that judge whole parts."""

MIN_SIDE, MAX_SIDE = 32, 8192
"""Sides of the network's input that `--size` takes, in pixels."""


def command(
    preset: Annotated[
        str | None, typer.Option("--preset", help="Preset, by name or file; measured with random weights.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Weights file or run of a trained model.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Change a value of the preset, e.g. model.context=aspp.")
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes", min=1, max=254, help="Defect classes of a preset; default: 3, or 1 where a verdict is learned."
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="512 or HEIGHTxWIDTH; default: the preset's input.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Batch of the images per second.")] = 8,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Timed runs, after the warm-up.")] = 30,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, float32, bf16 or fp16.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads that compute on the CPU; default: cores less one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages, only warnings and the result.")] = False,
) -> None:
    """Count a model's parameters and operations and time it, network only, data in memory.

    Without --preset and --model: the newest finished run below ./runs.

    Example: defectctl benchmark --preset sme-deeplab --size 224 --threads 2
    """
    set_quiet(quiet)
    if preset is not None and model is not None:
        raise InputError("give --preset or --model, not both")
    if preset is None and overrides:
        raise InputError("--set changes a preset; name one with --preset")
    from defectctl.inference.device import check_device_name, check_precision_name

    check_device_name(device)
    check_precision_name(precision)
    wanted = None if size is None else parse_size(size)
    subject, load = _subject(preset, model, overrides or [], classes)

    from defectctl.benchmark.speed import Settings, measure_speed
    from defectctl.inference.device import choose_device, choose_precision, set_threads

    place = choose_device(device)
    set_threads(threads, place)
    network, network_input, name = load(place)
    settings = Settings(batch_size, repeat, wanted)
    result = measure_speed(network, network_input, place, choose_precision(place, precision), settings)
    report({**subject, "network": name, **result}, as_json)


def parse_size(text: str) -> tuple[int, int]:
    """Read `512` or `HEIGHTxWIDTH` as (height, width).

    Raises:
        InputError: anything else, or a side that is not MIN_SIDE..MAX_SIDE.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise InputError(f"--size '{text}' is not a size; write 512 or HEIGHTxWIDTH, e.g. 512x1408")
    height, width = int(sides[0]), int(sides[-1])
    if not MIN_SIDE <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise InputError(f"--size '{text}': sides go from {MIN_SIDE} to {MAX_SIDE} pixels")
    return height, width


def _subject(
    preset: str | None, model: str | None, overrides: list[str], classes: int | None
) -> tuple[dict[str, Any], Any]:
    """Check what is to be measured before torch is imported; return its description and a function that loads it."""
    if preset is None:
        from defectctl.checkpoints.runs import find_model
        from defectctl.checkpoints.weights import read_contract

        path, why = find_model(model)
        contract = read_contract(path)
        contract.preset_config()
        if classes is not None:
            raise InputError("--classes is for --preset; a trained model has its own")
        say(f"model: {path} ({why})")

        def load_file(device: Any) -> Any:
            from defectctl.benchmark.speed import load_trained

            return load_trained(path, device)

        return {"preset": None, "model": str(path), "classes": len(contract.classes)}, load_file

    from defectctl.config.presets import load_preset
    from defectctl.models.registry import check_model, find_entry

    chosen = load_preset(preset, overrides)
    check_model(chosen.model)
    judges = "decision" in find_entry(chosen.model.name).tasks
    count = classes or (1 if judges else DEFAULT_CLASSES)

    def build(device: Any) -> Any:
        from defectctl.benchmark.speed import build_untrained

        return build_untrained(chosen, count).to(device), chosen.input, chosen.model.name

    return {"preset": chosen.name, "model": None, "classes": count}, build


def report(result: dict[str, Any], as_json: bool) -> None:
    """Print what was measured: one JSON document, or a table and a remark where the machine was not quiet."""
    from defectctl.cli.tables import print_json, print_table

    if as_json:
        print_json(result)
        return
    height, width = result["size"]
    title = (
        f"{result['preset'] or result['model']}: {result['network']}, {height}x{width}, {result['device']}, "
        f"{result['precision']}, {result['threads']} thread(s), {result['classes']} class(es)"
    )
    print_table(["measure", "value", "meaning"], table_rows(result), title)
    if result["noisy"]:
        say("noisy machine: the times spread widely; compare figures only from a quiet one, or raise --repeat")


def table_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the table: name, value with unit, meaning."""
    latency, throughput, flops = result["latency_ms"], result["throughput"], result["flops"]
    rows = [
        ("parameters", f"{result['parameters'] / 1e6:.3f} M", f"{result['parameters']:,}"),
        ("FLOPs", "-" if flops is None else f"{flops / 1e9:.3f} G", result["flops_convention"]),
        *(
            (f"latency {key}", f"{latency[key]:.1f} ms", f"one image, {latency['runs']} runs after a warm-up")
            for key in ("p50", "p95", "p99")
        ),
        (
            "images/s",
            f"{throughput['images_per_second']:.1f}",
            f"batch {throughput['batch_size']}, median of {throughput['runs']} runs",
        ),
        (
            "spread",
            f"{100 * latency['spread']:.0f} % / {100 * throughput['spread']:.0f} %",
            "quartile distance over median: latency / batch",
        ),
    ]
    if result["peak_memory_mb"] is not None:
        rows.append(("peak memory", f"{result['peak_memory_mb']:.0f} MB", "CUDA memory allocated by tensors"))
    return rows
