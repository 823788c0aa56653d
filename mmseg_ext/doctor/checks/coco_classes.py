"""Categories of COCO files against the classes of a config.

What MMDet and pycocotools do of each fault was seen by letting them do it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.coco_tables import CocoTable
from mmseg_ext.doctor.coco_use import coco_parts
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.parts import Part
from mmseg_ext.utils.text import listing, printable

__all__ = [
    'coco_categories_are_unique',
    'coco_categories_have_annotations',
    'coco_classes_are_categories',
]

CLASS_MISSING = Code(
    'coco-class-missing',
    Level.ERROR,
    '"need at least one array to concatenate" where no class is there; else '
    'the numbers of the classes move up, and the evaluation ends with '
    '"IndexError: list index out of range"',
    'give metainfo=dict(classes=(...)) the names of the categories, letter '
    'by letter; a single one with a comma, ("name",)',
)
CLASS_ORDER = Code(
    'coco-class-order',
    Level.WARNING,
    'MMDet numbers classes in the order of the file: names in pictures and '
    'results are mistaken for one another, and where two files have other '
    'orders, the mAP is near 0',
    'give metainfo=dict(classes=(...)) the order of the file, or write the '
    'categories of all files in one order',
)
CATEGORY_REPEATED = Code(
    'coco-category-repeated',
    Level.ERROR,
    'classes get numbers beyond num_classes: a CUDA assert or IndexError in '
    'the loss, or a wrong mAP',
    'give the objects of a class one category_id, and list it once',
)
CATEGORY_EMPTY = Code(
    'coco-category-empty',
    Level.ERROR,
    'the class cannot be learned: its AP stays 0',
    'leave the class out of metainfo.classes of all data sets (and out of '
    'num_classes), or annotate it',
)


@check(CLASS_MISSING, CLASS_ORDER)
def coco_classes_are_categories(case: Case) -> Iterator[Finding]:
    """Yield classes that are no categories, or in another order."""
    orders = {
        tuple(_found(table))
        for _, table in coco_parts(case)
        if {*_found(table)} == {*table.classes}
    }
    renamed = {_renamed(table) for _, table in coco_parts(case)}
    for part, table in coco_parts(case):
        classes, found = [*table.classes], _found(table)
        lacking = _lacking(table)
        if lacking and table.categories.ids:
            every = table.categories.names
            yield CLASS_MISSING.found(
                f'no category is named {_quoted(lacking)}, of the classes '
                f'{_quoted(classes)}; the categories are {_quoted(every)}',
                part.split,
                table.path,
                {'lacking': lacking, 'categories': every},
                # One list of classes is for all data sets.
                change={_key(part): min(renamed)}
                if len(renamed) == 1 and all(renamed)
                else None,
            )
        elif classes and not lacking and found != classes:
            same = len(orders) == 1
            yield CLASS_ORDER.found(
                f'the categories are {_quoted(found)} in this order, and the '
                f'classes {_quoted(classes)}',
                part.split,
                table.path,
                {'categories': found, 'classes': classes},
                level=Level.WARNING if same else Level.ERROR,
                change={_key(part): tuple(found)} if same else None,
            )


def _found(table: CocoTable) -> list[str]:
    """Return the classes that are categories, in the order of the file."""
    names = table.categories.names
    return [*dict.fromkeys(n for n in names if n in table.classes)]


def _quoted(names: Sequence[str]) -> str:
    return listing([repr(printable(name)) for name in names])


def _key(part: Part) -> str:
    return f'{part.key}.metainfo.classes'


def _lacking(table: CocoTable) -> list[str]:
    """Return the classes that are no categories."""
    return [n for n in table.classes if n not in table.categories.names]


def _renamed(table: CocoTable) -> tuple[str, ...]:
    """Return the classes by the names of the categories.

    Names may differ in case and blanks; where no class is there at all, they
    are those of other data. Otherwise nothing is known of them.
    """

    def plain(name: str) -> str:
        return ''.join(name.casefold().replace('_', ' ').split())

    names = table.categories.names
    close = {plain(name): name for name in names}
    if all(plain(name) in close for name in _lacking(table)):
        classes = [
            name if name in names else close[plain(name)]
            for name in table.classes
        ]
    elif not _found(table):
        classes = names
    else:
        return ()
    # They are numbered in the order of the file.
    return tuple(sorted(classes, key=names.index))


@check(CATEGORY_REPEATED)
def coco_categories_are_unique(case: Case) -> Iterator[Finding]:
    """Yield classes of more than one category."""
    for part, table in coco_parts(case):
        pairs = zip(table.categories.ids, table.categories.names, strict=True)
        # Ids that repeat are told by themselves.
        names = Counter(
            name for name in dict(pairs).values() if name in table.classes
        )
        if twice := [name for name, count in names.items() if count > 1]:
            yield CATEGORY_REPEATED.found(
                f'more than one category is named {_quoted(twice)}',
                part.split,
                table.path,
                twice,
            )


@check(CATEGORY_EMPTY)
def coco_categories_have_annotations(case: Case) -> Iterator[Finding]:
    """Yield classes of which no annotation is in a split.

    Where annotations have no category, that is the reason.
    """
    for split in case.splits.values():
        tables = [part.coco for part in split.parts if part.coco is not None]
        if len(tables) < len(split.parts) or any(map(_explained, tables)):
            continue
        have = {name for table in tables for name in _annotated(table)}
        for part, table in zip(split.parts, tables, strict=True):
            names = [
                table.categories.names[row]
                for row in table.categories.empty
                if table.categories.labels[row] >= 0
            ]
            if not (names := [name for name in names if name not in have]):
                continue
            train = part.split == 'train'
            yield CATEGORY_EMPTY.found(
                f'no annotation is of {_quoted(names)}',
                part.split,
                table.path,
                names,
                level=None if train else Level.NOTE,
                mend=None if train else 'annotate it, to measure its AP',
            )


def _explained(table: CocoTable) -> bool:
    """Tell whether another check says why a category has no annotation."""
    rows, ids = table.annotations, table.categories.ids
    return (
        table.fault is not None
        or not rows.ids
        or bool((rows.categories < 0).any() or (rows.images < 0).any())
        or len({*ids}) < len(ids)
        or bool(table.wrong)
    )


def _annotated(table: CocoTable) -> set[str]:
    """Return the names of categories that have annotations."""
    names = table.categories.names
    return {
        names[row] for row in {*range(len(names))} - {*table.categories.empty}
    }
