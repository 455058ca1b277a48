"""Finds below a raw folder what YOLO's files name by paths of the computer on which they were written."""

from __future__ import annotations

import posixpath

from defectctl.errors import InputError
from defectctl.formats.base import Listing
from defectctl.formats.readers.names import decode_text, part_of_folders


class Places:
    """Files and folders of a listing by their paths, whatever the case of their letters.

    A path is tried as it stands from each of several folders; else its first folders are taken off one by one, but
    never the name of an official part.
    """

    def __init__(self, listing: Listing) -> None:
        self._images = [str(file) for file in listing.images()]
        self._image_table = {file.casefold(): file for file in self._images}
        self._files = {str(file).casefold(): str(file) for file in listing.files}
        self._folders = {"": ""}
        self._by_name: dict[str, list[str]] = {}
        for file in listing.files:
            for parent in file.parents:
                name = "" if str(parent) == "." else str(parent)
                self._folders.setdefault(name.casefold(), name)
        for image in self._images:
            self._by_name.setdefault(image.rpartition("/")[2].casefold(), []).append(image)

    @staticmethod
    def join(folder: str, path: str) -> str:
        """`path` as seen from `folder`, "" for the raw folder itself; may lead out of it."""
        joined = posixpath.normpath(posixpath.join(folder, path.strip().replace("\\", "/")))
        return "" if joined == "." else joined

    def folder(self, path: str, bases: list[str]) -> str | None:
        """The folder that `path` means, or None."""
        return self._find(path, bases, self._folders)

    def file(self, path: str, bases: list[str]) -> str | None:
        """The file that `path` means, or None."""
        return self._find(path, bases, self._files)

    def image(self, path: str, bases: list[str]) -> str | None:
        """The image that `path` means: as `file`, else the one whose path ends most like it; None where two do."""
        for base in bases:
            if found := self._image_table.get(self.join(base, path).casefold()):
                return found
        wanted = path.replace("\\", "/").casefold().split("/")
        part = part_of_folders("/".join(wanted))
        same = [i for i in self._by_name.get(wanted[-1], []) if part in (None, part_of_folders(i))]
        tails = [_shared_tail(image.casefold().split("/"), wanted) for image in same]
        best = [image for image, tail in zip(same, tails, strict=True) if tail == max(tails)]
        return best[0] if len(best) == 1 else None

    def below(self, folder: str) -> list[str]:
        """The images in a folder and in those inside it."""
        return [image for image in self._images if not folder or image.startswith(folder + "/")]

    def _find(self, path: str, bases: list[str], table: dict[str, str]) -> str | None:
        for base in bases:
            found = table.get(self.join(base, path).casefold())
            if found is not None:
                return found
        steps = [step for step in path.replace("\\", "/").casefold().split("/") if step not in ("", ".", "..")]
        named = part_of_folders("/".join(steps) + "/")
        for start in range(len(steps)):
            tail = "/".join(steps[start:])
            if named and part_of_folders(tail + "/") != named:
                break
            for base in bases:
                found = table.get(self.join(base, tail).casefold())
                if found is not None:
                    return found
            ends = [place for key, place in table.items() if key.endswith("/" + tail)]
            if len(ends) == 1:
                return ends[0]
        return None


def read_text(listing: Listing, file: str) -> str:
    """The text of a file of a listing, whatever its encoding.

    Raises:
        InputError: it cannot be read.
    """
    try:
        data = (listing.root / file).read_bytes()
    except OSError as error:
        raise InputError(f"'{file}' cannot be read: {error.strerror or error}; check its rights") from error
    return decode_text(data)


def _shared_tail(path: list[str], wanted: list[str]) -> int:
    shared = 0
    for a, b in zip(reversed(path), reversed(wanted), strict=False):
        if a != b:
            break
        shared += 1
    return shared
