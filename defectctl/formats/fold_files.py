"""Files that say which images or groups are tested in which fold of a cross-validation: JSON or CSV."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from defectctl.dataset.folds import FoldPlan
from defectctl.dataset.ids import check_id
from defectctl.errors import InputError, nearest
from defectctl.formats.readers.names import decode_text

_POSITIVES = re.compile(r"train_(\d+)_positives")
_FORMS = '{"fold-0": ["part1", …], …}, {"test": [[1, 2], [3, 4], …]} or CSV lines `id,fold`'

Entries = list[str]
"""Ids, group names, or the numbers that group names end with."""


def read_fold_file(path: Path) -> tuple[dict[str, Entries], dict[str, tuple[str, Entries]]]:
    """Read a fold file; what its entries mean is left to `plan_folds`.

    JSON is either fold name -> entries, or `test`: one list of entries a fold, beside which `train_N_positives` may
    give, again one list a fold, the groups whose defective images alone may train. CSV has a line `id,fold` for
    each image or group.

    Returns:
        Fold name -> entries of its test part, and split name -> (fold name, entries whose defects train).

    Raises:
        InputError: the file is missing or not of these forms.
    """
    try:
        text = decode_text(path.read_bytes())
    except OSError as error:
        raise InputError(f"--folds: '{path}' cannot be read: {error.strerror or error}") from error
    if path.suffix.lower() in (".csv", ".txt"):
        return _from_csv(path, text), {}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError(f"--folds: '{path}' is not readable as JSON ({error}); write {_FORMS}") from error
    if not isinstance(values, dict):
        raise _wrong(path, "it is no object")
    if isinstance(values.get("test"), list) and all(isinstance(entry, list) for entry in values["test"]):
        return _from_lists(path, values)
    folds = {_fold_name(key): _entries(path, key, value) for key, value in values.items() if isinstance(value, list)}
    if not folds:
        raise _wrong(path, "it holds no list")
    return folds, {}


def _from_lists(path: Path, values: dict[str, Any]) -> tuple[dict[str, Entries], dict[str, tuple[str, Entries]]]:
    folds = {f"fold-{number}": _entries(path, "test", entry) for number, entry in enumerate(values["test"])}
    positives = {}
    for key, lists in values.items():
        match = _POSITIVES.fullmatch(key)
        if not match:
            continue
        if not isinstance(lists, list) or len(lists) != len(folds):
            raise _wrong(path, f"'{key}' needs one list for each of the {len(folds)} folds")
        for fold, entry in zip(folds, lists, strict=True):
            positives[f"{fold}-positives-{match.group(1)}"] = (fold, _entries(path, key, entry))
    return folds, positives


def _from_csv(path: Path, text: str) -> dict[str, Entries]:
    folds: dict[str, Entries] = defaultdict(list)
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and [cell.casefold() for cell in cells[1:2]] == ["fold"]):
            continue
        if len(cells) != 2 or not all(cells):
            raise _wrong(path, f"line {number} is not `id,fold`")
        folds[_fold_name(cells[1])].append(cells[0])
    if not folds:
        raise _wrong(path, "it holds no line")
    return dict(sorted(folds.items()))


def _fold_name(key: str) -> str:
    return f"fold-{int(key)}" if key.isdecimal() else key


def _entries(path: Path, key: str, value: Any) -> Entries:
    if not isinstance(value, list) or not all(isinstance(v, (str, int)) and not isinstance(v, bool) for v in value):
        raise _wrong(path, f"'{key}' must list names or numbers")
    if not value:
        raise _wrong(path, f"'{key}' has an empty list")
    return [str(v) for v in value]


def _wrong(path: Path, why: str) -> InputError:
    return InputError(f"--folds: '{path}' says nothing of folds, {why}; write {_FORMS}")


def plan_folds(path: Path, ids: Iterable[tuple[str, str | None]]) -> tuple[FoldPlan, list[str]]:
    """Read a fold file and look its entries up.

    An entry is a sample's id, else a group's name, else the number that one group's name ends with (2 is `kos02`).

    Args:
        ids: (sample id, group) of all samples.

    Returns:
        The plan, and notes: samples that no fold tests.

    Raises:
        InputError: an entry means nothing here or is in two folds, a fold would cut a group, or a group that may
            train is tested in the same fold.
    """
    folds, positives = read_fold_file(path)
    find = _Lookup(path, list(ids))
    plan = FoldPlan({name: find.all_of(entries) for name, entries in folds.items()})
    tested: dict[str, str] = {}
    for name, members in plan.tests.items():
        _check_name(path, name)
        for member in members:
            if tested.setdefault(member, name) != name:
                raise InputError(f"--folds: '{path}' puts '{member}' into {tested[member]} and into {name}")
    find.refuse_cut_groups(tested)
    for name, (fold, entries) in positives.items():
        members = find.all_of(entries)
        inside = sorted(set(members) & set(plan.tests[fold]))
        if inside:
            raise InputError(f"--folds: '{path}' lets '{inside[0]}' train in {name}, but {fold} tests it")
        plan.positives[name] = (fold, members)
    untested = len(find.by_id) - len(tested)
    notes = [f"images that no fold tests: {untested}; they train in every fold"] if untested else []
    return plan, notes


def _check_name(path: Path, name: str) -> None:
    check_id(name)
    if "/" in name or name in ("random", "official"):
        raise InputError(f"--folds: '{path}' calls a fold '{name}'; choose a name like fold-0")


class _Lookup:
    """From what a fold file says to sample ids."""

    def __init__(self, path: Path, ids: list[tuple[str, str | None]]) -> None:
        self.path = path
        self.by_id = dict(ids)
        self.groups: dict[str, list[str]] = defaultdict(list)
        for sample_id, group in ids:
            if group is not None:
                self.groups[group].append(sample_id)
        self.numbers: dict[int, list[str]] = defaultdict(list)
        for group in self.groups:
            if match := re.search(r"(\d+)$", group):
                self.numbers[int(match.group(1))].append(group)

    def all_of(self, entries: Entries) -> list[str]:
        """Ids of all entries, sorted."""
        missing = [entry for entry in entries if self._one(entry) is None]
        if missing:
            raise self._unknown(missing)
        return sorted({i for entry in entries for i in self._one(entry) or []})

    def _one(self, entry: str) -> list[str] | None:
        if entry in self.by_id:
            return [entry]
        if entry in self.groups:
            return self.groups[entry]
        named = self.numbers.get(int(entry), []) if entry.isdecimal() else []
        if len(named) > 1:
            raise InputError(
                f"--folds: {entry} in '{self.path}' can be group '{named[0]}' or '{named[1]}'; write names"
            )
        return self.groups[named[0]] if named else None

    def _unknown(self, missing: Entries) -> InputError:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        if not self.groups:
            hint = "; there are no groups: --group-by makes them from the ids"
        else:
            known = sorted(self.groups)
            hint = nearest(missing[0], [*known, *self.by_id]) or f"; groups are {known[0]} … {known[-1]}"
        return InputError(f"--folds: '{self.path}' names {shown}, which is no id and no group{hint}")

    def refuse_cut_groups(self, tested: dict[str, str]) -> None:
        """A group must lie in one fold wholly."""
        for group, members in self.groups.items():
            homes = {tested.get(member) for member in members}
            if len(homes) > 1:
                raise InputError(f"--folds: '{self.path}' cuts the group '{group}': name it whole")
