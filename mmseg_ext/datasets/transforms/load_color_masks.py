"""Loading of label maps from color masks."""

import logging
from dataclasses import replace

from mmengine.logging import print_log
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets.transforms.label_files import (
    SharedSet,
    put_label,
    read_label,
    warn_of_white,
)
from mmseg_ext.formats.color_masks import (
    IGNORE_INDEX,
    MAX_UNKNOWN,
    MaskRules,
    mask_decoder,
)

__all__ = ['LoadColorMasks']


@TRANSFORMS.register_module()
class LoadColorMasks(LoadAnnotations):
    """Load a label map from an RGB mask, or from an index mask.

    A drop-in for MMSeg's ``LoadAnnotations`` that looks the class of each
    pixel's color up in one table, whatever the number of classes. Which files
    hold colors and which indices is declared by the data set, or decided by
    the rule of :class:`mmseg_ext.formats.color_masks.MaskDecoder`.

    Required keys: ``seg_map_path``, ``color_map`` and ``index_map`` (see
    :class:`mmseg_ext.formats.color_masks.ColorClasses`), ``seg_fields``;
    optional: ``mask_rules`` (:class:`mmseg_ext.formats.color_masks.\
MaskRules`), ``label_map``, and ``ori_shape``, which the label must have. An
    image without ``seg_map_path``, as in inference, passes through.

    Added keys: ``gt_seg_map``, uint8 (H, W), class index or 255.

    A color that is in no row of the class list becomes 255; how many pixels
    that are and in which file is logged, once a file, whatever the number of
    workers and epochs. So is, once, as what
    values are read that may be indices or colors.

    Args:
        max_unknown: Share of a mask's pixels, 0 to 1, that may have unknown
            colors before it is an error: beyond it the masks and the class
            list do not belong together.
        backend_args: How mmengine's ``fileio`` reads the files.
    """

    def __init__(
        self,
        max_unknown: float = MAX_UNKNOWN,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(backend_args=backend_args)
        if not 0 <= max_unknown <= 1:
            raise ValueError(
                f'max_unknown={max_unknown}: expected a share from 0 to 1'
            )
        self.max_unknown = max_unknown
        self._reported = SharedSet()

    def _load_seg_map(self, results: dict) -> None:
        """Load the label map into ``results``.

        Raises:
            FileNotFoundError: There is no such label.
            ValueError: The label cannot be read as a mask, its size is not
                the image's, or its colors or values are not those of the
                class list.
        """
        path = results.get('seg_map_path')
        if path is None:
            return
        if 'color_map' not in results:
            raise ValueError(
                'LoadColorMasks needs the color map that ColorMaskDataset and '
                'CamVid give; use LoadAnnotations for index masks of other '
                'data sets'
            )
        data = read_label(results, self.backend_args)
        decoder = mask_decoder(*_relabel(results))
        decoded = decoder.decode_file(
            data, path, self.max_unknown, path not in self._reported
        )
        if decoded.warning:
            self._log_once(path, decoded.warning, logging.WARNING)
        if decoded.read_as:
            self._log_reading(path, decoded.read_as)
        if decoded.indices is not None:
            warn_of_white(decoded.indices, path, self._reported)
        put_label(results, decoded.labels)

    def _log_reading(self, path: str, kind: str) -> None:
        """Say once as what values are read, and if not all are alike."""
        other = {'index': 'color', 'color': 'index'}[kind]
        meaning = {'index': 'class indices', 'color': 'colors'}
        text = (
            f'the values of label {path} are read as {meaning[kind]}: say '
            f'masks={other!r} in the data set if they are {meaning[other]}'
        )
        self._log_once(f'read as {kind}', text, logging.INFO)
        if f'read as {other}' in self._reported:
            self._log_once(
                'read as both',
                f'{text}; other labels were read as {meaning[other]}',
                logging.WARNING,
            )

    def _log_once(self, key: str, text: str, level: int) -> None:
        if key not in self._reported and self._reported.claim(key):
            print_log(text, logger='current', level=level)

    def __repr__(self) -> str:
        """Name the options."""
        return (
            f'{type(self).__name__}(max_unknown={self.max_unknown}, '
            f'backend_args={self.backend_args})'
        )


def _relabel(results: dict) -> tuple[tuple, tuple, MaskRules]:
    """Apply MMSeg's ``label_map``, which custom ``classes`` give, to all."""
    colors, indices = results['color_map'], results['index_map']
    rules = results.get('mask_rules') or MaskRules()
    label_map = results.get('label_map')
    if not label_map:
        return colors, indices, rules
    new = {IGNORE_INDEX: IGNORE_INDEX, None: None, **label_map}
    return (
        tuple((color, new[index]) for color, index in colors),
        tuple(new[index] for index in indices),
        replace(rules, transparent=new[rules.transparent]),
    )
