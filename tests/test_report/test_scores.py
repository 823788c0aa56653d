"""Scores from the counts of a run, against the metric and naive loops."""

import numpy as np
import pytest
import torch

from helpers.compared_runs import count, draw_labels, spoil, write_run
from mmseg_ext.evaluation.metrics.iou import IoU
from mmseg_ext.formats.run_records import read_counts, read_meta
from mmseg_ext.report.scores import (
    class_iou,
    count_pixels,
    image_iou,
    included_classes,
    mean_iou,
    sum_by_class,
)

IGNORED = np.full((4, 5), 255, np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def counts_of(folder):
    return read_counts(folder, read_meta(folder))


def metric(labels, predictions, classes, **options):
    """Score as the metric does; return its results and its matrix."""
    scorer = IoU(classwise=True, **options)
    scorer.dataset_meta = {'classes': [f'c{k}' for k in range(classes)]}
    samples = [
        {
            'pred_sem_seg': {'data': torch.from_numpy(prediction)},
            'gt_sem_seg': {'data': torch.from_numpy(label)},
        }
        for label, prediction in zip(labels, predictions, strict=True)
    ]
    scorer.process({}, samples)
    return scorer.evaluate(len(samples))


@pytest.mark.parametrize(
    'exclude',
    [pytest.param((), id='all'), pytest.param(('c1', 'c4'), id='some')],
)
def test_scores_are_those_of_the_metric(rng, tmp_path, exclude):
    """Of five classes one is nowhere, and one is only predicted."""
    labels = draw_labels(rng)
    predictions = spoil(rng, labels, 0.4, classes=4)
    folder = write_run(tmp_path / 'run', labels, predictions, 5)
    pixels = count_pixels(counts_of(folder), 5)
    hit, union = pixels.hit.sum(0), pixels.union.sum(0)
    names = [f'c{k}' for k in range(5)]
    included = included_classes(names, exclude)
    expected = metric(labels, predictions, 5, exclude=exclude)
    assert mean_iou(hit, union, included) * 100 == pytest.approx(
        expected['mIoU'], rel=1e-14
    )
    np.testing.assert_array_equal(
        class_iou(hit, union) * 100,
        [expected[f'IoU.{name}'] for name in names],
    )
    assert expected['IoU.c3'] == 0
    assert np.isnan(expected['IoU.c4'])


def test_pixels_of_each_image(rng, tmp_path):
    labels = [*draw_labels(rng), IGNORED]
    predictions = spoil(rng, labels, 0.3)
    folder = write_run(tmp_path / 'run', labels, predictions)
    counts = counts_of(folder)
    pixels = count_pixels(counts, 3)
    scores = image_iou(pixels)
    for index, pair in enumerate(zip(labels, predictions, strict=True)):
        matrix = count(*pair, 3)
        assert pixels.hit[index].tolist() == np.diagonal(matrix).tolist()
        assert pixels.labeled[index].tolist() == matrix.sum(1).tolist()
        assert pixels.predicted[index].tolist() == matrix.sum(0).tolist()
        ious = [
            matrix[k, k]
            / (matrix[k].sum() + matrix[:, k].sum() - matrix[k, k])
            for k in range(3)
            if matrix[k].any() or matrix[:, k].any()
        ]
        if ious:
            assert scores[index] == pytest.approx(sum(ious) / len(ious))
    assert np.isnan(scores[-1])
    boundary, errors = sum_by_class(counts, 3)
    assert boundary.sum(0).tolist() == counts.boundary.sum(0).tolist()
    union = pixels.union.sum(0)
    assert (errors.sum((1, 2)) == union - pixels.hit.sum(0)).all()


def test_nothing_to_score(tmp_path):
    folder = write_run(tmp_path / 'run', [IGNORED], [IGNORED * 0])
    pixels = count_pixels(counts_of(folder), 3)
    assert np.isnan(image_iou(pixels)).all()
    empty = write_run(tmp_path / 'empty', [], [])
    pixels = count_pixels(counts_of(empty), 3)
    assert pixels.hit.shape == (0, 3)
    assert np.isnan(mean_iou(pixels.hit.sum(0), pixels.union.sum(0)))


def test_classes_to_leave_out():
    assert included_classes(['a', 'b'], ['b']).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"\['c'\] not among the classes"):
        included_classes(['a', 'b'], ['a', 'c'])
    with pytest.raises(ValueError, match='no class is left'):
        included_classes(['a'], ['a'])
