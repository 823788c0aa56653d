"""Data sets as wholes: whether they can be built, and hold anything."""

from collections.abc import Iterator

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.findings import Code, Finding, Level, check

__all__ = ['data_sets_are_built', 'splits_hold_images']

NOT_BUILT = Code(
    'data-set-not-built',
    Level.ERROR,
    'the run ends before its first iteration',
    'see the text: it names the file or the entry of the config',
)
EMPTY = Code(
    'split-empty',
    Level.ERROR,
    'the run ends with "need at least one array", or trains on nothing',
    'check data_root, data_prefix, ann_file and the suffixes of the files',
)


@check(NOT_BUILT)
def data_sets_are_built(case: Case) -> Iterator[Finding]:
    """Yield data sets that cannot be built, such as for a missing folder.

    Of COCO files their own checks tell.
    """
    for part in case.parts:
        if part.fault is not None and not part.empty and part.coco is None:
            yield NOT_BUILT.found(part.fault, part.split, part.missing)


@check(EMPTY)
def splits_hold_images(case: Case) -> Iterator[Finding]:
    """Yield data sets without images; of COCO files their own checks tell."""
    for part in case.parts:
        if part.empty and part.coco is None:
            folders = dict(part.cfg.get('data_prefix') or {})
            text = f'{part.cfg.get("type")} finds no images ({folders})'
            yield EMPTY.found(text, part.split)
