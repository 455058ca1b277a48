"""Writing a dataset so that it is whole or absent: everything into a hidden folder first, `dataset.yaml` last."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from defectctl import fileio
from defectctl.dataset.ids import check_id
from defectctl.dataset.records import class_to_dict, dataset_fingerprint, sample_to_line, source_to_dict
from defectctl.dataset.types import MAX_CLASSES, ClassInfo, Dataset, Sample, Source, Split
from defectctl.errors import InputError
from defectctl.version import __version__

FORMAT = 1
HEADER = "dataset.yaml"
SAMPLES = "samples.jsonl"
FINDINGS = "findings.csv"
REPORT = "report.html"
STAGING_FOLDER = ".defectctl-new"
"""Where a dataset is written before it is whole."""
OLD_FOLDER = ".defectctl-old"
"""Where the former dataset stands for the moment in which a new one takes its place."""

_ENTRIES = (HEADER, SAMPLES, FINDINGS, REPORT, "images", "masks", "instances", "splits")
_LEFTOVERS = (STAGING_FOLDER, OLD_FOLDER, ".lock")


def check_target(root: Path, replace: bool) -> None:
    """Refuse a folder that a new dataset must not be written to.

    Raises:
        InputError: it is a file, holds a dataset (and `replace` is false), or holds files of others.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"'{root}' is a file; choose a folder for the dataset")
    names = {entry.name for entry in root.iterdir()} if root.exists() else set()
    if HEADER in names:
        if not replace:
            raise InputError(f"'{root}' already holds a dataset; choose another --out, or give --replace")
        return
    if OLD_FOLDER in names and (root / OLD_FOLDER / HEADER).is_file():
        raise InputError(
            f"replacing the dataset in '{root}' was cut short; the former one is in '{root / OLD_FOLDER}':"
            " move its contents back, or delete the folder"
        )
    foreign = sorted(name for name in names if name not in _LEFTOVERS and not name.endswith(fileio.TEMPORARY_SUFFIX))
    if foreign:
        raise InputError(f"'{root}' is not empty ('{foreign[0]}' is in it); choose an empty or a new folder")


class DatasetWriter:
    """Writes one dataset; use as a context manager. Leaving it without `finish` leaves nothing behind.

    Args:
        root: the dataset's folder, made if missing.
        classes: defect classes in order of their index (1 first).
        sources: name -> Source; entries may be exchanged until `finish` (the pixel rule is known late).
        replace: whether a dataset that is already there makes way, once the new one is whole.
        made_from: signature of what it is made from, or None.

    `add` may be called from several threads at once.

    Raises:
        InputError: see `check_target`; or more classes than a mask can hold; or another writer is at work.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        classes: list[ClassInfo],
        sources: dict[str, Source],
        replace: bool = False,
        made_from: str | None = None,
    ) -> None:
        if len(classes) > MAX_CLASSES:
            raise InputError(f"{len(classes)} classes are more than a mask can hold ({MAX_CLASSES})")
        self.root = root
        self.name = name
        self.classes = classes
        self.sources = sources
        self.replace = replace
        self.made_from = made_from
        self._samples: dict[str, Sample] = {}
        self._lock = Lock()
        self._stack = ExitStack()
        self._made: list[Path] = []
        self._finished = False

    @property
    def staging(self) -> Path:
        """Folder in which the dataset stands until `finish`."""
        return self.root / STAGING_FOLDER

    def __enter__(self) -> DatasetWriter:
        check_target(self.root, self.replace)
        self._made = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        try:
            self._stack.enter_context(fileio.folder_lock(self.root, "the dataset"))
            check_target(self.root, self.replace)
            for leftover in (self.staging, self.root / OLD_FOLDER):
                if leftover.exists():
                    shutil.rmtree(leftover)
            self.staging.mkdir()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def add(
        self,
        sample: Sample,
        image_bytes: bytes | None,
        mask_bytes: bytes | None = None,
        instances: list[dict[str, Any]] | None = None,
        link_to: Path | None = None,
    ) -> Sample:
        """Write one sample's files and keep its record; its `image`, `mask` and `mask_sha256` are filled in here.

        Args:
            sample: its `sha256` and size are the caller's to state.
            image_bytes: the image file as it is, or None with `link_to`.
            mask_bytes: PNG of class indices, or None.
            instances: one `{"label", "crowd", "rle": {"size": [h, w], "counts": str}}` per object, in their order.
            link_to: an image file that stays where it is; its path is recorded, relative where that is possible.

        Raises:
            InputError: the id is unsafe as a path, or taken (case does not count).
        """
        check_id(sample.id)
        with self._lock:
            if sample.id.casefold() in self._samples:
                raise InputError(f"two samples have the id '{sample.id}' (upper and lower case are the same)")
            self._samples[sample.id.casefold()] = sample
        if link_to is not None:
            sample.image = _link(self.root, link_to)
        elif image_bytes is None:
            raise ValueError(f"sample '{sample.id}' has neither image bytes nor a link")
        else:
            sample.image = f"images/{sample.id}"
            self._write(sample.image, image_bytes)
        sample.mask = sample.mask_sha256 = None
        if mask_bytes is not None:
            sample.mask, sample.mask_sha256 = f"masks/{sample.id}.png", fileio.sha256_bytes(mask_bytes)
            self._write(sample.mask, mask_bytes)
        if instances is not None:
            text = json.dumps(instances, ensure_ascii=False, allow_nan=False)
            self._write(f"instances/{sample.id}.json", text.encode("utf-8"))
        return sample

    def image_path(self, sample: Sample) -> Path:
        """Where an added sample's image lies until `finish`."""
        written = self.staging / "images" / sample.id
        return written if sample.image == f"images/{sample.id}" else self.root / sample.image

    def write_findings(self, text: str) -> None:
        """Put `findings.csv` beside the samples."""
        self._write(FINDINGS, text.encode("utf-8"))

    def finish(self, splits: list[Split], default_split: str, counts: dict[str, Any]) -> Dataset:
        """Write samples, splits and, as the last act, `dataset.yaml`; only now does the dataset exist.

        Raises:
            InputError: there is no sample, or a split names an id that was not added.
        """
        samples = sorted(self._samples.values(), key=lambda sample: sample.id)
        if not samples:
            raise InputError(f"no sample was added to the dataset '{self.root}'")
        _check_splits(splits, default_split, {sample.id for sample in samples})
        files = {SAMPLES: "".join(sample_to_line(sample) + "\n" for sample in samples)}
        for split in splits:
            values = {"maker": split.maker, "seed": split.seed, "parts": split.parts}
            files[f"splits/{split.name}.json"] = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
        for name, text in files.items():
            fileio.write_text(self.staging / name, text)
        fingerprint = dataset_fingerprint(self.classes, samples, self.sources)
        header = {
            "format": FORMAT,
            "name": self.name,
            "tool": f"defectctl {__version__}",
            "classes": [class_to_dict(info) for info in self.classes],
            "sources": {name: source_to_dict(source) for name, source in self.sources.items()},
            "default_split": default_split,
            "counts": counts,
            **({"made_from": self.made_from} if self.made_from else {}),
            "fingerprint": fingerprint,
            "files": {name: fileio.sha256_bytes(text.encode("utf-8")) for name, text in files.items()},
        }
        self._commit(header)
        return Dataset(
            self.root,
            self.name,
            self.classes,
            samples,
            self.sources,
            fingerprint,
            sorted(split.name for split in splits),
            default_split,
            counts,
            self.made_from,
        )

    def _write(self, name: str, data: bytes) -> None:
        # No temporary name and no flush per file: the staging folder is the temporary name of them all.
        path = self.staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def _commit(self, header: dict[str, Any]) -> None:
        """Exchange the former dataset for the new one by renames; on failure the former one is put back."""
        import yaml

        text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
        old = self.root / OLD_FOLDER
        moved: list[tuple[Path, Path]] = []
        try:
            if (self.root / HEADER).exists():
                old.mkdir()
                _move(self.root, old, moved)
            _move(self.staging, self.root, moved)
            fileio.write_text(self.root / HEADER, text)
        except BaseException:
            for source, target in reversed(moved):
                os.replace(target, source)
            if old.exists():
                old.rmdir()
            raise
        self._finished = True
        shutil.rmtree(old, ignore_errors=True)

    def _leave(self) -> None:
        if self.staging.exists():
            shutil.rmtree(self.staging, ignore_errors=True)
        self._stack.close()
        if not self._finished:
            for folder in self._made:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def _link(root: Path, target: Path) -> str:
    target = target.resolve()
    try:
        return Path(os.path.relpath(target, root.resolve())).as_posix()
    except ValueError:  # another drive on Windows: no relative path exists
        return target.as_posix()


def _move(source: Path, target: Path, moved: list[tuple[Path, Path]]) -> None:
    # The header comes first in _ENTRIES: a dataset that is being taken apart must not look whole.
    for name in _ENTRIES:
        if (source / name).exists():
            os.replace(source / name, target / name)
            moved.append((source / name, target / name))


def _check_splits(splits: Iterable[Split], default_split: str, ids: set[str]) -> None:
    if default_split not in {split.name for split in splits}:
        raise InputError(f"the default split '{default_split}' is not among the splits")
    for split in splits:
        check_id(split.name)
        seen: set[str] = set()
        for part, members in split.parts.items():
            strangers = [i for i in members if i not in ids]
            twice = [i for i in members if i in seen]
            if strangers or twice:
                why = "which is not in the dataset" if strangers else "which another part has too"
                raise InputError(f"part '{part}' of split '{split.name}' names '{(strangers or twice)[0]}', {why}")
            seen.update(members)
