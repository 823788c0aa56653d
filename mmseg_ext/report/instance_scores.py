"""Scores of a detector, as COCO has them, and what is behind them.

hotcoco matches, and says what kinds of errors there are; how the scores vary
with the images is computed from its matches.

Shapes: N images, C classes, T thresholds of IoU, D detections of a class.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
from hotcoco import COCO, COCOeval

from mmseg_ext.formats.instance_records import Detection, Instances
from mmseg_ext.report.bootstrap import (
    RESAMPLES,
    Estimates,
    count_any,
    count_clusters,
    resample_weights,
    score_intervals,
)

__all__ = [
    'SIZES',
    'ClassMatches',
    'Mistake',
    'Scores',
    'Shown',
    'bootstrap_scores',
    'evaluate',
    'mean_where_known',
    'resample_scores',
    'score',
    'score_shown',
]

#: Sizes of objects: all, and by area below 32 and 96 pixels squared.
SIZES = ('all', 'small', 'medium', 'large')

#: Where 0.5 and 0.75 are in the thresholds of IoU, 0.5 to 0.95.
_AT_50, _AT_75 = 0, 5

#: Recall at which precision is looked up.
_RECALLS = np.linspace(0, 1, 101)

#: A match as good as that is right, where images and confusions are counted.
_IOU = 0.5

#: Detections with this score are shown, whichever score is best.
_SCORE = 0.5

#: Objects in an image, by which images are told apart.
_CROWDS = ((1, 1), (2, 4), (5, 9), (10, 19), (20, None))

#: Weights of detections that are looked at at a time: they fit into a cache.
_WEIGHTS = 1 << 17


class ClassMatches(NamedTuple):
    """The detections of a class, the highest score first.

    Attributes:
        image: int64 (D,), of each detection.
        score: float64 (D,).
        hit: bool (T, D), whether it is right.
        counted: bool (T, D), whether it counts: not where it lies on a crowd.
        objects: int64 (N,), that each image has.
    """

    image: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    counted: np.ndarray
    objects: np.ndarray

    def best_score(self) -> float:
        """Return the score from which on F1 is best at IoU 0.5.

        Returns:
            NaN if nothing is right.
        """
        return _best_score([self])


class Mistake(NamedTuple):
    """A detection that may be right where the label is not.

    Attributes:
        detection: Its number in all.
        label: The number of the label of another class, in all; None where
            there is no label.
    """

    detection: int
    label: int | None


@dataclass(frozen=True)
class Shown:
    """What there is from a score on, at IoU 0.5.

    Attributes:
        least: The score.
        matrix: int64 (C + 1, C + 1), row label, column detection; the last
            row is what is on nothing, or twice; the last column what is
            missed.
        right: int64 (N,), detections that are.
        invented: int64 (N,), those that are not.
        missed: int64 (N,), labels.
        found: Numbers of labels that are.
        known: Whether each detection is right, by its number; those that do
            not count are not there.
        mistakes: The highest score first.
    """

    least: float
    matrix: np.ndarray
    right: np.ndarray
    invented: np.ndarray
    missed: np.ndarray
    found: frozenset[int]
    known: dict[int, bool]
    mistakes: Sequence[Mistake]

    @property
    def f1(self) -> np.ndarray:
        """F1 of each image, float64 (N,); NaN where it has nothing."""
        total = 2 * self.right + self.invented + self.missed
        with np.errstate(invalid='ignore'):
            return 2 * self.right / total


@dataclass(frozen=True)
class Scores:
    """Scores of boxes or masks; NaN where there is no object.

    Attributes:
        kind: ``'bbox'`` or ``'segm'``.
        precision: float64 (T, 101, C, 4), by recall 0 to 1 and sizes.
        recall: float64 (T, C, 4), the highest.
        matches: Of each class.
        errors: Detections or labels, and what mending them brings in AP50,
            by the name that TIDE gives to the kind of error.
        calibration: Of detections: confidence and share of right ones, by
            bins, and the expected and the largest error.
        crowds: Images, and AP and AP50, by the objects in an image.
    """

    kind: str
    precision: np.ndarray
    recall: np.ndarray
    matches: Sequence[ClassMatches]
    errors: dict[str, tuple[int, float]]
    calibration: dict[str, Any]
    crowds: dict[str, tuple[int, float, float]] = field(default_factory=dict)

    @property
    def class_ap(self) -> np.ndarray:
        """AP, AP50, AP75, AP of small, medium and large: float64 (C, 6)."""
        mean = self.precision.mean(1)
        return np.stack(
            [
                mean[..., 0].mean(0),
                mean[_AT_50, :, 0],
                mean[_AT_75, :, 0],
                *(mean[..., size].mean(0) for size in range(1, len(SIZES))),
            ],
            axis=1,
        )

    @property
    def ap(self) -> np.ndarray:
        """The mean of :attr:`class_ap` over classes with objects, (6,)."""
        return mean_where_known(self.class_ap)

    @property
    def class_recall(self) -> np.ndarray:
        """The highest recall, mean over IoU, float64 (C,)."""
        return self.recall[..., 0].mean(0)

    @property
    def objects(self) -> np.ndarray:
        """Of each class in each image, int64 (N, C)."""
        return np.stack([each.objects for each in self.matches], axis=1)

    @property
    def best_score(self) -> float:
        """The score from which on F1 of all classes is best at IoU 0.5."""
        best = _best_score(self.matches)
        return _SCORE if np.isnan(best) else best

    @property
    def least_shown(self) -> float:
        """The score from which on detections are shown."""
        return min(self.best_score, _SCORE)


def mean_where_known(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the mean of what is not NaN; NaN where nothing is left.

    Args:
        values: float64.
        axis: Over which it goes.
    """
    known = ~np.isnan(values)
    with np.errstate(invalid='ignore'):
        return np.where(known, values, 0).sum(axis) / known.sum(axis)


def evaluate(
    instances: Instances,
    classes: int,
    kind: str,
    numbers: Iterable[int] | None = None,
) -> COCOeval:
    """Match detections with labels.

    Args:
        instances: Both.
        classes: C.
        kind: ``'bbox'`` or ``'segm'``.
        numbers: Of the detections, which get the ids 1, 2 and so on; by
            default all. Labels have their numbers plus 1 as ids.
    """
    gt = COCO(
        {
            'images': [
                {
                    'id': number,
                    'file_name': str(number),
                    'width': image.width,
                    'height': image.height,
                }
                for number, image in enumerate(instances.images)
            ],
            # Its names have to differ.
            'categories': [{'id': n, 'name': str(n)} for n in range(classes)],
            'annotations': [
                {
                    **msgspec.to_builtins(label),
                    'id': number,
                    'iscrowd': int(label.iscrowd),
                    'area': label.bbox[2] * label.bbox[3]
                    if label.area is None
                    else label.area,
                }
                for number, label in enumerate(instances.labels, 1)
            ],
        }
    )
    found: Sequence[Detection] = instances.detections
    if numbers is not None:
        found = [found[number] for number in numbers]
    result = COCOeval(gt, gt.load_res(msgspec.to_builtins(found)), kind)
    result.evaluate()
    result.accumulate()
    return result


def score(instances: Instances, classes: int, kind: str) -> Scores:
    """Score all detections.

    Args:
        instances: They, and the labels.
        classes: C.
        kind: ``'bbox'`` or ``'segm'``.
    """
    result = evaluate(instances, classes, kind)
    arrays: dict[str, Any] = result.eval or {}
    precision, recall = (
        np.where(arrays[name] < 0, np.nan, arrays[name])[..., -1]
        for name in ('precision', 'recall')
    )
    tide = result.tide_errors()
    errors = {
        name: (count, float(tide['delta_ap'][name]))
        for name, count in tide['counts'].items()
    }
    calibration = result.calibration()
    crowds = _crowds(result, instances)
    # Matches are told one by one: not of all sizes again.
    whole = result.params.area_rng[:1]
    result.params.area_rng, result.params.area_rng_lbl = whole, list(SIZES[:1])
    result.evaluate()
    return Scores(
        kind,
        precision,
        recall,
        _matches(result, len(instances.images), classes),
        errors,
        calibration,
        crowds,
    )


def _matches(
    result: COCOeval, images: int, classes: int
) -> list[ClassMatches]:
    """Return the matches of each class."""
    rows: list[list[dict[str, Any]]] = [[] for _ in range(classes)]
    for row in result.eval_imgs:
        if row is not None:
            rows[row['category_id']].append(row)
    thresholds = len(result.params.iou_thrs)
    found = []
    for each in rows:
        each.sort(key=lambda row: row['image_id'])
        objects = np.zeros(images, np.int64)
        none = np.zeros((thresholds, 0), bool)
        image, scores, hit, ignored = [], [np.zeros(0)], [none], [none]
        for row in each:
            objects[row['image_id']] = np.count_nonzero(
                ~np.array(row['gtIgnore'], bool)
            )
            number = len(row['dtScores'])
            image += [row['image_id']] * number
            scores.append(np.array(row['dtScores'], np.float64))
            shape = thresholds, number
            hit.append(np.array(row['dtMatched'], bool).reshape(shape))
            ignored.append(np.array(row['dtIgnore'], bool).reshape(shape))
        score = np.concatenate(scores)
        order = np.argsort(-score, kind='stable')
        counted = ~np.hstack(ignored)[:, order]
        found.append(
            ClassMatches(
                np.array(image, np.int64)[order],
                score[order],
                np.hstack(hit)[:, order] & counted,
                counted,
                objects,
            )
        )
    return found


def _best_score(matches: Sequence[ClassMatches]) -> float:
    """Return the score from which on F1 of some classes together is best."""
    score = np.concatenate([each.score for each in matches])
    hit = np.concatenate([each.hit[_AT_50] for each in matches])
    counted = np.concatenate([each.counted[_AT_50] for each in matches])
    if not hit.any():
        return float('nan')
    order = np.argsort(-score, kind='stable')
    right, all_found = hit[order].cumsum(), counted[order].cumsum()
    objects = sum(int(each.objects.sum()) for each in matches)
    f1 = 2 * right / (all_found + objects)
    # Of detections with one score all are shown.
    f1[:-1][np.diff(score[order]) == 0] = -1
    return float(score[order][f1.argmax()])


def _crowds(
    result: COCOeval, instances: Instances
) -> dict[str, tuple[int, float, float]]:
    """Return images, AP and AP50 by the objects in an image."""
    objects = np.zeros(len(instances.images), int)
    for label in instances.labels:
        objects[label.image_id] += not label.iscrowd
    slices = {}
    for least, most in _CROWDS:
        chosen = objects >= least
        if most is not None:
            chosen &= objects <= most
        name = str(least) if least == most else f'{least} to {most}'
        if chosen.any():
            slices[name if most else f'{least} and more'] = np.flatnonzero(
                chosen
            ).tolist()
    if not slices:
        return {}
    found = result.slice_by(slices)
    return {
        name: (len(numbers), found[name]['AP'], found[name]['AP50'])
        for name, numbers in slices.items()
    }


def score_shown(
    instances: Instances, classes: int, kind: str, least: float
) -> Shown:
    """Tell image for image what is found, missed and invented.

    Args:
        instances: Labels and detections.
        classes: C.
        kind: ``'bbox'`` or ``'segm'``.
        least: The score from which on detections are shown.
    """
    numbers = [
        number
        for number, detection in enumerate(instances.detections)
        if detection.score >= least
    ]
    result = evaluate(instances, classes, kind, numbers)
    told = result.image_diagnostics(iou_thr=_IOU, score_thr=least)
    known = {
        numbers[key - 1]: status == 'tp'
        for key, status in told['dt_status'].items()
    }
    counts = np.zeros((3, len(instances.images)), np.int64)
    for image, row in told['img_summary'].items():
        counts[:, image] = row['tp'], row['fp'], row['fn']
    mistakes = [
        Mistake(
            numbers[row['dt_id'] - 1],
            None if row['gt_id'] is None else row['gt_id'] - 1,
        )
        for row in told['label_errors']
    ]
    # hotcoco takes what lies on a crowd for invented in this table alone.
    plain = evaluate(instances, classes, kind, sorted(known))
    return Shown(
        least,
        plain.confusion_matrix(iou_thr=_IOU)['matrix'].astype(np.int64),
        counts[0],
        counts[1],
        counts[2],
        frozenset(
            key - 1
            for key, status in told['gt_status'].items()
            if status == 'matched'
        ),
        known,
        sorted(
            mistakes,
            key=lambda each: -instances.detections[each.detection].score,
        ),
    )


def resample_scores(
    matches: Sequence[ClassMatches], weights: np.ndarray
) -> np.ndarray:
    """Return AP and AP50 where images are there several times, or not at all.

    Args:
        matches: Of each class.
        weights: float32 (R, N), how often each image is there.

    Returns:
        float64 (R, C, 2), NaN where a class has no object.
    """
    found = np.full((len(weights), len(matches), 2), np.nan)
    for number, each in enumerate(matches):
        part = max(1, _WEIGHTS // max(len(each.image), 1))
        for start in range(0, len(weights), part):
            ap = _weighted_ap(each, weights[start : start + part])
            found[start : start + part, number, 0] = ap.mean(0)
            found[start : start + part, number, 1] = ap[_AT_50]
    return found


def _weighted_ap(matches: ClassMatches, weights: np.ndarray) -> np.ndarray:
    """Return AP of a class at each IoU, float64 (T, R)."""
    objects = weights @ matches.objects
    # Sums of whole numbers, exact below 2^24.
    weight = weights[:, matches.image]
    counted = matches.counted
    alike = (counted == counted[0]).all()
    found = np.empty((len(counted), len(weights)))
    shown = np.zeros(0)
    for threshold, hit in enumerate(matches.hit):
        if not threshold or not alike:
            shown = np.cumsum(weight * counted[threshold], axis=1)
        # Precision has its peaks at what is right.
        right = np.cumsum(weight[:, hit], axis=1)
        found[threshold] = _area_below(right, shown[:, hit], objects)
    return np.where(objects > 0, found, np.nan)


def _area_below(
    right: np.ndarray, shown: np.ndarray, objects: np.ndarray
) -> np.ndarray:
    """Return the mean precision over recall, float64 (R,).

    Args:
        right: float32 (R, J), how many are right up to each that is.
        shown: float32 (R, J), how many there are up to the same.
        objects: float64 (R,).
    """
    precision = right / np.maximum(shown, 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = right / np.maximum(objects, 1)[:, None]
    # How many points of recall are reached with each that is right.
    reached = (100 * recall + 1e-9).astype(np.intp)
    reached += 1 - (_RECALLS[reached] > recall)
    steps = np.diff(reached, axis=1, prepend=0)
    ap: np.ndarray = (steps * precision).sum(1) / len(_RECALLS)
    return ap


def bootstrap_scores(
    scores: Scores,
    clusters: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Estimates, Estimates]:
    """Return AP and AP50 with intervals, matches staying as they are.

    Args:
        scores: Of all images.
        clusters: int (N,), the sequence of each image.
        resamples: How often sequences are drawn.
        seed: Of the draws.

    Returns:
        Of the mean over classes (2,), and of each class (C, 2).
    """
    weights = resample_weights(clusters, resamples, seed)
    drawn = resample_scores(scores.matches, weights)
    number = count_any(scores.objects, clusters)
    having = count_clusters(scores.objects, clusters)
    mean = mean_where_known(drawn, axis=1)
    return (
        score_intervals(scores.ap[:2], mean, number),
        score_intervals(scores.class_ap[:, :2], drawn, having[:, None]),
    )
