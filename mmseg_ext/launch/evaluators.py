"""The test evaluator of a config by the names of metrics, and ``--out``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.utils import is_abs

from mmseg_ext.utils.images import write_png

SEGMENTATION_METRICS = ('mIoU', 'mDice', 'mFscore')
DETECTION_METRICS = ('bbox', 'segm')

#: Options that mean the same in upstream's ``IoUMetric`` and in ``IoU``.
_SHARED_IOU_OPTIONS = ('ignore_index', 'beta', 'prefix')


def scope_of(cfg: Config) -> str:
    """Name the package whose classes the config means."""
    return cfg.get('default_scope') or 'mmengine'


def type_name(cfg: dict) -> str:
    """Name the class of a config, without its scope."""
    kind = cfg.get('type', '')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def set_evaluator(cfg: Config, names: Sequence[str]) -> str:
    """Set the test evaluator by the names of metrics.

    Args:
        cfg: Changed in place.
        names: See :func:`choose_evaluator`.

    Returns:
        A line that says which evaluator was set and which it replaces.
    """
    replaced = [type_name(evaluator) for evaluator in _evaluators(cfg)]
    chosen = cfg.test_evaluator = choose_evaluator(cfg, names)
    options = ', '.join(
        f'{key}={value!r}' for key, value in chosen.items() if key != 'type'
    )
    line = (
        f'--eval {" ".join(names)}: the test evaluator is '
        f'{chosen["type"]}({options})'
    )
    others = [name for name in replaced if name != chosen['type']]
    return f'{line} in place of {", ".join(others)}' if others else line


def choose_evaluator(cfg: Config, names: Sequence[str]) -> dict[str, Any]:
    """Choose the evaluator for the names of metrics.

    Args:
        cfg: The config of a segmentor or detector. What its own
            ``test_evaluator`` says about the same scores is kept.
        names: Any of mIoU, mDice and mFscore for MMSeg, or of bbox and segm
            for MMDet.

    Returns:
        Config of ``IoU`` or ``CocoMetric``.

    Raises:
        ValueError: A name is unknown, the names or the config belong to
            different packages, or there is no COCO annotation file.
    """
    names = list(dict.fromkeys(names))
    families = {'mmseg': SEGMENTATION_METRICS, 'mmdet': DETECTION_METRICS}
    known = [name for family in families.values() for name in family]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            f'--eval {" ".join(unknown)}: expected one or more of '
            + ', '.join(known)
        )
    wanted = [p for p, family in families.items() if set(names) & set(family)]
    if len(wanted) > 1:
        raise ValueError(
            f'--eval {" ".join(names)} mixes metrics of semantic segmentation '
            f'({", ".join(SEGMENTATION_METRICS)}) with those of detection '
            f'({", ".join(DETECTION_METRICS)}); give those of one kind'
        )
    # Configs of scope mmseg_ext are MMSeg configs.
    scope = scope_of(cfg).removesuffix('_ext')
    if [scope] != wanted:
        raise ValueError(
            f'--eval {" ".join(names)} is for configs with default_scope '
            f'{wanted[0]}; this one has {scope}'
        )
    return _iou(cfg, names) if scope == 'mmseg' else _coco(cfg, names)


def _evaluators(cfg: Config) -> list[dict]:
    """List the config's own test evaluators."""
    evaluators = cfg.get('test_evaluator') or []
    return [evaluators] if isinstance(evaluators, dict) else list(evaluators)


def _options(cfg: Config, kind: str) -> dict[str, Any] | None:
    """Give the options of the config's first evaluator of a class."""
    for evaluator in _evaluators(cfg):
        if type_name(evaluator) == kind:
            return {k: v for k, v in evaluator.items() if k != 'type'}
    return None


def _iou(cfg: Config, names: list[str]) -> dict[str, Any]:
    """Choose ``IoU`` with the options of the config's ``IoU`` or the like."""
    options = _options(cfg, 'IoU')
    if options is None:
        upstream = _options(cfg, 'IoUMetric') or {}
        options = {
            k: v for k, v in upstream.items() if k in _SHARED_IOU_OPTIONS
        }
    return {'type': 'IoU', **options, 'iou_metrics': names}


def _coco(cfg: Config, names: list[str]) -> dict[str, Any]:
    """Choose ``CocoMetric`` with the options of the config's own."""
    options = _options(cfg, 'CocoMetric') or {}
    if not options.get('ann_file'):
        options.update(_annotations(cfg))
    ann_file = options['ann_file']
    remote = options.get('backend_args') or '://' in ann_file
    if not remote and not Path(ann_file).is_file():
        raise ValueError(
            f'--eval {" ".join(names)}: there is no annotation file {ann_file}'
        )
    options.update(metric=names, format_only=False)
    return {'type': 'CocoMetric', **options}


def _annotations(cfg: Config) -> dict[str, Any]:
    """Take the COCO annotation file from the test set.

    Returns:
        ``ann_file``, joined with ``data_root``, and ``backend_args`` if given.
    """
    found = {}
    for data_set in data_sets(cfg.get('test_dataloader') or {}):
        ann_file = data_set.get('ann_file') or ''
        if not ann_file.endswith('.json'):
            continue
        data_root = data_set.get('data_root')
        if data_root and not is_abs(ann_file):
            ann_file = os.path.join(data_root, ann_file)
        found[ann_file] = {'ann_file': ann_file}
        if data_set.get('backend_args'):
            found[ann_file]['backend_args'] = data_set['backend_args']
    if len(found) != 1:
        raise ValueError(
            '--eval bbox and segm need one COCO annotation file (.json), from '
            'the CocoMetric in test_evaluator or from test_dataloader.dataset;'
            f' the config gives {", ".join(found) or "none"}'
        )
    return found.popitem()[1]


def data_sets(cfg: dict) -> list[dict]:
    """List the data sets inside their wrappers, and inside the dataloader."""
    if 'dataset' in cfg:
        return data_sets(cfg['dataset'])
    if 'datasets' in cfg:
        return [leaf for part in cfg['datasets'] for leaf in data_sets(part)]
    return [cfg]


def prediction_writer(cfg: Config, out: str) -> BaseMetric:
    """Make the metric that writes predictions.

    Args:
        cfg: The config of a segmentor or detector.
        out: A folder for a segmentor, a pickle file for a detector.

    Raises:
        ValueError: ``out`` is the wrong one of the two.
    """
    pickle_file = out.endswith(('.pkl', '.pickle'))
    if scope_of(cfg) == 'mmdet':
        if not pickle_file:
            raise ValueError(
                f"--out {out}: a detector's predictions go to a pickle file, "
                'so expected a name that ends in .pkl or .pickle'
            )
        # MMDet may be absent.
        from mmdet.evaluation import DumpDetResults

        return DumpDetResults(out_file_path=out)
    if pickle_file or (os.path.exists(out) and not os.path.isdir(out)):
        raise ValueError(
            f'--out {out}: label maps are written as PNG files, so expected a '
            'folder'
        )
    roots = [
        os.path.join(
            data_set.get('data_root') or '',
            (data_set.get('data_prefix') or {}).get('img_path') or '',
        )
        for data_set in data_sets(cfg.test_dataloader)
    ]
    return LabelMapWriter(out, roots)


class LabelMapWriter(BaseMetric):
    """Writes predicted label maps as PNG files, laid out like the images.

    The values are those that MMSeg's ``IoUMetric`` writes: class indices, one
    higher where the data set was loaded with ``reduce_zero_label``. Files keep
    the subfolders of their images, so that two of the same name in different
    folders do not overwrite each other.

    Args:
        folder: Where the files go.
        image_roots: Folders that the images lie in. The file of an image that
            is in none of them goes into ``folder`` itself.
    """

    # Not None, which mmengine warns of; there are no scores to name.
    default_prefix = ''

    def __init__(
        self, folder: str | os.PathLike, image_roots: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.image_roots = [os.path.abspath(root) for root in image_roots]
        self._images: dict[Path, str] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the label maps of a batch.

        Args:
            data_batch: Not used.
            data_samples: One dict for each image with ``img_path`` and
                ``pred_sem_seg.data``, integer (1, H, W).

        Raises:
            ValueError: There is no label map, its values do not fit into 8
                bits, or its file belongs to another image.
        """
        for sample in data_samples:
            image = sample['img_path']
            if 'pred_sem_seg' not in sample:
                raise ValueError(f'{image}: --out found no pred_sem_seg')
            label_map = sample['pred_sem_seg']['data'].squeeze(0)
            if sample.get('reduce_zero_label'):
                label_map = label_map + 1
            if label_map.max() > 255:
                raise ValueError(
                    f'{image}: class {label_map.max()} does not fit into an '
                    '8-bit label map'
                )
            target = self._target(image)
            if self._images.setdefault(target, image) != image:
                raise ValueError(
                    f'{target} would hold the label maps of both '
                    f'{self._images[target]} and {image}'
                )
            write_png(target, label_map.to(torch.uint8).cpu().numpy())
            self.results.append(str(target))

    def _target(self, image: str) -> Path:
        """Give the file for an image."""
        path = Path(os.path.abspath(image))
        for root in self.image_roots:
            if path.is_relative_to(root):
                return self.folder / path.relative_to(root).with_suffix('.png')
        return self.folder / f'{path.stem}.png'

    def compute_metrics(self, results: list[str]) -> dict[str, float]:
        """Log how many files were written; there are no scores."""
        MMLogger.get_current_instance().info(
            f'{len(results)} label maps are in {self.folder}'
        )
        return {}
