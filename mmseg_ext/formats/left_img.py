"""The tree of Cityscapes, ``leftImg8bit`` and ``gtFine``, that IDD shares."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmseg_ext.utils.files import find_files
from mmseg_ext.utils.text import normal_form, printable

__all__ = ['GT_FINE', 'LEFT_IMG', 'Pair', 'pair_files', 'scan_split']

#: The folders of images and of annotations, and of splits in them.
LEFT_IMG, GT_FINE = 'leftImg8bit', 'gtFine'


def scan_split(
    folder: Path, *endings: str
) -> dict[str, dict[tuple[str, str], str]]:
    """Find the files of a split: ``<folder>/<sequence>/<id><ending>``.

    A sequence is called city in Cityscapes.

    Returns:
        ``{ending: {(sequence, id): path}}``; names in normal form, so that
        those of one system match those of another.

    Raises:
        ValueError: Two files are the same by their names.
    """
    found: dict[str, dict[tuple[str, str], str]] = {e: {} for e in endings}
    for name in find_files(folder, endings):
        sequence, _, rest = name.partition('/')
        ending = next(e for e in endings if name.lower().endswith(e.lower()))
        if rest and '/' not in rest:
            key = normal_form(sequence), normal_form(rest[: -len(ending)])
            path = str(folder / name)
            if (other := found[ending].setdefault(key, path)) != path:
                raise ValueError(
                    f'{printable(other)} and {printable(path)} are the same '
                    'by their names: remove one of them'
                )
    return found


@dataclass(frozen=True)
class Pair:
    """An image and its annotation, one of which may be missing.

    Attributes:
        sequence: Name of the folder.
        name: What both names begin with; both are those of the image, if
            there is one.
        image: Path of the image, or None.
        annotation: Path of the annotation, or None.
        expected: Where the missing one should be.
    """

    sequence: str
    name: str
    image: str | None
    annotation: str | None
    expected: str

    def fault(self, annotation: str) -> tuple[str, str]:
        """Return the file that is alone, and what is wrong.

        Args:
            annotation: What the annotation is called.
        """
        missing = annotation if self.image else 'image'
        return (
            self.image or self.annotation or '',
            f'has no {missing}; expected {self.expected}',
        )


def pair_files(
    root: Path, split: str, image_endings: Sequence[str], ending: str
) -> Iterator[Pair]:
    """Yield the images of a split with their annotations.

    Args:
        root: Folder with ``leftImg8bit`` and ``gtFine``.
        split: Name of a folder in both.
        image_endings: Endings of images; with several, two of them may have
            the same annotation.
        ending: Ending of annotations.

    Raises:
        ValueError: Two files are the same by their names.
    """
    images = scan_split(root / LEFT_IMG / split, *image_endings)
    annotations = scan_split(root / GT_FINE / split, ending)[ending]
    alone = dict(annotations)
    for image_ending, by_key in images.items():
        for key, image in sorted(by_key.items()):
            alone.pop(key, None)
            sequence, name = _names(image, image_ending)
            yield Pair(
                sequence,
                name,
                image,
                annotations.get(key),
                str(root / GT_FINE / split / sequence / f'{name}{ending}'),
            )
    for _, annotation in sorted(alone.items()):
        sequence, name = _names(annotation, ending)
        expected = root / LEFT_IMG / split / sequence / name
        yield Pair(
            sequence,
            name,
            None,
            annotation,
            f'{expected}{" or ".join(image_endings)}',
        )


def _names(path: str, ending: str) -> tuple[str, str]:
    """Return sequence and id of a file as they stand on disk."""
    *_, sequence, name = path.split('/')
    return sequence, name[: -len(ending)]
