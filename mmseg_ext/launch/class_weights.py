"""What ``mmseg-ext class-weights`` prints."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config

from mmseg_ext.engine.class_counts import count_classes
from mmseg_ext.engine.label_checks import unseen_classes
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.launch.configs import (
    check_output,
    load_config,
    require_keys,
    scope_of,
)
from mmseg_ext.launch.data_sets import build_data_set
from mmseg_ext.utils.arguments import require
from mmseg_ext.utils.class_weights import (
    class_frequencies,
    class_weights,
    rule_bounds,
)
from mmseg_ext.utils.files import write_text
from mmseg_ext.utils.text import printable

__all__ = ['WeighedClass', 'WeighedSet', 'weigh_classes']

#: Digits after the point of a weight: more mean nothing.
_DIGITS = 4

#: Characters of the longest bar.
_BAR = 24


class WeighedClass(NamedTuple):
    """A class of a training set.

    Attributes:
        name: Its name.
        pixels: How many it has in all images.
        images: How many images have at least one.
        frequency: Its pixels by all labeled pixels of these images; NaN
            where there is none.
        weight: What the rule makes of it, rounded.
    """

    name: str
    pixels: int
    images: int
    frequency: float
    weight: float


class WeighedSet(NamedTuple):
    """The classes of a training set.

    Attributes:
        classes: The classes, in the order of their indices.
        counted: How many images were counted.
        total: How many there are.
        unseen: The classes that labels can have, and of which none has a
            pixel.
        warnings: What is strange about the options, and what they set.
    """

    classes: list[WeighedClass]
    counted: int
    total: int
    unseen: Sequence[str] = ()
    warnings: Sequence[str] = ()

    @property
    def weights(self) -> list[float]:
        """The weights, as a config takes them."""
        return [row.weight for row in self.classes]

    def lines(self) -> Iterator[str]:
        """Yield the lines of a table."""
        names = [printable(row.name) for row in self.classes]
        width = max(map(len, ['class', *names]))
        yield (
            f'{"class":{width}} {"pixels":>12} {"images":>7} '
            f'{"frequency":>9} {"weight":>8}'
        )
        largest = max(self.weights)
        for name, row in zip(names, self.classes, strict=True):
            rare = f'{row.frequency:9.4f}' if row.pixels else f'{"-":>9}'
            yield (
                f'{name:{width}} {row.pixels:12} {row.images:7} {rare} '
                f'{row.weight:8.4f} '
                + '#'
                * max(1, round(_BAR * row.weight / largest))
            )

    def notes(self) -> Iterator[str]:
        """Yield what a reader has to know beside the table."""
        yield from self.warnings
        if self.counted < self.total:
            yield (
                f'{self.counted} of {self.total} images were counted, spread '
                'over all'
            )
        if self.unseen:
            yield (
                f'no pixel of the {self.counted} image(s) has the class(es) '
                f'{", ".join(map(printable, self.unseen))}: weight 1'
            )


def weigh_classes(
    config: str,
    rule: str = 'sqrt_median_frequency',
    bounds: Sequence[float] | None = None,
    max_images: int | None = None,
    cfg_options: dict | None = None,
    out: str | None = None,
) -> WeighedSet:
    """Weigh the classes of the training set of a config.

    Args:
        config: Path or name of an MMSeg config.
        rule: One of :data:`~mmseg_ext.utils.class_weights.RULES`.
        bounds: The least and the largest weight; None for those of the rule.
        max_images: In larger data sets so many images are counted; None
            counts all.
        cfg_options: Entries to change in the config.
        out: A ``.json`` file to write: the weights as a JSON list, which
            ``class_weight`` of ``BalancedCrossEntropy`` takes.

    Returns:
        The classes, with their weights.

    Raises:
        OSError: Labels cannot be read, or the file cannot be written.
        ValueError: An argument, the config or a label is wrong.
    """
    rule_bounds(rule, bounds)
    if max_images is not None and max_images < 1:
        raise ValueError(f'max_images={max_images}: expected 1 or more')
    if out is not None:
        require(
            'out', out, out.endswith('.json'), 'a file that ends with .json'
        )
        check_output('out', out, folder=False)
    warnings: list[str] = []
    tell = warnings.append
    cfg = load_config(config, None, cfg_options, tell, tell)
    require_keys(cfg, 'train_dataloader')
    if scope_of(cfg) == 'mmdet':
        raise ValueError(f'{cfg.filename}: expected an MMSeg config')
    dataset = build_data_set(cfg)
    names = dataset.metainfo['classes']
    head = _head(cfg)
    num_classes = head.get('num_classes', len(names))
    counts = count_classes(
        dataset,
        num_classes,
        head.get('ignore_index', IGNORE_INDEX),
        max_images=max_images,
    )
    weights = class_weights(counts, rule, bounds).round(_DIGITS).tolist()
    if not any(weights):
        raise ValueError(
            f'bounds={bounds}: all weights are 0 to {_DIGITS} digits: '
            'expected larger ones'
        )
    rows = [
        WeighedClass(*row)
        for row in zip(
            names[:num_classes],
            counts.sum(axis=0).tolist(),
            np.count_nonzero(counts, axis=0).tolist(),
            class_frequencies(counts).tolist(),
            weights,
            strict=True,
        )
    ]
    unseen = [names[index] for index in unseen_classes(dataset, counts, names)]
    if out is not None:
        write_text(out, json.dumps(weights) + '\n')
    return WeighedSet(rows, len(counts), len(dataset), unseen, warnings)


def _head(cfg: Config) -> dict[str, Any]:
    """Return the config of the head that predicts; empty if there is none."""
    head = (cfg.get('model') or {}).get('decode_head') or {}
    return head[-1] if isinstance(head, (list, tuple)) else head
