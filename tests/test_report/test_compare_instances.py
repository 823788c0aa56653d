"""Two runs of a detector, against pycocotools."""

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmseg_ext.formats.coco import MaskCode
from mmseg_ext.formats.instance_records import (
    Detection,
    Instances,
    Label,
    RecordedImage,
    read_instances,
    write_instances,
)
from mmseg_ext.formats.run_records import Meta, read_meta, write_meta
from mmseg_ext.report.compare import compare
from mmseg_ext.report.compare_page import compare_runs_to_page
from mmseg_ext.report.instance_scores import score
from tests.helpers.run_pages import Page, decode

CLASSES = ('nail', 'screw', 'never there')
IMAGES = 30

#: Kinds of errors of the page, as TIDE names them.
TIDE = {
    'class': 'Cls',
    'place': 'Loc',
    'class and place': 'Both',
    'twice': 'Dupe',
    'on nothing': 'Bkg',
    'not seen': 'Miss',
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def draw_boxes(rng):
    """Return labels of all images, some of them none."""
    return [
        Label(
            image_id=image,
            category_id=int(rng.integers(2)),
            bbox=[
                *rng.integers(0, 70, 2).tolist(),
                *rng.integers(12, 30, 2).tolist(),
            ],
        )
        for image in range(IMAGES)
        for _ in range(image % 4)
    ]


def detect(rng, labels, spread):
    """Return boxes beside the labels, and some that are on nothing."""
    found = []
    for label in labels:
        box = np.array(label.bbox) + rng.normal(0, spread, 4)
        found.append((label.image_id, label.category_id, box))
    for _ in range(20):
        box = np.append(rng.uniform(0, 70, 2), rng.uniform(10, 30, 2))
        found.append((int(rng.integers(IMAGES)), int(rng.integers(2)), box))
    scores = rng.permutation(len(found)) / len(found)
    return [
        Detection(
            image_id=image,
            category_id=category,
            bbox=np.maximum(box, 1).tolist(),
            score=float(score),
        )
        for (image, category, box), score in zip(found, scores, strict=True)
    ]


def write(folder, labels, detections, order=None):
    """Write a run directory, its images in some order."""
    order = list(range(IMAGES)) if order is None else order
    place = {image: number for number, image in enumerate(order)}
    images = [RecordedImage(0, f'{image}.png', 100, 100) for image in order]
    rows = copy.deepcopy((labels, detections))
    for row in (*rows[0], *rows[1]):
        row.image_id = place[row.image_id]
    write_instances(folder, CLASSES, Instances(images, *rows))
    palette = ((200, 0, 0), (0, 200, 0), (0, 0, 200))
    write_meta(
        folder,
        Meta(task='instance', classes=CLASSES, palette=palette, images=IMAGES),
    )
    return folder


def average_precision(labels, detections):
    """Return AP of each class by pycocotools; NaN without objects."""
    gt = COCO()
    gt.dataset = {
        'images': [{'id': k} for k in range(IMAGES)],
        'categories': [{'id': k, 'name': n} for k, n in enumerate(CLASSES)],
        'annotations': [
            {
                'id': number,
                'image_id': label.image_id,
                'category_id': label.category_id,
                'bbox': label.bbox,
                'area': label.bbox[2] * label.bbox[3],
                'iscrowd': 0,
            }
            for number, label in enumerate(labels, 1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        gt.createIndex()
        found = gt.loadRes(
            [
                {
                    'image_id': each.image_id,
                    'category_id': each.category_id,
                    'bbox': each.bbox,
                    'score': each.score,
                }
                for each in detections
            ]
        )
        result = COCOeval(gt, found, 'bbox')
        result.evaluate()
        result.accumulate()
    precision = result.eval['precision'][..., 0, -1].mean((0, 1))
    return np.where(precision < 0, np.nan, precision)


@pytest.fixture
def runs(rng, tmp_path):
    labels = draw_boxes(rng)
    first, second = (detect(rng, labels, spread) for spread in (4, 1))
    order = rng.permutation(IMAGES).tolist()
    return (
        write(tmp_path / 'a', labels, first),
        write(tmp_path / 'b', labels, second, order),
        labels,
        first,
        second,
    )


def test_scores_are_those_of_pycocotools(runs, tmp_path):
    folder_a, folder_b, labels, first, second = runs
    found = compare(folder_a, folder_b, bootstrap=200)
    expected = [average_precision(labels, each) for each in (first, second)]
    for mean, classes, ap in zip(
        found.means, found.classes, expected, strict=True
    ):
        np.testing.assert_allclose(classes.value, ap, atol=1e-12)
        assert mean.value == pytest.approx(np.nanmean(ap))
        assert mean.low < mean.value < mean.high
    assert found.score == 'box AP'
    assert found.mean_gain.difference.low > 0
    assert np.isnan(found.corrected).tolist() == [False, False, True]
    straight = write(tmp_path / 'c', labels, second)
    other = compare(folder_a, straight, bootstrap=200)
    assert other.mean_gain == found.mean_gain
    np.testing.assert_array_equal(other.image_scores, found.image_scores)
    # Images without an object or a detection have no score.
    assert np.isnan(found.image_scores).any()


def test_page(runs, tmp_path):
    out = tmp_path / 'compare.html'
    verdict, _ = compare_runs_to_page(*runs[:2], out, bootstrap=200)
    assert verdict.startswith('B is better: mean box AP goes from')
    page = Page(out)
    assert 'F1 at IoU 0.5' in page.text
    rows = page.table('error', 'in A', 'in B')
    for column, folder in ((2, runs[0]), (3, runs[1])):
        instances = read_instances(folder, read_meta(folder))
        errors = score(instances, len(CLASSES), 'bbox').errors
        for row in rows:
            count, gain = errors[TIDE[row[0]]]
            assert row[column] == str(count)
            assert row[column + 3] == f'{100 * gain:.2f}'
    assert {row[0] for row in rows} == {*TIDE}


#: Colors of what is found and missed.
FOUND, MISSED = (0, 158, 115), (230, 159, 0)


def test_pictures_show_what_was_won_and_lost(rng, tmp_path):
    labels = draw_boxes(rng)
    found = [
        Detection(
            image_id=each.image_id,
            category_id=each.category_id,
            bbox=each.bbox,
            score=0.9,
        )
        for each in labels
    ]
    folders = [
        write(
            tmp_path / name,
            labels,
            [each for each in found if each.image_id != missed],
            rng.permutation(IMAGES).tolist(),
        )
        for name, missed in (('a', 1), ('b', 2))
    ]
    out = tmp_path / 'compare.html'
    _, notes = compare_runs_to_page(*folders, out, bootstrap=100)
    assert '2 images cannot be shown' in notes[-1]
    page = Page(out)
    won, lost = (figure for figure in page.figures if figure['images'])
    for figure, name, colors in (
        (won, '1.png', (MISSED, FOUND)),
        (lost, '2.png', (FOUND, MISSED)),
    ):
        assert name in figure['text']
        pictures = dict(figure['images'])
        for run, color in zip('AB', colors, strict=True):
            pixels = decode(pictures[f'errors of {run} of {name}'])
            # Lines are thin, and WebP mixes them with what is beside them.
            away = [
                np.abs(pixels - each).max(2).min() for each in (FOUND, MISSED)
            ]
            assert (away[0] < away[1]) == (color == FOUND)


def rle(rows):
    """Return a mask as wide as the image, in COCO's code."""
    mask = np.zeros((100, 100), np.uint8, order='F')
    mask[rows] = 1
    return coco_mask.encode(mask)['counts'].decode()


def test_other_labels_and_images(runs, tmp_path):
    folder_a, _, labels, first, _ = runs
    moved = copy.deepcopy(labels)
    moved[5].bbox[0] += 1
    other = write(tmp_path / 'c', moved, first)
    name = f'{labels[5].image_id}.png'
    with pytest.raises(ValueError, match=f'a label of {name} .class, box'):
        compare(folder_a, other)
    masks = [
        MaskCode((100, 100), rle(area))
        for area in (slice(10, 20), slice(10, 21))
    ]
    folders = []
    for number, mask in enumerate(masks):
        masked = copy.deepcopy(labels)
        masked[5].segmentation = mask
        masked[5].area = 100
        folders.append(write(tmp_path / f'm{number}', masked, first))
    with pytest.raises(ValueError, match=f'the mask of a label of {name}'):
        compare(*folders)
    content = (other / 'annotations.json').read_text()
    (other / 'annotations.json').write_text(
        content.replace('"3.png"', '"4.png"')
    )
    with pytest.raises(ValueError, match='two images are called 4'):
        compare(folder_a, other)
    (other / 'annotations.json').write_text(
        content.replace('"3.png"', '"other.png"')
    )
    with pytest.raises(ValueError, match=r"image 3 is '3\.png' in the first"):
        compare(folder_a, other)
