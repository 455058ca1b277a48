"""What `--write` and `--threshold` say, read before anything heavy is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from defectctl.errors import InputError
from defectctl.inference.options import of_image, of_tables, parse_kinds, parse_threshold


def test_kinds_are_files_of_one_image_or_tables_of_all() -> None:
    kinds = parse_kinds(" csv,masks,, coco ,csv")
    assert kinds == ("csv", "masks", "coco")
    assert of_image(kinds) == ("masks",) and of_tables(kinds) == ("csv", "coco")


@pytest.mark.parametrize(
    ("text", "words"), [("cvs", "did you mean 'csv'"), ("defect-maps16", "defect-maps"), (" ,", "names nothing")]
)
def test_wrong_kinds_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_kinds(text)


@pytest.mark.parametrize("text", ["", "a", "0.1,0.2,0.3", "0.9,0.1", "-0.1", "1.1", "nan"])
def test_wrong_thresholds_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--threshold"):
        parse_threshold(text)


def test_options_are_read_without_heavy_imports() -> None:
    code = "import sys, defectctl.inference.options, defectctl.cli.predict; print({'torch', 'cv2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
