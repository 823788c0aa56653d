"""Scores of detectors, against pycocotools and by hand."""

import contextlib
import io

import msgspec
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.instance_runs import (
    detection,
    instances,
    label,
    random_instances,
)
from mmseg_ext.report.instance_scores import (
    Mistake,
    bootstrap_scores,
    resample_scores,
    score,
    score_shown,
)

BOX, FAR = [20, 20, 60, 60], [200, 150, 60, 60]

#: A third of the box is beside it: their IoU is a half less.
BESIDE = [50, 20, 60, 60]


def reference(content, classes, kind, copies=None):
    """Let pycocotools evaluate, images being there so many times."""
    copies = [1] * len(content.images) if copies is None else copies
    images = [k for k, number in enumerate(copies) for _ in range(number)]
    file = COCO()
    rows = {'labels': [], 'detections': []}
    for copy, image in enumerate(images):
        for name, found in rows.items():
            found += [
                {**msgspec.to_builtins(each), 'image_id': copy}
                for each in getattr(content, name)
                if each.image_id == image
            ]
    for number, row in enumerate(rows['labels'], 1):
        row['area'] = row['bbox'][2] * row['bbox'][3]
        row['id'] = number
    size = content.images[0]
    file.dataset = {
        'images': [
            {'id': copy, 'width': size.width, 'height': size.height}
            for copy in range(len(images))
        ],
        'categories': [{'id': k, 'name': str(k)} for k in range(classes)],
        'annotations': rows['labels'],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        file.createIndex()
        result = COCOeval(file, file.loadRes(rows['detections']), kind)
        result.evaluate()
        result.accumulate()
        result.summarize()
    return result


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
@pytest.mark.parametrize('seed', [0, 1])
def test_scores_are_those_of_pycocotools(kind, seed):
    content = random_instances(seed, masks=kind == 'segm')
    scores, expected = score(content, 3, kind), reference(content, 3, kind)
    precision, recall = (
        np.where(each < 0, np.nan, each)[..., -1]
        for each in (expected.eval['precision'], expected.eval['recall'])
    )
    np.testing.assert_allclose(scores.precision, precision, atol=1e-12)
    np.testing.assert_allclose(scores.recall, recall, atol=1e-12)
    # AP, AP50, AP75, by sizes; the class without labels does not count.
    assert np.isnan(scores.class_ap[2]).all()
    stats = np.where(expected.stats < 0, np.nan, expected.stats)
    np.testing.assert_allclose(scores.ap, stats[:6], atol=1e-12)
    np.testing.assert_allclose(
        np.nanmean(scores.class_recall), stats[8], atol=1e-12
    )


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_weights_stand_for_copies_of_images(kind):
    content = random_instances(3, images=8, masks=kind == 'segm')
    # Which of those with one score comes first would be another with copies.
    for number, each in enumerate(content.detections):
        each.score = (each.score + number / 1000) / 2
    weights = np.array(
        [
            [1, 1, 1, 1, 1, 1, 1, 1],
            [2, 0, 1, 0, 3, 1, 1, 0],
            [0, 0, 0, 8, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 8],
        ]
    )
    found = resample_scores(
        score(content, 3, kind).matches, weights.astype(float)
    )
    for copies, row in zip(weights[:-1], found, strict=False):
        result = reference(content, 3, kind, copies)
        precision = result.eval['precision'][..., 0, -1]
        precision = np.where(precision < 0, np.nan, precision).mean(1)
        np.testing.assert_allclose(row[:, 0], precision.mean(0), atol=1e-6)
        np.testing.assert_allclose(row[:, 1], precision[0], atol=1e-6)
    whole = score(content, 3, kind).class_ap[:, :2]
    np.testing.assert_allclose(found[0], whole, atol=1e-7)
    # The last image has no label.
    assert np.isnan(found[-1]).all()


def test_intervals_hold_the_score():
    scores = score(random_instances(images=40), 3, 'bbox')
    mean, classes = bootstrap_scores(scores, np.arange(40), 300)
    np.testing.assert_array_equal(mean.value, scores.ap[:2])
    assert (mean.low < mean.value).all()
    assert (mean.value < mean.high).all()
    assert np.isnan(classes.low[2]).all()
    again, _ = bootstrap_scores(scores, np.arange(40), 300)
    np.testing.assert_array_equal(mean.low, again.low)
    # One sequence says nothing of others.
    alone, _ = bootstrap_scores(scores, np.zeros(40, int), 300)
    assert np.isnan(alone.low).all()


#: More objects that are found, so that precision is not 0 throughout.
FOUND = (
    [label(1, 0, BOX), label(1, 1, FAR)],
    [detection(1, 0, BOX, 0.8), detection(1, 1, FAR, 0.8)],
)


@pytest.mark.parametrize(
    ('given', 'kind', 'gain'),
    [
        pytest.param([detection(0, 1, BOX)], 'Cls', None, id='class'),
        pytest.param([detection(0, 0, BESIDE)], 'Loc', None, id='place'),
        pytest.param([detection(0, 1, BESIDE)], 'Both', None, id='both'),
        pytest.param(
            [detection(0, 0, BOX, 0.9), detection(0, 0, BOX, 0.85)],
            'Dupe',
            # Of one class of two: up to a recall of 0.5 precision is 1, then
            # it is 2 of 3.
            (1 - (51 + 50 * 2 / 3) / 101) / 2,
            id='twice',
        ),
        pytest.param([detection(0, 0, FAR)], 'Bkg', None, id='invented'),
        pytest.param([], 'Miss', 50 / 101 / 2, id='missed'),
    ],
)
def test_errors_have_kinds(given, kind, gain):
    content = instances(
        [label(0, 0, BOX), *FOUND[0]], [*given, *FOUND[1]], images=2
    )
    errors = score(content, 2, 'bbox').errors
    assert errors[kind][0] == 1
    others = {'Bkg': {'Miss'}, 'Both': {'Miss'}}.get(kind, set())
    assert {key for key, (count, _) in errors.items() if count} == (
        {kind} | others
    )
    assert errors[kind][1] > 0
    if gain is not None:
        assert errors[kind][1] == pytest.approx(gain)


def test_what_is_shown():
    content = instances(
        [
            label(0, 0, BOX),
            label(0, 1, FAR),
            label(1, 1, BOX),
            label(2, 0, FAR, crowd=1),
        ],
        [
            detection(0, 0, BOX, 0.9),  # right
            detection(0, 0, FAR, 0.8),  # of another class
            detection(1, 1, FAR, 0.7),  # invented
            detection(1, 1, BOX, 0.3),  # right, but of a low score
            detection(2, 0, FAR, 0.9),  # on a crowd
        ],
        images=4,
    )
    shown = score_shown(content, 2, 'bbox', 0.5)
    assert shown.right.tolist() == [1, 0, 0, 0]
    assert shown.invented.tolist() == [1, 1, 0, 0]
    assert shown.missed.tolist() == [1, 1, 0, 0]
    assert shown.matrix.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert shown.found == {0}
    assert shown.known == {0: True, 1: False, 2: False}
    assert shown.mistakes == [Mistake(1, 1), Mistake(2, None)]
    np.testing.assert_allclose(shown.f1, [0.5, 0, np.nan, np.nan])


def test_the_best_score_is_that_of_the_best_f1():
    """By brute force over all scores."""
    content = random_instances(5, images=30)
    scores = score(content, 3, 'bbox')

    def f1(least):
        shown = score_shown(content, 3, 'bbox', least)
        right, wrong, missed = (
            int(each.sum())
            for each in (shown.right, shown.invented, shown.missed)
        )
        return 2 * right / (2 * right + wrong + missed)

    values = {each.score for each in content.detections}
    assert f1(scores.best_score) == max(map(f1, values))


@pytest.mark.parametrize(
    ('labels', 'detections', 'ap'),
    [
        pytest.param([], [], np.nan, id='nothing'),
        pytest.param([label(0, 0, BOX)], [], 0, id='no detections'),
        pytest.param([], [detection(0, 0, BOX)], np.nan, id='no labels'),
        pytest.param(
            [label(0, 0, BOX)], [detection(0, 0, BOX)], 1, id='all right'
        ),
        pytest.param(
            [label(0, 0, BOX, crowd=1)],
            [detection(0, 0, BOX)],
            np.nan,
            id='crowds alone',
        ),
    ],
)
def test_little_or_nothing(labels, detections, ap):
    content = instances(labels, detections)
    scores = score(content, 1, 'bbox')
    np.testing.assert_allclose(scores.ap[0], ap)
    mean, _ = bootstrap_scores(scores, np.arange(2), 50)
    np.testing.assert_allclose(mean.value[0], ap)
    shown = score_shown(content, 1, 'bbox', scores.best_score)
    assert shown.right.sum() == (ap == 1)


def test_scores_by_objects_in_an_image():
    content = instances(
        [label(0, 0, BOX), *[label(1, 0, FAR)] * 6],
        [detection(0, 0, BOX)],
        images=3,
    )
    crowds = score(content, 1, 'bbox').crowds
    assert list(crowds) == ['1', '5 to 9']
    assert crowds['1'] == (1, pytest.approx(1), pytest.approx(1))
    assert crowds['5 to 9'][1] == 0


def test_calibration():
    content = instances(
        [label(0, 0, BOX)],
        [
            detection(0, 0, BOX, 0.95),
            detection(0, 0, FAR, 0.85),
            detection(1, 0, FAR, 0.85),
        ],
    )
    told = score(content, 1, 'bbox').calibration
    bins = {b['bin_lower']: b for b in told['bins'] if b['count']}
    assert bins[0.9]['avg_accuracy'] == 1
    assert bins[0.8]['avg_accuracy'] == 0
    assert told['ece'] == pytest.approx((0.05 + 2 * 0.85) / 3)
