"""Label files: whether they hold the classes of the data set, and why not."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.label_families import (
    LabelFamily,
    distinct_parts,
    label_families,
)
from mmseg_ext.doctor.parts import LabelScan, Part, Sample
from mmseg_ext.engine.label_checks import (
    black_and_white_warning,
    label_loader,
    outside_text,
)
from mmseg_ext.formats.color_masks import BACKGROUND_NAMES, IGNORE_INDEX
from mmseg_ext.utils.text import listing

__all__ = ['JudgedPart', 'Verdict', 'judge_labels', 'labels_hold_classes']

#: Edges are blended where this share of the runs of a label has a value
#: between those beside it. Measured: CamVid, and sample scenes down to 48
#: pixels wide, have up to 0.08; resized with interpolation by 0.5 to 4, or
#: saved as JPEG at quality 75 to 95 in between, at least 0.13.
BLENDED = 0.12

#: Blended edges have more colors than so many times those of the classes.
_COLORS = 2

#: As many of the files have the value beyond the last class where 0 is a
#: background that the class list lacks; else some file is wrong.
_MOST = 0.5

#: The class of an error before its text.
_ERROR = re.compile(r'^\w+(Error|Exception): ')

#: What of 16 bits is left in 8.
_LOW = 255

_ASSERT = (
    'CUDA error: device-side assert triggered (t >= 0 && t < n_classes), on a '
    'CPU "IndexError: Target ... is out of bounds"; in the evaluation such '
    'pixels are no class'
)
_LOADER = 'the transform that loads labels, in the pipelines of all splits'
_ALL = (
    'give the data set and the heads all classes of the masks, or map the '
    f"values: dict(type='MapLabels', label_map={{...}}) after {_LOADER}"
)

MISSING = Code(
    'label-missing',
    Level.ERROR,
    'FileNotFoundError, or KeyError: seg_map_path, when it is loaded',
    'add the file, or check data_root, data_prefix and seg_map_suffix',
)
UNREADABLE = Code(
    'label-unreadable',
    Level.ERROR,
    'the run ends when it is loaded, after minutes or hours',
    'copy or download the file again; of Git LFS: git lfs pull',
)
BLACK_WHITE = Code(
    'labels-black-white',
    Level.ERROR,
    'background 100, the object IoU 0 and Acc nan; a loss near 0',
    f"dict(type='MapLabels', label_map={{255: 1}}) after {_LOADER}",
)
ONE_BASED = Code(
    'labels-one-based',
    Level.ERROR,
    _ASSERT + '; all other classes are one off',
    'reduce_zero_label=True in the data sets, if all labels are so',
)
COLOR = Code(
    'labels-color',
    Level.ERROR,
    '"only batches of spatial targets supported (3D tensors)", or as for '
    'other values that are no class',
    'read them with ColorMaskDataset, class_dict and LoadColorMasks',
)
WIDE = Code(
    'labels-16-bit',
    Level.ERROR,
    "MMSeg's loader keeps 8 bits: 256 becomes 0, 257 becomes 1, and classes "
    'are mixed up without a word',
    'number the classes anew, from 0 to 254, and save 8-bit gray PNG',
)
LOSSY = Code(
    'labels-lossy',
    Level.ERROR,
    'wrong classes along all edges; values that are no class end the run',
    'make the labels again: without JPEG, and resized with nearest '
    'neighbors (cv2.INTER_NEAREST)',
)
OUTSIDE = Code(
    'labels-outside',
    Level.ERROR,
    _ASSERT,
    _ALL,
)
REDUCE = Code(
    'reduce-zero-label',
    Level.ERROR,
    'the last class has IoU nan and the first is ignored, or the background '
    'is learned as the first class; all classes are one off',
    'the other value of reduce_zero_label in all data sets',
)

#: What a wrong ``reduce_zero_label`` brings about.
_OF_NUMBERS = (ONE_BASED, OUTSIDE, REDUCE)


class Verdict(NamedTuple):
    """What is wrong with a label.

    Attributes:
        code: Of the finding.
        text: As in :class:`~mmseg_ext.doctor.findings.Finding`.
        value: As there.
        mend: As there; None for that of the code.
        change: As there.
        level: How bad it is; None for the level of the code.
    """

    code: Code
    text: str
    value: Any = None
    mend: str | None = None
    change: Mapping[str, Any] = {}
    level: Level | None = None

    def found(self, split: str, file: str | None) -> Finding:
        """Return it as a finding."""
        return self.code.found(
            self.text,
            split,
            file,
            self.value,
            self.mend,
            self.change,
            level=self.level,
        )


class JudgedPart(NamedTuple):
    """A data set with what is wrong with its labels.

    Attributes:
        part: The data set.
        family: Those whose labels were made alike.
        rows: Its images that have a label, and what is wrong with it; None
            where nothing is. Empty where its pipeline loads no labels.
        whole: What is wrong with all of them; None if nothing is.
    """

    part: Part
    family: LabelFamily
    rows: list[tuple[Sample, Verdict | None]]
    whole: Verdict | None

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return self.whole is None and not any(v for _, v in self.rows)


def judge_labels(case: Case) -> Iterator[JudgedPart]:
    """Yield the data sets of a case, each once, with their labels judged.

    Args:
        case: What was gathered; of MMDet's configs nothing is yielded.
    """
    families = label_families(case) if case.semantic else []
    by_key = {p.key: family for family in families for p in family.parts}
    for part in distinct_parts(case):
        if family := by_key.get(part.key):
            rows = [
                (sample, _judge(sample, family, part))
                for sample in (part.samples if _loads(part) else ())
                if sample.label is not None
            ]
            yield JudgedPart(part, family, rows, _reduced_fault(part, family))


@check(
    *(MISSING, UNREADABLE, BLACK_WHITE, ONE_BASED, COLOR, WIDE, LOSSY),
    *(OUTSIDE, REDUCE),
)
def labels_hold_classes(case: Case) -> Iterator[Finding]:
    """Yield labels that are missing, broken, or hold what is no class."""
    for part, _, rows, whole in judge_labels(case):
        if part.samples and not rows:
            yield from _without_labels(part)
        if whole:
            yield whole.found(part.split, None)
        missing = [s for s, v in rows if v and v.code == MISSING]
        if len(missing) == len(rows) > 1:
            yield MISSING.found(
                f'none of {len(rows)} images has its label, such as '
                f'{missing[0].place.label}',
                part.split,
                value=len(rows),
            )
            continue
        for sample, verdict in rows:
            if verdict and not (whole and verdict.code in _OF_NUMBERS):
                yield verdict.found(part.split, sample.place.label)


def _loads(part: Part) -> bool:
    """Tell whether a data set loads labels, by a loader of anybody's."""
    return label_loader(part.dataset) is not None or any(
        sample.label is not None and sample.label.loaded is not None
        for sample in part.samples
    )


def _without_labels(part: Part) -> Iterator[Finding]:
    """Yield that a data set has no labels, if its pipeline loads some."""
    named = any(sample.place.label for sample in part.samples)
    if label_loader(part.dataset) and not named:
        yield MISSING.found(
            f'the pipeline loads labels, and data_prefix of '
            f'{part.cfg.get("type")} names no seg_map_path',
            part.split,
            mend=f'{part.folder}.seg_map_path, the folder of the labels',
        )


def _judge(sample: Sample, family: LabelFamily, part: Part) -> Verdict | None:
    """Say what is wrong with a label, if anything."""
    label, path = sample.label, sample.place.label
    assert label
    assert path
    if label.missing:
        return Verdict(MISSING, 'there is no such file')
    wrong = None if label.loaded is None else family.wrong(label.loaded)
    if label.fault is not None:
        # What a label map may not be, and is loaded nevertheless.
        level = Level.WARNING if wrong == [] else None
        return Verdict(UNREADABLE, label.fault, level=level)
    if lossy := _lossy(label, family, wrong):
        return lossy
    if max(label.values, default=0) > _LOW and _wraps(label, family, part):
        return Verdict(
            WIDE,
            f'{label.form} with values up to {max(label.values)}; labels have '
            '8 bits',
            max(label.values),
        )
    if family.has_white(label):
        return _white(family)
    if label.loaded_fault is not None:
        return _not_loaded(label, family, path)
    return _outside(label, family, wrong, part) if wrong else None


def _lossy(
    label: LabelScan, family: LabelFamily, wrong: list[int] | None
) -> Verdict | None:
    """Say that the edges of a label are blended, if they are."""
    level = Level.WARNING if wrong == [] else None
    if label.lossy:
        text = f'{label.form} changes pixels along all edges'
        return Verdict(LOSSY, text, label.form, level=level)
    if label.blended >= BLENDED:
        text = (
            f'{label.blended:.0%} of its stretches along rows are one or two '
            'pixels of a value between those beside: edges were blended, by '
            'JPEG or a resize with interpolation'
        )
        return Verdict(LOSSY, text, round(label.blended, 3), level=level)
    if family.colors and label.colors > _COLORS * max(family.colors, 8):
        text = (
            f'{label.colors} colors, and classes have {family.colors}: edges '
            'were blended, by JPEG or a resize with interpolation'
        )
        return Verdict(LOSSY, text, label.colors, level=level)
    return None


def _wraps(label: LabelScan, family: LabelFamily, part: Part) -> bool:
    """Tell whether values above 8 bits are no labels in memory either."""
    loaded = set(label.loaded or ())
    # White of 16 bits becomes 255: that is another matter.
    if {value & _LOW for value in label.values} <= {0, IGNORE_INDEX}:
        return not family.has_white(label)
    kind = type(label_loader(part.dataset)).__name__
    return kind == 'LoadAnnotations' or not loaded


def _white(family: LabelFamily) -> Verdict:
    """Return the verdict of masks of black and white."""
    if family.more:
        return Verdict(
            BLACK_WHITE,
            'holds 0 and 255 alone, and 255 is ignored; no label with other '
            'values has as much of it',
            mend='save it again as the others are',
            level=Level.WARNING,
        )
    if family.colors:
        return Verdict(
            BLACK_WHITE,
            'holds 0 and 255 alone, read as rows of the class list, and 255 '
            'is ignored',
            mend="masks='color' in the data set, and black and white in "
            'class_dict',
        )
    said = black_and_white_warning('all labels', family.names)
    text = said.partition('; ')[0]
    if len(family.names) != 2:
        return Verdict(BLACK_WHITE, text, mend='save masks of class indices')
    new = {255: 1}
    if family.names[1].lower() in BACKGROUND_NAMES:
        new = {0: 1, 255: 0}
    step = {'type': 'MapLabels', 'label_map': new}
    return Verdict(
        BLACK_WHITE,
        text,
        mend=f"dict(type='MapLabels', label_map={new}) after {_LOADER}",
        change=family.pipelines(step),
    )


def _not_loaded(label: LabelScan, family: LabelFamily, path: str) -> Verdict:
    """Say why a label that is an image cannot be loaded."""
    fault = _ERROR.sub('', label.loaded_fault or '')
    fault = fault.replace(f'label {path}: ', '').replace(path, 'the file')
    if family.colors:
        return Verdict(OUTSIDE, fault, mend='a class_dict with all its colors')
    if (
        label.colors
        and label.values
        and not family.wrong_as_stored(label.values)
    ):
        return Verdict(
            COLOR,
            f'{label.form} of three equal channels, of which '
            "MMSeg's loader makes no label map",
            mend='FastLoadAnnotations takes one of them; or save gray PNG',
            change=family.loaders(type='FastLoadAnnotations'),
        )
    if label.colors:
        text = f'{label.form} with {label.colors} colors, read as indices'
        return Verdict(COLOR, text, label.colors)
    return Verdict(UNREADABLE, fault, mend='save it as an 8-bit gray PNG')


def _outside(
    label: LabelScan, family: LabelFamily, wrong: list[int], part: Part
) -> Verdict:
    """Say why a label has values that are no class."""
    ignored = sorted(family.ignored)
    text = outside_text(wrong, family.classes, ignored)
    stored = set(label.values) - {IGNORE_INDEX}
    end = family.end
    beyond = {value for value in stored if value >= end}
    if beyond == {end} and not part.reduce_zero_label:
        if 0 not in stored and 0 not in family.stored:
            return Verdict(
                ONE_BASED,
                f'{text}; no label has 0, so classes count from 1',
                wrong,
                change=family.reduce(True),
            )
        if _has_background(family):
            return Verdict(
                REDUCE,
                f'{text}; so 0 is a background that the class list lacks, and '
                f'reduce_zero_label=False makes it {family.names[0]}',
                wrong,
                'reduce_zero_label=True in all data sets',
                family.reduce(True),
            )
        # Where another has 0 as well, the list lacks a class: which one?
        if family.one_more and family.names[0].lower() not in BACKGROUND_NAMES:
            mend = f'where 0 is no class, reduce_zero_label=True; else {_ALL}'
            return Verdict(OUTSIDE, text, wrong, mend)
        if 0 not in stored:
            mend = 'save it again, with classes counted from 0'
            text = f'{text}; it has no 0, so classes count from 1'
            return Verdict(ONE_BASED, text, wrong, mend)
    if label.form.startswith('palette') and not family.new:
        text = f'{label.form}: its entries are read as indices; {text}'
        return Verdict(COLOR, text, wrong)
    told = not family.mapped or bool(family.new)
    if stored and told and not family.wrong_as_stored(stored):
        return Verdict(
            OUTSIDE,
            f"{label.form}: MMSeg's loader scales its grays; {text}",
            wrong,
            'FastLoadAnnotations reads what is stored',
            family.loaders(type='FastLoadAnnotations'),
        )
    mend = (
        'a key for each in label_map of the data set: the index of its class, '
        f'or {IGNORE_INDEX}'
    )
    return Verdict(OUTSIDE, text, wrong, mend if family.new else None)


def _has_background(family: LabelFamily) -> bool:
    """Tell whether 0 is a background that the class list lacks."""
    return (
        family.names[0].lower() not in BACKGROUND_NAMES
        and family.files[family.end] > _MOST * family.total
    )


def _reduced_fault(part: Part, family: LabelFamily) -> Verdict | None:
    """Say that ``reduce_zero_label`` of a data set is wrong, if it is."""
    mine, stored = part.reduce_zero_label, sorted(family.stored)
    others = [p for p in family.parts if p.reduce_zero_label != mine]
    right = False if family.counts_from_zero else family.reduced
    if mine == right:
        return None
    hold = f'labels hold {listing(stored)}, and ' if stored else ''
    text = f'{hold}reduce_zero_label={mine}'
    if mine:
        text += (
            f' ignores 0: then no pixel is {family.names[-1]}, and '
            f'{family.names[0]} is what is stored as 1'
        )
    if others:
        splits = listing([*dict.fromkeys(p.split for p in others)])
        text += f'; it is {not mine} in {splits}'
    return Verdict(
        REDUCE,
        text,
        stored,
        f'reduce_zero_label={right} in all data sets',
        family.reduce(right),
    )
