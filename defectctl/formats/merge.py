"""Several raw folders made one: how sources are called, which classes are the same, which id a sample gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from defectctl.dataset.ids import safe_id, safe_ids
from defectctl.errors import InputError, nearest
from defectctl.formats.masks.mask_values import check_class_names
from defectctl.formats.one_image import Job
from defectctl.formats.opened import Opened, View


@dataclass(frozen=True, slots=True)
class ClassMap:
    """One `--map`: class `old` is called `new`, in one source or (None) in all."""

    source: str | None
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.source}:{self.old}" if self.source else self.old


def source_handles(roots: Sequence[Path]) -> list[str]:
    """What the sources are called: their folders' names, made unique (case does not count) with `-2`, `-3`, …"""
    taken: set[str] = set()
    handles = []
    for root in roots:
        name = safe_id(root.resolve().name)
        handle, number = name, 1
        while handle.casefold() in taken:
            number += 1
            handle = f"{name}-{number}"
        taken.add(handle.casefold())
        handles.append(handle)
    return handles


def split_source(text: str, handles: Sequence[str]) -> tuple[str | None, str]:
    """Read `SOURCE:VALUE`; the source is None where what stands before the colon is no source's name."""
    head, colon, rest = text.partition(":")
    if colon and head in handles:
        return head, rest
    return None, text


def parse_map(text: str, handles: Sequence[str]) -> ClassMap:
    """Read `OLD=NEW` or `SOURCE:OLD=NEW`.

    Raises:
        InputError: it is neither.
    """
    source, pair = split_source(text, handles)
    old, equals, new = (part.strip() for part in pair.partition("="))
    if not equals or not old or not new:
        raise InputError(f"--map '{text}' is not like OLD=NEW or SOURCE:OLD=NEW")
    return ClassMap(source, old, new)


def unite_classes(sources: Sequence[Opened], maps: Sequence[ClassMap]) -> list[str]:
    """Name and number every source's classes; returns the dataset's, in order of their appearance.

    A class takes the name that a map of its own source gives it, else that of a map of all sources, else its own;
    maps are not chained.

    Raises:
        InputError: a map names a class that is not there, or two names differ in case only.
    """
    _check_maps(sources, maps)
    named = []
    for source in sources:
        rules = {rule.old: rule.new for rule in maps if rule.source is None}
        rules.update({rule.old: rule.new for rule in maps if rule.source == source.handle})
        named.append({own: rules.get(own, own) for own in source.own_classes})
    union = list(dict.fromkeys(name for names in named for name in names.values()))
    spelt: dict[str, str] = {}
    for name in union:
        other = spelt.setdefault(name.casefold(), name)
        if other != name:
            raise InputError(
                f"the classes '{other}' and '{name}' differ in case only; make them one: --map {name}={other}"
            )
    check_class_names(union)
    for source, names in zip(sources, named, strict=True):
        source.number_classes(names, union)
    return union


def _check_maps(sources: Sequence[Opened], maps: Sequence[ClassMap]) -> None:
    seen: dict[tuple[str | None, str], ClassMap] = {}
    for rule in maps:
        if seen.setdefault((rule.source, rule.old), rule).new != rule.new:
            raise InputError(f"--map names '{rule}' twice, with different new names")
        meant = [source for source in sources if rule.source in (None, source.handle)]
        names = sorted({name for source in meant for name in source.own_classes})
        if rule.old not in names:
            where = f"the source '{rule.source}' has" if rule.source else "no source has"
            no = "no class" if rule.source else "a class"
            hint = nearest(rule.old, names) or f" (classes: {', '.join(names)})"
            if rule.source is None and ":" in rule.old:
                hint = f", and no source is called '{rule.old.partition(':')[0]}' (sources: {_handles(sources)})"
            raise InputError(f"--map {rule}={rule.new}: {where} {no} '{rule.old}'{hint}")


def _handles(sources: Sequence[Opened]) -> str:
    return ", ".join(source.handle for source in sources)


def make_jobs(rows: Sequence[tuple[View, ...]], group_by: str | None) -> tuple[list[Job], list[str]]:
    """Give every sample its id and its group; returns the jobs in order of their ids, and notes.

    An id is the path below its source. The ids of a source of which one is taken already (by an earlier source,
    case folded) all begin with the source's name.

    Raises:
        InputError: `group_by` is no regular expression, has no group in parentheses, or matches no id.
    """
    pattern = _group_pattern(group_by)
    notes, taken, wanted = [], set(), {}
    by_source: dict[str, list[tuple[View, ...]]] = {}
    for row in rows:
        by_source.setdefault(row[0].source.name, []).append(row)
    for name, own in by_source.items():
        prefix = ""
        while any((prefix + row[0].raw.id).casefold() in taken for row in own):
            prefix = f"{name}/{prefix}"
        if prefix:
            notes.append(f"ids of '{name}' begin with '{prefix}', because another source has the same ones")
        for row in own:
            wanted[id(row)] = prefix + row[0].raw.id
        taken.update(wanted[id(row)].casefold() for row in own)
    ids = safe_ids(wanted.values())
    groups = _groups(pattern, ids.values(), notes)
    jobs = [Job(ids[wanted[id(row)]], row, groups.get(ids[wanted[id(row)]])) for row in rows]
    return jobs, notes


def _group_pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(f"--group-by '{text}' is no regular expression: {error}") from error
    if not pattern.groups:
        raise InputError(f"--group-by '{text}' has no group in parentheses; write for example '(part\\d+)'")
    return pattern


def _groups(pattern: re.Pattern[str] | None, ids: Iterable[str], notes: list[str]) -> dict[str, str]:
    """Sample id -> group, for the ids that the pattern matches."""
    if pattern is None:
        return {}
    every = list(ids)
    found = {i: match.group(1) for i in every if (match := pattern.search(i)) and match.group(1)}
    if not found:
        example = min(every)
        raise InputError(f"--group-by '{pattern.pattern}' matches no id; ids look like '{example}'")
    text = f"groups by '{pattern.pattern}': {len(set(found.values()))} of {len(found)} images"
    rest = len(every) - len(found)
    notes.append(text + (f"; {rest} images match nothing and stand alone" if rest else ""))
    return found
