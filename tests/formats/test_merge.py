"""Several raw folders made one dataset: names, classes, ids, and what each source's labels speak of."""

from __future__ import annotations

import numpy as np
import pytest

from defectctl.dataset.store import load_dataset
from defectctl.dataset.types import Known
from defectctl.errors import InputError
from defectctl.formats.base import ReadOptions
from defectctl.formats.merge import source_handles, split_source
from defectctl.formats.prepare import PrepareOptions, SourceOptions, prepare
from defectctl.imaging.masks import decode_index


def both(folders, tmp_path, **options):
    roots = [folders.mask_folder(tmp_path / "A", range(6)), folders.voc_folder(tmp_path / "B", range(3, 9))]
    read = {"A": SourceOptions(read=ReadOptions(classes=("scratch",)))}
    result = prepare(roots, tmp_path / "out", PrepareOptions(of_source=read, **options))
    return result, load_dataset(tmp_path / "out")


def mask_of(dataset, sample):
    return decode_index(dataset.mask_path(sample).read_bytes())


def test_sources_keep_their_own_format_and_what_they_know(folders, tmp_path):
    result, dataset = both(folders, tmp_path)
    assert {name: source.format for name, source in dataset.sources.items()} == {"A": "mask-folders", "B": "voc-boxes"}
    assert dataset.class_names == ["scratch", "dent"] and len(dataset.samples) == 12
    assert dataset.sources["A"].known == Known((1,), (), True)
    assert dataset.sources["B"].known == Known((), (2,), True)
    assert result.format == "mask-folders + voc-boxes"
    shares = {row["class"]: row["pixel_share"] for row in result.classes}
    assert shares["scratch"] == pytest.approx(8 * 12 / 48**2) and shares["dent"] is None


def test_ids_get_the_source_s_name_only_where_they_collide(folders, tmp_path):
    roots = [folders.mask_folder(tmp_path / "A", range(4)), folders.mask_folder(tmp_path / "B", range(3, 6))]
    result = prepare([*roots, folders.mask_folder(tmp_path / "C", [50, 51])], tmp_path / "out")
    ids = {sample.id: sample.source for sample in load_dataset(tmp_path / "out").samples}
    assert {i for i, source in ids.items() if source == "B"} == {f"B/images/{i}.png" for i in (3, 4, 5)}
    assert {i for i, source in ids.items() if source == "C"} == {"images/50.png", "images/51.png"}
    assert any("ids of 'B'" in note for note in result.notes)


def test_one_folder_keeps_the_format_as_the_name_of_its_source(folders, tmp_path):
    prepare(folders.mask_folder(tmp_path / "A", range(4)), tmp_path / "out")
    assert set(load_dataset(tmp_path / "out").sources) == {"mask-folders"}


def test_a_map_joins_classes_of_two_sources_and_within_one(folders, tmp_path):
    _, dataset = both(folders, tmp_path, maps=("A:scratch=dent",))
    assert dataset.class_names == ["dent"]
    assert {dataset.known(s) for s in dataset.samples} == {Known((1,), (), True), Known((), (1,), True)}
    raw = tmp_path / "two"
    for value in (1, 2):
        folders.put(raw / "images" / f"{value}.png", folders.picture(value))
        folders.put(raw / "masks" / f"{value}.png", folders.square(value))
    names = ReadOptions(classes=("crack", "hole"))
    prepare(raw, tmp_path / "one", PrepareOptions(read=names, maps=("hole=crack",)))
    one = load_dataset(tmp_path / "one")
    assert one.class_names == ["crack"]
    assert all(np.array_equal(mask_of(one, sample), folders.square(1)) for sample in one.samples)


@pytest.mark.parametrize(
    "maps, words",
    [
        (("scrach=x",), "a class 'scrach'; did you mean 'scratch'"),
        (("B:scratch=x",), "'B' has no class 'scratch'"),
        (("C:scratch=x",), "no source is called 'C'"),
        (("scratch",), "OLD=NEW"),
        (("scratch=a", "scratch=b"), "twice"),
        (("scratch=Dent",), "differ in case only"),
        (("scratch=background",), "cannot be the name"),
    ],
)
def test_maps_that_mean_nothing_are_refused(folders, tmp_path, maps, words):
    with pytest.raises(InputError, match=words):
        both(folders, tmp_path, maps=maps)
    assert not (tmp_path / "out").exists()


def test_handles_are_unique_and_only_known_ones_are_split_off(tmp_path):
    assert source_handles([tmp_path / "a" / "Set", tmp_path / "b" / "set"]) == ["Set", "set-2"]
    assert split_source("Set:x=y", ["Set"]) == ("Set", "x=y")
    assert split_source("C:\\values.yaml", ["Set"]) == (None, "C:\\values.yaml")


def test_a_random_split_serves_where_only_one_source_has_its_own(folders, tmp_path):
    for part in ("train", "test"):
        folders.mask_folder(tmp_path / "A" / part, range(5) if part == "train" else range(5, 9))
    result = prepare([tmp_path / "A", folders.mask_folder(tmp_path / "B", [20, 21])], tmp_path / "out")
    assert result.split.name == "random" and any("'B' has no split of its own" in note for note in result.notes)


def test_groups_come_from_ids_and_no_split_cuts_them(folders, tmp_path):
    raw = folders.mask_folder(tmp_path / "A", range(40), names="p{}")
    result = prepare(raw, tmp_path / "out", PrepareOptions(group_by=r"p(\d)\d"))
    dataset = load_dataset(tmp_path / "out")
    groups = {sample.id: sample.group for sample in dataset.samples}
    assert groups["images/p25.png"] == "2" and groups["images/p7.png"] is None
    assert any("10 images match nothing" in note for note in result.notes)
    part_of = {i: part for part, ids in result.split.parts.items() for i in ids}
    for group in "123":
        assert len({part_of[i] for i, own in groups.items() if own == group}) == 1


@pytest.mark.parametrize(
    "options, words",
    [
        ({"group_by": "(p"}, "no regular expression"),
        ({"group_by": "p"}, "no group in parentheses"),
        ({"group_by": "(kos)"}, "matches no id; ids look like 'images/0.png'"),
        ({"exclude": ("images/9*",)}, "matches no image"),
        ({"exclude": ("*",)}, "leaves out every image"),
        ({"join": "name"}, "two raw folders"),
        ({"of_source": {"B": SourceOptions()}}, "no source is called 'B'"),
    ],
)
def test_options_that_hit_nothing_are_refused(folders, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        prepare(folders.mask_folder(tmp_path / "A", range(4)), tmp_path / "out", PrepareOptions(**options))


def test_excluded_images_are_counted_and_their_masks_not_looked_at(folders, tmp_path):
    raw = folders.mask_folder(tmp_path / "A", range(5))
    folders.put(raw / "masks" / "3.png", folders.square(77))
    result = prepare(raw, tmp_path / "out", PrepareOptions(exclude=("images/3.*",)))
    assert len(result.dataset.samples) == 4 and "images left out by --exclude: 1" in result.notes
    assert not result.findings


def test_raw_folders_inside_one_another_are_refused(folders, tmp_path):
    raw = folders.mask_folder(tmp_path / "A", range(4))
    with pytest.raises(InputError, match="lie one in the other; name each once"):
        prepare([raw, raw], tmp_path / "out")


def test_a_class_with_complete_boxes_and_none_in_the_image_is_absent_from_its_mask_too():
    """Boxes know 1, 2 and 3 and show a 2; the mask knows 1. Background is then neither 1 nor 3, but perhaps 2."""
    from defectctl.dataset.types import Object
    from defectctl.formats.labels import Labels, unite

    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 1
    boxes = Labels(Known((), (1, 2, 3), True), objects=[Object(1, (0, 0, 8, 4)), Object(2, (0, 5, 4, 8))])
    for pair in ((boxes, Labels(Known((1,), (), True), mask)), (Labels(Known((1,), (), True), mask), boxes)):
        assert unite(*pair)[0].known == Known((1, 3), (1, 2, 3), True)
    assert unite(boxes, Labels(Known((), (), True)))[0].known == Known((), (1, 2, 3), True)
