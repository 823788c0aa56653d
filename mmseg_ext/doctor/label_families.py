"""What the labels of data sets of one kind hold, over all splits."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mmengine.config import Config, ConfigDict

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.parts import LabelScan, Part
from mmseg_ext.engine.label_checks import (
    ClassHead,
    ignored_labels,
    label_loader,
    sample_info,
)
from mmseg_ext.formats.color_masks import (
    BACKGROUND_NAMES,
    IGNORE_INDEX,
    VOID_NAMES,
)

__all__ = [
    'LabelFamily',
    'change_step',
    'distinct_parts',
    'head_configs',
    'is_learned',
    'label_families',
]

#: Takes the config of a step, and returns those in its place.
_Change: TypeAlias = Callable[[dict[str, Any]], list[dict[str, Any]]]

#: Black, and white in 8 and in 16 bits.
_EXTREMES = {0, 255, 65535}

#: Values that a label of 8 bits may hold.
_VALUES = 256

#: The heads of a segmentor.
_HEADS = ('decode_head', 'auxiliary_head')


@dataclass
class LabelFamily:
    """Data sets of a config whose labels were made alike.

    Attributes:
        parts: The data sets, of all splits.
        names: Their classes.
        end: How many class indices files may hold; more than there are names
            where a data set leaves some of its own classes out.
        classes: How many class indices the loss takes.
        ignored: Values that it leaves out.
        colors: How many colors stand for classes; 0 where indices do.
        mapped: Whether the data set numbers its classes anew.
        new: What stored values become, where the config says so.
        files: In how many files each stored value is.
        total: How many files of one channel there are.
        one_more: Whether a file has 0, and what is beyond the last class.
        both: Whether a file has black and white alone, and white is ignored.
        more: Whether a file has other values.
        share: The largest share of pixels of 255 that one of these has.
    """

    parts: list[Part]
    names: tuple[str, ...] = ()
    end: int = 0
    classes: int = 0
    ignored: frozenset[int] = frozenset({IGNORE_INDEX})
    colors: int = 0
    mapped: bool = False
    new: Mapping[int, int] = field(default_factory=dict)
    files: Counter[int] = field(default_factory=Counter)
    total: int = 0
    one_more: bool = False
    both: bool = False
    more: bool = False
    share: float = 0.0

    @property
    def reduced(self) -> bool:
        """Whether a data set ignores 0, and the others begin with it."""
        return any(part.reduce_zero_label for part in self.parts)

    @property
    def counts_from_zero(self) -> bool:
        """Whether 0 is surely a class in the files."""
        stored, first = self.stored, self.names[0].lower()
        if 0 not in stored or max(stored) >= self.end:
            return False
        return first in BACKGROUND_NAMES or stored == set(range(self.end))

    @property
    def stored(self) -> set[int]:
        """The values in files, without 255."""
        return set(self.files) - {IGNORE_INDEX}

    def wrong(self, values: Iterable[int]) -> list[int]:
        """Return those of some loaded values that are no class."""
        return sorted(
            value
            for value in values
            if value not in self.ignored and not 0 <= value < self.classes
        )

    def wrong_as_stored(self, values: Iterable[int]) -> list[int]:
        """Return those of some stored values that stand for no class."""
        return self.wrong(self.new.get(value, value) for value in values)

    def add(self, label: LabelScan) -> None:
        """Add what a label holds."""
        if label.values:
            self.total += 1
            self.files.update(label.values.keys())
            self.one_more |= {0, self.end} <= label.values.keys()
        share = _white_share(label)
        if _is_black_and_white(label):
            self.both |= share > 0
        elif label.loaded and (label.colors or set(label.values) - _EXTREMES):
            self.more = True
            self.share = max(self.share, share)

    def has_white(self, label: LabelScan) -> bool:
        """Tell whether a label is of black and white, and white is ignored.

        Where others have as much of 255, that is ignored by right. A single
        class has nothing to be told from, which is told of the heads.
        """
        if (
            len(self.names) < 2
            or IGNORE_INDEX
            not in self.ignored.intersection(label.loaded or ())
            or self.mapped
            or self.reduced
        ):
            return False
        if self.more:
            return (
                _is_black_and_white(label) and _white_share(label) > self.share
            )
        return self.both

    def pipelines(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """Return pipelines with a step after the one that loads labels.

        Args:
            step: Its config.

        Returns:
            Those of all data sets, by their keys in the config.
        """
        return _pipelines(self.parts, lambda loader: [loader, dict(step)])

    def loaders(self, **options: Any) -> dict[str, Any]:
        """Return pipelines with other options of what loads labels.

        Args:
            **options: The options; those of None are left out.

        Returns:
            As :meth:`pipelines`.
        """

        def change(loader: dict[str, Any]) -> list[dict[str, Any]]:
            new = {**loader, **options}
            return [{k: v for k, v in new.items() if v is not None}]

        return _pipelines(self.parts, change)

    def reduce(self, value: bool) -> dict[str, Any]:
        """Return the change of ``reduce_zero_label`` in all data sets."""
        change: dict[str, Any] = {
            f'{part.key}.reduce_zero_label': value for part in self.parts
        }
        # Where the loader says it as well, both have to be equal.
        said = any(
            'reduce_zero_label' in step
            for part in self.parts
            for step in part.cfg.get('pipeline') or ()
        )
        return change | (self.loaders(reduce_zero_label=None) if said else {})


def _is_black_and_white(label: LabelScan) -> bool:
    """Tell whether a label of one channel has black and white alone."""
    values = set(label.values)
    return not label.colors and len(values) == 2 and values < _EXTREMES


def _white_share(label: LabelScan) -> float:
    """Return the share of pixels of 255 in a label, as it is loaded."""
    counts = label.loaded or {}
    return counts.get(IGNORE_INDEX, 0) / max(sum(counts.values()), 1)


def change_step(part: Part, built: Any, change: _Change) -> dict[str, Any]:
    """Return the pipeline of a data set with others for one of its steps.

    Args:
        part: The data set.
        built: The step, as it is in the built pipeline.
        change: Takes the config of the step, and returns those in its place.

    Returns:
        The pipeline by its key in the config; nothing where the config has
        other steps than the data set.
    """
    steps = _plain(list(part.cfg.get('pipeline') or []))
    transforms = part.dataset.pipeline.transforms
    if len(transforms) != len(steps):
        return {}
    at = next(n for n, step in enumerate(transforms) if step is built)
    steps[at : at + 1] = change(steps[at])
    return {f'{part.key}.pipeline': steps}


def _pipelines(parts: Iterable[Part], change: _Change) -> dict[str, Any]:
    """Return pipelines with others for the step that loads labels."""
    changed: dict[str, Any] = {}
    for part in parts:
        loader = label_loader(part.dataset)
        if loader is not None:
            changed |= change_step(part, loader, change)
    return changed


def _plain(value: Any) -> Any:
    """Return a value of a config without classes of mmengine."""
    if isinstance(value, ConfigDict):
        return value.to_dict()
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value


def distinct_parts(case: Case) -> Iterator[Part]:
    """Yield the data sets of a case, each once.

    That of the test is often that of the validation.
    """
    seen: list[ConfigDict] = []
    for part in case.parts:
        if part.dataset is not None and part.cfg not in seen:
            seen.append(part.cfg)
            yield part


def head_configs(cfg: Config) -> Iterator[tuple[str, ConfigDict]]:
    """Yield the keys and the configs of the heads of a segmentor."""
    model = cfg.get('model') or {}
    for name in _HEADS:
        head = model.get(name)
        if isinstance(head, ConfigDict):
            yield f'model.{name}', head
        elif isinstance(head, list | tuple):
            for number, each in enumerate(head):
                if isinstance(each, ConfigDict):
                    yield f'model.{name}.{number}', each


def is_learned(value: int | None, names: Sequence[str]) -> bool:
    """Tell whether a label is a class that a model has to learn.

    Args:
        value: The label.
        names: The classes; void among them is none.
    """
    if value is None or not 0 <= value < len(names):
        return False
    return names[value].lower() not in VOID_NAMES


def label_families(case: Case) -> list[LabelFamily]:
    """Return the data sets of a case by how their labels were made.

    Args:
        case: One of MMSeg.
    """
    families: dict[tuple[str, ...], LabelFamily] = {}
    for part in case.parts:
        if part.dataset is None or not part.classes:
            continue
        key = repr(part.cfg.get('type')), str(part.cfg.get('data_root'))
        if key not in families:
            families[key] = _family(part, case.cfg)
        families[key].parts.append(part)
        for sample in part.samples:
            if sample.label is not None:
                families[key].add(sample.label)
    return list(families.values())


def _family(part: Part, cfg: Config) -> LabelFamily:
    """Return the family of a data set, without members."""
    # One class is told from the background by one output.
    count = max(len(part.classes), 2)
    own = getattr(part.dataset, 'label_map', None)
    # Else its keys are the classes that the data set has of itself.
    new = own if own and part.cfg.get('label_map') else {}
    heads = [
        ClassHead(key, count, ignore_index=head.get('ignore_index', 255))
        for key, head in head_configs(cfg)
    ]
    return LabelFamily(
        [],
        part.classes,
        _VALUES if new else len(own or ()) or count,
        count,
        # That heads leave out others, or classes, is told of the heads.
        frozenset(
            value
            for value in (*ignored_labels(heads), IGNORE_INDEX)
            if value == IGNORE_INDEX or not is_learned(value, part.classes)
        ),
        len(sample_info(part.dataset).get('color_map') or ()),
        bool(own),
        new,
    )
