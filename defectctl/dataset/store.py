"""Reading a dataset from disk: `dataset.yaml` first, then everything whose hash it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from defectctl import fileio
from defectctl.dataset.locate import find_dataset
from defectctl.dataset.records import class_from_dict, samples_from_text, source_from_dict
from defectctl.dataset.splits import split_fingerprint
from defectctl.dataset.types import Dataset, Split
from defectctl.dataset.writer import FORMAT, HEADER, OLD_FOLDER, SAMPLES, DatasetWriter
from defectctl.errors import InputError, nearest

__all__ = ["DatasetWriter", "find_dataset", "load_dataset", "load_split"]


def load_dataset(root: Path) -> Dataset:
    """Read and check a dataset; images and masks are not opened.

    Raises:
        InputError: the folder is missing, no dataset, incomplete (a hash disagrees) or of a newer format.
    """
    header = _read_header(root)
    text = _checked_text(root, header, SAMPLES)
    try:
        samples = samples_from_text(text) if text else []
        sources = {name: source_from_dict(name, values) for name, values in header["sources"].items()}
        return Dataset(
            root=root,
            name=header["name"],
            classes=[class_from_dict(c) for c in header["classes"]],
            samples=samples,
            sources=sources,
            fingerprint=header["fingerprint"],
            splits=_split_names(header),
            default_split=header["default_split"],
            counts=header.get("counts") or {},
            made_from=header.get("made_from"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"the dataset '{root}' is damaged ({type(error).__name__}: {error}); prepare it again with --replace"
        ) from error


def load_split(dataset: Dataset, name: str | None = None) -> Split:
    """Read one split; None takes the dataset's default.

    Raises:
        InputError: no split of this name, or its file is damaged.
    """
    name = name or dataset.default_split
    if name not in dataset.splits:
        known = ", ".join(dataset.splits) or "none"
        raise InputError(
            f"the dataset '{dataset.root}' has no split '{name}'{nearest(name, dataset.splits)} (splits: {known})"
        )
    path = f"splits/{name}.json"
    _checked_text(dataset.root, _read_header(dataset.root), path)
    values = fileio.read_json(dataset.root / path, "the split")
    try:
        parts = {part: list(ids) for part, ids in values["parts"].items()}
        return Split(name, values["maker"], values["seed"], parts, split_fingerprint(parts))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the split '{dataset.root / path}' is damaged: {error}") from error


def _read_header(root: Path) -> dict[str, Any]:
    if not root.exists():
        raise InputError(f"the dataset folder '{root}' does not exist; `defectctl prepare RAW --out {root}` makes one")
    if not root.is_dir():
        raise InputError(f"'{root}' is a file, not a dataset folder")
    path = root / HEADER
    if not path.is_file():
        raise InputError(_why_no_header(root))
    import yaml

    try:
        header = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"'{path}' cannot be read as YAML: {' '.join(str(error).split())}") from error
    number = header.get("format") if isinstance(header, dict) else None
    if not isinstance(number, int):
        raise InputError(f"'{path}' is no defectctl dataset: it states no format number")
    if number > FORMAT:
        raise InputError(
            f"the dataset '{root}' has format {number}, newer than this defectctl knows ({FORMAT}); update defectctl"
        )
    return header


def _why_no_header(root: Path) -> str:
    old = root / OLD_FOLDER
    if (old / HEADER).is_file():
        return f"the dataset '{root}' was being replaced when the machine stopped; the former one is in '{old}'"
    if (root / SAMPLES).exists() or ((root / "images").is_dir() and (root / "splits").is_dir()):
        return f"the dataset '{root}' is incomplete: it has no {HEADER}; prepare it again"
    return f"'{root}' is no dataset (no {HEADER} in it); `defectctl prepare {root} --out DIR` makes one of a raw folder"


def _checked_text(root: Path, header: dict[str, Any], name: str) -> str:
    """The text of a file whose hash stands in the header."""
    try:
        data = (root / name).read_bytes()
    except OSError as error:
        raise InputError(f"the dataset '{root}' is incomplete: '{name}' cannot be read; prepare it again") from error
    files = header.get("files")
    if not isinstance(files, dict) or files.get(name) != fileio.sha256_bytes(data):
        raise InputError(
            f"the dataset '{root}' is incomplete or was changed by hand: '{name}' is not the file that {HEADER} names;"
            " prepare it again with --replace"
        )
    return data.decode("utf-8", errors="replace")


def _split_names(header: dict[str, Any]) -> list[str]:
    return sorted(name[len("splits/") : -len(".json")] for name in header["files"] if name.startswith("splits/"))
