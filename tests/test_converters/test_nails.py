import contextlib
import csv
import io
import json
import os
import runpy
import tracemalloc
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.command_lines import error_of
from helpers.real_data import NAILS
from mmseg_ext.converters.nail_masks import find_nails
from mmseg_ext.converters.nails import convert
from mmseg_ext.sample_data.nails import nail_scene, nail_stem, write_nails
from references import nails as reference

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/dataset_converters/nails.py'
SIZE = (64, 48)


@pytest.fixture(scope='session')
def photographs(tmp_path_factory):
    """Return a folder of images and masks, real ones if there are any."""
    if NAILS.is_dir():
        return NAILS
    root = tmp_path_factory.mktemp('nails')
    for index in range(0, 24, 3):
        scene = nail_scene((240, 180), 0, index)
        add(root, f'{nail_stem(index)}', scene.mask, scene.image)
    return root


@pytest.fixture(scope='session')
def truth(photographs):
    """Return the nails of each image, and how many are too small."""
    found, dropped = {}, 0
    for path in sorted(photographs.glob('images/*')):
        [mask] = photographs.glob(f'labels/{path.stem}.*')
        found[f'images/{path.name}'], small = reference.nails(mask)
        dropped += small
    return found, dropped


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def blob(shape=SIZE[::-1], top=10, left=10, bottom=20, right=16):
    """Return a mask with one bright rectangle, uint8 (H, W)."""
    mask = np.zeros(shape, np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def add(root, stem, mask=None, image=None, folders=None, suffixes=None):
    """Write a pair; folders and suffixes are those of image and mask."""
    mask = blob() if mask is None else mask
    if image is None:
        number = sum(map(ord, stem))
        shape = *mask.shape[:2], 3
        image = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
    paths = []
    for pixels, folder, suffix in zip(
        (image, mask),
        folders or ('images', 'labels'),
        suffixes or ('.jpg', '.png'),
        strict=True,
    ):
        path = root / folder / f'{stem}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
        paths.append(path)
    return paths


def load(out):
    return {
        split: json.loads((out / f'{split}.json').read_text())
        for split in ('train', 'valid')
    }


def file_names(out):
    return {
        split: [image['file_name'] for image in coco['images']]
        for split, coco in load(out).items()
    }


def masks_of(out):
    """Return the masks of each image, bool (H, W), by pycocotools."""
    found = {}
    for split in ('train', 'valid'):
        coco = quiet(COCO, out / f'{split}.json')
        for number, image in coco.imgs.items():
            found[image['file_name']] = [
                coco.annToMask(annotation) > 0
                for annotation in coco.imgToAnns[number]
            ]
    return found


def quiet(function, *args):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*args)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def same(masks, others):
    """Compare masks without their order."""
    return sorted(m.tobytes() for m in masks) == sorted(
        m.tobytes() for m in others
    )


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


# Nails.


@pytest.mark.parametrize('segmentation', ['rle', 'polygon'])
def test_photographs_equal_reference(photographs, truth, out, segmentation):
    report = convert(photographs, out, segmentation=segmentation)
    expected, dropped = truth
    found = masks_of(out)
    assert found.keys() == expected.keys()
    for name, masks in expected.items():
        assert same(found[name], masks), name
    assert report.dropped == dropped
    assert report.colored == 0
    assert sum(report.instances.values()) == sum(map(len, expected.values()))
    for coco in load(out).values():
        assert [c['name'] for c in coco['categories']] == ['nail']
        sizes = {
            image['id']: (image['width'], image['height'])
            for image in coco['images']
        }
        annotations = coco['annotations']
        for number, annotation in enumerate(annotations, 1):
            assert annotation['id'] == number
            assert annotation['image_id'] in sizes
            assert annotation['category_id'] == coco['categories'][0]['id']
            assert annotation['iscrowd'] == 0
        assert list(sizes) == list(range(1, len(sizes) + 1))
        for image in coco['images']:
            path = photographs / image['file_name']
            assert sizes[image['id']] == Image.open(path).size
            masks = found[image['file_name']]
            ours = [a for a in annotations if a['image_id'] == image['id']]
            for annotation, mask in zip(ours, masks, strict=True):
                assert annotation['bbox'] == reference.box(mask)
                assert annotation['area'] == mask.sum()


@pytest.mark.parametrize('nproc', [1, 2])
def test_sample_set_gives_the_scenes_nails(tmp_path, out, nproc):
    write_nails(tmp_path / 'set', num=12, size=(240, 180), progress=False)
    report = convert(tmp_path / 'set', out, nproc=nproc)
    assert report.colored == 4
    found = masks_of(out)
    for index in range(12):
        scene = nail_scene((240, 180), 0, index)
        truth = [
            scene.instances == n for n in range(1, scene.instances.max() + 1)
        ]
        if scene.style == 'touching':
            truth = reference.components(scene.instances > 0)
        name = f'Images/{index % 4 + 1}/{nail_stem(index)}.png'
        assert same(found[name], truth)


def test_split_touching_finds_the_scenes_nails(tmp_path, out):
    write_nails(tmp_path / 'set', num=12, size=(480, 360), progress=False)
    report = convert(tmp_path / 'set', out)
    assert (report.cut, report.touching) == (0, 4)
    assert '4 blobs look like touching nails: split_touching=' in str(report)
    report = convert(tmp_path / 'set', out, split_touching=True)
    assert (report.cut, report.touching) == (4, 0)
    assert 'look like' not in str(report)
    found = masks_of(out)
    for index in range(2, 12, 3):
        scene = nail_scene((480, 360), 0, index)
        masks = found[f'Images/{index % 4 + 1}/{nail_stem(index)}.png']
        assert len(masks) == scene.instances.max()
        assert (sum(masks) == (scene.instances > 0)).all()
        for number in range(1, scene.instances.max() + 1):
            truth = scene.instances == number
            assert max(iou(truth, mask) for mask in masks) > 0.9


def test_box_and_area_are_those_of_the_mask(tmp_path, out):
    mask = np.zeros((30, 40), np.uint8)
    mask[5:25, 7] = 255
    mask[24, 7:27] = 255
    add(tmp_path, 'a', mask)
    add(tmp_path, 'b', mask)
    convert(tmp_path, out)
    [annotation] = load(out)['train']['annotations']
    assert annotation['bbox'] == [7, 5, 20, 20]
    assert annotation['area'] == 39
    assert annotation['segmentation']['size'] == [30, 40]


def test_small_components_are_left_out():
    mask = np.zeros((60, 60), np.uint8)
    mask[2:6, 2:7] = 255  # 20 pixels
    mask[2:21, 30] = 255  # 19, in a box as high as that of the next one
    mask[2:22, 40] = 255
    np.fill_diagonal(mask[30:50, 30:50], 128)  # 8-connected
    mask[50:60, 0:10] = 127  # too dark
    mask = cv2.merge([mask] * 3)
    found = find_nails(mask)
    boxes = [(r.left, r.top, *r.mask.shape[::-1]) for r in found.regions]
    assert boxes == [(2, 2, 5, 4), (40, 2, 1, 20), (30, 30, 20, 20)]
    assert found.dropped == 1
    assert len(find_nails(mask, min_area=19).regions) == 4


def test_nested_components_stay_apart():
    mask = np.zeros((60, 60), np.uint8)
    cv2.circle(mask, (30, 30), 28, 255, 4)
    cv2.circle(mask, (30, 30), 10, 255, -1)
    found = find_nails(cv2.merge([mask] * 3)).regions
    assert len(found) == 2
    assert sum(int(region.mask.sum()) for region in found) == (mask > 0).sum()
    whole, inner = found
    assert whole.mask.shape == (60, 60)
    assert whole.mask[30, 30] == 0
    assert inner.mask.shape == (21, 21)


def fill_by_opencv(polygons, size, whole):
    """Fill polygons all at once, to whole coordinates."""
    outlines = [
        whole(np.array(polygon).reshape(-1, 2)).astype(np.int32)
        for polygon in polygons
    ]
    return cv2.fillPoly(np.zeros(size, np.uint8), outlines, 1) > 0


@pytest.mark.parametrize(
    ('segmentation', 'whole', 'exact'),
    [
        pytest.param('polygon', np.trunc, True, id='edges-cut-off'),
        pytest.param('polygon', np.round, False, id='edges-rounded'),
        pytest.param('contour', np.trunc, True, id='centers-cut-off'),
        pytest.param('contour', np.round, True, id='centers-rounded'),
    ],
)
def test_what_opencv_fills(
    photographs, truth, out, segmentation, whole, exact
):
    """Polygons along edges are a pixel too wide for readers that round."""
    convert(photographs, out, segmentation=segmentation)
    expected, _ = truth
    ious = []
    for coco in load(out).values():
        names = {image['id']: image['file_name'] for image in coco['images']}
        for row in coco['annotations']:
            masks = expected[names[row['image_id']]]
            filled = fill_by_opencv(row['segmentation'], masks[0].shape, whole)
            ious.append(max(iou(filled, mask) for mask in masks))
            assert row['area'] in [mask.sum() for mask in masks]
    assert len(ious) == sum(map(len, expected.values()))
    if exact:
        assert set(ious) == {1}
    else:
        assert 0.85 < np.mean(ious) < 0.95


def test_pycocotools_fills_less_than_contours_enclose(photographs, out):
    convert(photographs, out, segmentation='contour')
    coco = quiet(COCO, out / 'train.json')
    shares = [
        coco.annToMask(row).sum() / row['area']
        for row in coco.dataset['annotations']
    ]
    assert 0.8 < np.mean(shares) < 0.95


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('segmentation', ['rle', 'polygon'])
def test_any_mask_comes_back(tmp_path, out, seed, segmentation):
    """Specks, holes in holes, lines, and what touches the edges."""
    rng = np.random.default_rng(seed)
    noise = rng.random((40, 50)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), (0.3, 0.8, 1.5)[seed % 3])
    mask = np.uint8(255) * (noise > np.quantile(noise, 0.55))
    if seed == 5:
        mask[1:] = 255  # not all of it, which is the picture's frame
        mask[0] = mask[3:5, 3] = mask[20, 20] = mask[21, 21] = 0
    for stem in 'ab':
        add(tmp_path, stem, mask)
    convert(tmp_path, out, segmentation=segmentation, min_area=1)
    found = masks_of(out)['images/a.jpg']
    assert same(found, reference.components(mask > 0))
    for annotation in load(out)['train']['annotations']:
        shape = annotation['segmentation']
        if segmentation == 'rle':
            code = coco_mask.encode(
                np.asfortranarray(
                    quiet(COCO, out / 'train.json').annToMask(annotation)
                )
            )
            assert shape['counts'] == code['counts'].decode()
        else:
            assert all(len(polygon) >= 6 for polygon in shape)


@pytest.mark.parametrize('segmentation', ['rle', 'polygon'])
def test_truth_scores_full_marks(photographs, out, segmentation):
    convert(photographs, out, segmentation=segmentation)
    truth = quiet(COCO, out / 'train.json')
    results = [{**a, 'score': 0.9} for a in truth.dataset['annotations']]
    found = quiet(truth.loadRes, results)
    for kind in ('bbox', 'segm'):
        evaluation = COCOeval(truth, found, kind)
        quiet(evaluation.evaluate)
        quiet(evaluation.accumulate)
        quiet(evaluation.summarize)
        assert evaluation.stats[0] == 1.0


# Colors.


def test_jpeg_noise_is_no_color(tmp_path):
    rng = np.random.default_rng(0)
    mask = np.zeros((80, 120, 3), np.int16)
    for left in (10, 60):
        cv2.ellipse(mask, (left + 15, 40), (15, 25), 0, 0, 360, [230] * 3, -1)
    gray = mask[..., 0] > 127
    mask[::9, ::7] += rng.integers(-26, 26, mask[::9, ::7].shape)
    mask = mask.clip(0, 255).astype(np.uint8)
    assert 40 < np.ptp(mask, axis=2).max() <= 52
    found = find_nails(mask)
    assert not found.colored
    assert sorted(int(region.mask.sum()) for region in found.regions) == [
        c.sum() for c in sorted(reference.components(gray), key=np.sum)
    ]


@pytest.mark.parametrize('quality', [75, 95])
def test_colors_survive_jpeg(quality):
    for index in range(1, 12, 3):
        scene = nail_scene((480, 360), 0, index)
        data = cv2.imencode(
            '.jpg', scene.mask, [cv2.IMWRITE_JPEG_QUALITY, quality]
        )[1]
        mask = cv2.imdecode(data, cv2.IMREAD_COLOR)
        regions = find_nails(mask).regions
        assert len(regions) == scene.instances.max()
        for region in regions:
            painted = np.zeros(mask.shape[:2], bool)
            height, width = region.mask.shape
            painted[
                region.top : region.top + height,
                region.left : region.left + width,
            ] = region.mask
            assert (
                max(
                    iou(painted, scene.instances == number)
                    for number in range(1, scene.instances.max() + 1)
                )
                > 0.85
            )


def test_smoothed_colors():
    """Mixed pixels belong to a neighbor, not to nails of their own."""
    scene = nail_scene((480, 360), 0, 1)
    mask = cv2.GaussianBlur(scene.mask, (5, 5), 0)
    found = find_nails(mask, min_area=1)
    assert len(found.regions) == scene.instances.max()
    assert found.dropped == 0


def test_one_color_for_all():
    mask = np.zeros((40, 60, 3), np.uint8)
    mask[5:20, 5:15] = mask[5:20, 30:40] = (0, 0, 255)  # 76 of 255 in gray
    found = find_nails(mask)
    assert [region.left for region in found.regions] == [5, 30]
    assert not found.colored


# Ids and alpha.


def store_ids(instances):
    return Image.fromarray(instances)


def store_16_bits(instances):
    return Image.fromarray(instances.astype(np.uint16) * 300)


def store_palette(instances):
    image = Image.fromarray(instances)
    image.putpalette(np.array(reference.voc_palette(), np.uint8).tobytes())
    return image


def store_equal_channels(instances):
    return Image.fromarray(np.dstack([instances * np.uint8(20)] * 3))


@pytest.fixture(scope='module')
def scenes():
    return [nail_scene((240, 180), 0, index) for index in range(6)]


@pytest.mark.parametrize(
    ('store', 'segmentation', 'nproc'),
    [
        (store_ids, 'rle', 1),
        (store_ids, 'polygon', 2),
        (store_16_bits, 'rle', 1),
        (store_palette, 'rle', 2),
        (store_equal_channels, 'polygon', 1),
    ],
)
def test_ids_give_the_scenes_nails(
    tmp_path, out, scenes, store, segmentation, nproc
):
    for index, scene in enumerate(scenes):
        _, path = add(tmp_path, str(index), scene.mask, scene.image)
        store(scene.instances).save(path)
    report = convert(tmp_path, out, segmentation=segmentation, nproc=nproc)
    assert report.ids == 6
    assert report.broken == 0
    found = masks_of(out)
    for index, scene in enumerate(scenes):
        truth = reference.ids(scene.instances)
        assert same(found[f'images/{index}.jpg'], truth)
    assert '6 masks hold ids, each one nail; 0 ids lie' in str(report)


@pytest.mark.parametrize('segmentation', ['rle', 'polygon'])
def test_an_id_in_two_places(tmp_path, out, segmentation):
    mask = blob() // 255
    mask[14:16] = 0
    mask[30:40, 30:40] = 2
    for stem in 'ab':
        add(tmp_path, stem, mask)
    with pytest.raises(ValueError, match=r'a\.png: has 2 values, of which 1'):
        convert(tmp_path, out)
    report = convert(tmp_path, out, ids='yes', segmentation=segmentation)
    assert same(masks_of(out)['images/a.jpg'], reference.ids(mask))
    assert report.broken == 2
    rows = load(out)['train']['annotations']
    assert [row['bbox'] for row in rows] == [[10, 10, 6, 10], [30, 30, 10, 10]]
    assert [row['area'] for row in rows] == [48, 100]


def resave(image, way):
    """Save a black-and-white mask otherwise."""
    gray = image.convert('L')
    white = gray.point(lambda value: 255 * (value > 127))
    if way == 'alpha':
        color = Image.new('RGBA', image.size, (200, 30, 30, 0))
        color.putalpha(gray)
        return color
    return {
        'gray': gray,
        'rgba': image.convert('RGBA'),
        'bit': white.convert('1'),
        '0-1': white.point(lambda value: value // 255),
        'palette': image.quantize(256, dither=Image.Dither.NONE),
        '16-bit': Image.fromarray(np.asarray(gray).astype(np.uint16) * 257),
    }[way]


@pytest.mark.parametrize(
    'way', ['gray', 'rgba', 'bit', '0-1', 'palette', '16-bit', 'alpha']
)
def test_photographs_saved_otherwise(photographs, truth, tmp_path, out, way):
    expected, dropped = truth
    (tmp_path / 'images').symlink_to(photographs / 'images')
    (tmp_path / 'labels').mkdir()
    for name in expected:
        stem = Path(name).stem
        [mask] = photographs.glob(f'labels/{stem}.*')
        image = resave(Image.open(mask).convert('RGB'), way)
        image.save(tmp_path / f'labels/{stem}.png')
    report = convert(tmp_path, out)
    found = masks_of(out)
    assert found.keys() == expected.keys()
    for name, masks in expected.items():
        assert same(found[name], masks), name
    number = len(expected)
    assert report.dropped == dropped
    assert report.single == (number if way == '0-1' else 0)
    assert report.in_alpha == (number if way == 'alpha' else 0)
    assert report.ids == 0


def test_counts_of_a_report(tmp_path, out):
    mask = blob() // 255
    mask[30:40, 30:40] = 2
    mask[30:40, 39] = 255
    add(tmp_path, 'border', mask)
    store_palette(mask).save(tmp_path / 'labels/border.png')
    add(tmp_path, 'class', blob() // 255)
    report = convert(tmp_path, out)
    assert str(report).splitlines()[-3:] == [
        '1 masks hold ids, each one nail; 0 ids lie in several places',
        '1 masks have one dark value for all nails',
        '10 pixels of borders (255) are in no nail',
    ]


def test_dark_pixels_are_counted_without_ids(tmp_path, out):
    mask = blob()
    mask[30:40, 30:40] = 90
    for stem in 'ab':
        add(tmp_path, stem, mask)
    report = convert(tmp_path, out, ids='no')
    assert report.lost == 200
    assert str(report).splitlines()[-1] == (
        '200 pixels are neither near black nor in a nail: taken for background'
    )
    assert same(masks_of(out)['images/a.jpg'], [blob() > 0])


# Nails that touch in one color.


def pair(shape=(60, 80)):
    mask = np.zeros(shape, np.uint8)
    for column in (28, 51):
        cv2.ellipse(mask, (column, 30), (12, 20), 0, 0, 360, 255, -1)
    return mask


def test_cut():
    mask = cv2.merge([pair()] * 3)
    assert len(find_nails(mask).regions) == 1
    found = find_nails(mask, split_touching=True)
    assert found.cut == 1
    left, right = sorted(found.regions, key=lambda region: region.left)
    assert abs(left.left + left.mask.shape[1] - 39.5) <= 1.5
    assert abs(right.left - 39.5) <= 1.5
    areas = [int(region.mask.sum()) for region in (left, right)]
    assert sum(areas) == (mask[..., 0] > 0).sum()
    assert abs(areas[0] - areas[1]) < 60


@pytest.mark.parametrize('angle', [0, 30, 90])
@pytest.mark.parametrize('axes', [(8, 8), (10, 20), (6, 28)])
def test_single_nail_is_not_cut(axes, angle):
    mask = np.zeros((80, 80), np.uint8)
    cv2.ellipse(mask, (40, 40), axes, angle, 0, 360, 255, -1)
    found = find_nails(cv2.merge([mask] * 3), split_touching=True)
    assert len(found.regions) == 1
    assert found.cut == 0


# Layouts.


# Large and hostile masks.


@pytest.mark.parametrize('split_touching', [False, True])
@pytest.mark.parametrize('gap', [0, 3])
@pytest.mark.parametrize('colored', [False, True])
def test_hundreds_of_nails(split_touching, gap, colored):
    """More than eight bits count; some touch, which only colors tell."""
    colors = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 255, 255)]
    mask = np.zeros((500, 500, 3), np.uint8)
    for row, column in np.ndindex(18, 18):
        top, left = 5 + 25 * row, 5 + 25 * column
        color = colors[2 * (row % 2) + column % 2] if colored else (255,) * 3
        mask[top : top + 25 - gap, left : left + 25 - gap] = color
    found = find_nails(mask, split_touching=split_touching)
    assert len(found.regions) == (1 if not gap and not colored else 324)
    assert found.colored == colored


@pytest.mark.parametrize('touch', [1, 2])
def test_hundreds_of_touching_nails(touch):
    mask = np.zeros((820, 820), np.uint8)
    for row, column in np.ndindex(20, 20):
        center = 30 + 40 * column, 30 + 40 * row
        cv2.circle(mask, center, 19 + touch, 255, -1)
    found = find_nails(cv2.merge([mask] * 3), split_touching=True)
    assert len(found.regions) == 400
    assert found.cut == 1
    areas = [np.count_nonzero(region.mask) for region in found.regions]
    assert sum(areas) == np.count_nonzero(mask)
    assert max(areas) < 1.2 * min(areas)


@pytest.mark.parametrize('share', [0.5, 0.8])
def test_noise_takes_little_memory(share):
    """Arrays of the mask's size count, and never one for each speck."""
    noise = np.random.default_rng(0).random((800, 800)) < share
    mask = cv2.merge([noise.astype(np.uint8) * 255] * 3)
    tracemalloc.start()
    try:
        find_nails(mask, split_touching=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * noise.size


def test_noise_of_many_colors_takes_little_memory():
    colors = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    mask = np.maximum(colors, 64).repeat(8, axis=0).repeat(8, axis=1)
    tracemalloc.start()
    try:
        found = find_nails(mask)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.colored
    assert len(found.regions) > 255
    assert peak < 100 * mask[..., 0].size


def test_tree_of_the_tutorial(tmp_path, out):
    for group in '1234':
        for stem in 'abcde':
            add(
                tmp_path,
                stem,
                folders=(f'Images/{group}', f'Masks/{group}'),
                suffixes=('.JPG', '.png'),
            )
    report = convert(tmp_path, out)
    assert report.images == {'train': 16, 'valid': 4}
    names = file_names(out)
    assert [name.split('/')[1] for name in names['valid']] == list('1234')
    assert names['train'] == sorted(names['train'])
    assert names['train'][0].startswith('Images/1/')
    assert names['train'][0].endswith('.JPG')


def test_given_splits(tmp_path, out):
    folders = {
        'train': ('train/images/1', 'train/Masks/1'),
        'VAL': ('deep/VAL/images', 'deep/VAL/labels'),
        'valid': ('Images/valid', 'masks/valid'),
    }
    for name, pair_folders in folders.items():
        add(tmp_path, name, folders=pair_folders)
    convert(tmp_path, out)
    assert file_names(out) == {
        'train': ['train/images/1/train.jpg'],
        'valid': ['Images/valid/valid.jpg', 'deep/VAL/images/VAL.jpg'],
    }


def test_lists(tmp_path, out):
    for split in ('train', 'valid'):
        folders = f'{split}/images', f'{split}/masks'
        add(tmp_path, 'a, b', blob((20, 30)), folders=folders)
    convert(tmp_path, out)
    for split in ('train', 'valid'):
        path = out / 'csv_file' / f'{split}_info.csv'
        with open(path, newline='') as file:
            assert list(csv.reader(file)) == [
                ['images', 'masks', 'width', 'height'],
                [
                    f'{split}/images/a, b.jpg',
                    f'{split}/masks/a, b.png',
                    '30',
                    '20',
                ],
            ]


def test_other_files_are_passed_over(tmp_path, out):
    for stem in 'ab':
        add(tmp_path, stem)
    convert(tmp_path, out)
    expected = contents(out)
    for name in (
        '__MACOSX/images/._a.jpg',
        'images/._a.jpg',
        'images/.DS_Store',
        'images/.hidden/c.jpg',
        'images/Thumbs.db',
        'labels/notes.txt',
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'no image')
    add(tmp_path, 'sheet', folders=('vis', 'vis'), suffixes=('.jpg', '.png'))
    report = convert(tmp_path, out)
    assert contents(out) == expected
    assert report.stray == 2


@pytest.mark.parametrize(
    ('folders', 'message'),
    [
        pytest.param(
            ('images/masks', 'masks'), r'images and masks each', id='kind'
        ),
        pytest.param(
            ('train/images/val', 'masks'), r'train and val each', id='split'
        ),
        pytest.param(
            ('train/images', 'train/masks'),
            r'train/images/x\.jpg lies in the folder of a split, '
            r'images/a\.jpg in none',
            id='mixed',
        ),
    ],
)
def test_ambiguous_folders(tmp_path, out, folders, message):
    add(tmp_path, 'a')
    add(tmp_path, 'x', folders=folders)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, out, skip_invalid=True)
    assert not out.exists()


@pytest.mark.parametrize(
    ('folders', 'suffixes', 'what'),
    [
        pytest.param(None, ('.png', '.png'), 'image', id='image'),
        pytest.param(None, ('.jpg', '.bmp'), 'mask', id='mask'),
        pytest.param(('images', 'masks'), None, 'mask', id='both-names'),
    ],
)
def test_two_of_one_stem(tmp_path, out, folders, suffixes, what):
    paths = add(tmp_path, 'a')
    other = add(tmp_path, 'a', folders=folders, suffixes=suffixes)
    index = ('image', 'mask').index(what)
    for path in (paths, other)[1][1 - index :: 2]:
        if path not in paths:
            path.unlink()
    with pytest.raises(ValueError, match=f'both be the {what} ') as error:
        convert(tmp_path, out)
    assert str(paths[index]) in str(error.value)
    assert str(other[index]) in str(error.value)


def test_one_split_only(tmp_path, out):
    add(tmp_path, 'a', folders=('train/images', 'train/masks'))
    with pytest.raises(ValueError, match='none for valid'):
        convert(tmp_path, out)


def add_split(root, split, masks=True):
    folders = [f'{split}/{kind}' for kind in ('images', 'labels')]
    paths = add(root, Path(split).name, folders=folders)
    if not masks:
        paths[1].unlink()
    return paths


def test_a_folder_test_is_a_third_split(tmp_path, out):
    for split in ('train', 'valid', 'Test'):
        add_split(tmp_path, split)
    add(tmp_path, 'loose', folders=('test', 'train'))
    (tmp_path / 'train/loose.png').unlink()
    report = convert(tmp_path, out)
    assert report.images == {'train': 1, 'valid': 1, 'test': 1}
    assert report.stray == 1
    assert report.unlabeled == 0
    coco = json.loads((out / 'test.json').read_text())
    assert [row['file_name'] for row in coco['images']] == [
        'Test/images/Test.jpg'
    ]
    assert coco['annotations'][0]['bbox'] == [10, 10, 6, 10]
    assert [row['id'] for row in coco['annotations']] == [1]
    rows = (out / 'csv_file/test_info.csv').read_text().splitlines()
    assert rows[1:] == ['Test/images/Test.jpg,Test/labels/Test.png,64,48']


@pytest.mark.parametrize('given', [True, False])
def test_a_folder_test_without_masks_is_passed_over(tmp_path, out, given):
    for stem in ('train', 'valid'):
        folders = (f'{stem}/images', f'{stem}/masks') if given else None
        add(tmp_path, stem, folders=folders)
    convert(tmp_path, out)
    expected = contents(out)
    add_split(tmp_path, 'test', masks=False)
    add(tmp_path, 'y', folders=('test', 'test'))[1].unlink()
    report = convert(tmp_path, out)
    assert report.unlabeled == 2
    assert report.stray == 0
    assert not report.skipped
    assert str(report).splitlines()[0] == (
        '2 image files in folders test passed over: no mask is there'
    )
    assert contents(out) == expected
    (out / 'test.json').write_text('{}')
    report = convert(tmp_path, out)
    assert f'warning: {out}/test.json is not of this run' in str(report)
    assert (out / 'test.json').read_text() == '{}'


def test_a_folder_test_beside_what_is_divided(tmp_path, out):
    for stem in 'abcde':
        add(tmp_path, stem)
    convert(tmp_path, out)
    expected = contents(out)
    add_split(tmp_path, 'test')
    report = convert(tmp_path, out)
    assert report.images == {'train': 4, 'valid': 1, 'test': 1}
    found = contents(out)
    assert {name: found[name] for name in expected} == expected
    assert found.keys() - expected.keys() == {
        'test.json',
        'csv_file/test_info.csv',
    }


@pytest.mark.parametrize(
    ('splits', 'message'),
    [
        (['test'], 'has pairs for test, but none for train'),
        (['train', 'test'], 'has pairs for test and train, .* none for valid'),
        (['valid', 'test'], 'has pairs for test and valid, .* none for train'),
        (
            ['train', 'test', 'more'],
            'is ambiguous: train/images/train.jpg lies',
        ),
        (['test/train', 'valid'], 'is ambiguous: test and train each say'),
    ],
)
@pytest.mark.parametrize('skip_invalid', [False, True])
def test_a_folder_test_is_none_of_the_two(
    tmp_path, out, splits, message, skip_invalid
):
    for split in splits:
        add_split(tmp_path, split)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, out, skip_invalid=skip_invalid)
    assert not out.exists()


def test_a_test_image_without_a_mask_among_others(tmp_path, out):
    for split in ('train', 'valid', 'test'):
        add_split(tmp_path, split)
    image, mask = add(tmp_path, 'y', folders=('test/images', 'test/labels'))
    mask.unlink()
    with pytest.raises(ValueError, match=f'{image}: the image has no mask'):
        convert(tmp_path, out)
    report = convert(tmp_path, out, skip_invalid=True)
    assert report.images['test'] == 1
    assert [skip.file for skip in report.skipped] == [str(image)]
    black(tmp_path / 'test/labels/test.png')
    with pytest.raises(ValueError, match='no pair for test is valid'):
        convert(tmp_path, tmp_path / 'other', skip_invalid=True)


def test_only_images_of_a_test_are_no_pairs(tmp_path, out):
    add_split(tmp_path, 'test', masks=False)
    with pytest.raises(FileNotFoundError, match='has no pairs'):
        convert(tmp_path, out)


@pytest.mark.parametrize('name', ['Testing', 'tests', 'test'])
def test_other_names_of_splits(tmp_path, out, name):
    for split in ('Training', 'validation', name):
        folders = f'{split}/images', f'{split}/masks'
        add(tmp_path, split, folders=folders)
    report = convert(tmp_path, out)
    assert report.images == {'train': 1, 'valid': 1, 'test': 1}
    coco = json.loads((out / 'test.json').read_text())
    assert [image['file_name'] for image in coco['images']] == [
        f'{name}/images/{name}.jpg'
    ]


def test_no_split_for_validation(tmp_path, out):
    for split in ('Training', 'Testing'):
        folders = f'{split}/images', f'{split}/masks'
        add(tmp_path, split, folders=folders)
    with pytest.raises(ValueError, match='test and train, but none for val'):
        convert(tmp_path, out)


def test_nothing_there(tmp_path, out):
    with pytest.raises(FileNotFoundError, match='no/where is missing'):
        convert(tmp_path / 'no/where', out)
    with pytest.raises(FileNotFoundError, match='has no pairs'):
        convert(tmp_path, out)


@pytest.mark.parametrize(
    'arguments',
    [
        pytest.param({'segmentation': 'rles'}, id='segmentation'),
        pytest.param({'ids': True}, id='ids'),
        pytest.param({'min_area': 0}, id='min_area'),
        pytest.param({'val_fraction': 0.0}, id='val_fraction'),
        pytest.param({'val_fraction': 1.0}, id='val_fraction-1'),
        pytest.param({'nproc': 0}, id='nproc'),
    ],
)
def test_wrong_arguments(tmp_path, out, arguments):
    [name] = arguments
    with pytest.raises(ValueError, match=f'^{name}='):
        convert(tmp_path, out, **arguments)


# Splits.


def add_groups(root, sizes):
    for group, number in sizes.items():
        for index in range(number):
            folders = f'Images/{group}', f'Masks/{group}'
            add(root, f'{index:03}', folders=folders)


def test_each_group_is_split(tmp_path, out):
    add_groups(tmp_path, {'1': 10, '2': 2, '3': 1, '4': 16, '5': 1})
    convert(tmp_path, out, val_fraction=0.25, seed=3)
    valid = file_names(out)['valid']

    def rank(name):
        return sha256(f'3:{name}'.encode()).hexdigest()

    expected = []
    for group, total, number in (('1', 10, 2), ('2', 2, 1), ('4', 16, 4)):
        names = sorted(
            (f'{group}/{index:03}' for index in range(total)), key=rank
        )
        expected += names[:number]
    expected += sorted(['3/000', '5/000'], key=rank)[:1]
    assert valid == sorted(f'Images/{name}.jpg' for name in expected)


def test_each_image_is_in_one_fold(tmp_path, out):
    """Parts are as large as can be, and have a share of each group."""
    sizes = {'1': 10, '2': 2, '3': 1, '4': 16, '5': 1}
    add_groups(tmp_path, sizes)
    everything, seen = set(), []
    for fold in range(4):
        convert(tmp_path, out, folds=4, fold=fold, seed=3)
        names = file_names(out)
        assert not set(names['train']) & set(names['valid'])
        everything |= set(names['train'])
        seen += names['valid']
        assert len(names['train']) + len(names['valid']) == 30
        assert len(names['valid']) in (7, 8)
        for group, size in sizes.items():
            part = [
                n for n in names['valid'] if n.startswith(f'Images/{group}')
            ]
            assert size // 4 <= len(part) <= size // 4 + 1
    assert sorted(seen) == sorted(everything)
    first = file_names(out)
    convert(tmp_path, out, folds=4, fold=3, seed=4)
    assert file_names(out) != first


def test_folds_go_by_the_names(tmp_path, out):
    add_groups(tmp_path, {'1': 7})
    convert(tmp_path, out, folds=3, fold=1, seed=5)

    def rank(name):
        return sha256(f'5:1/{name}'.encode()).hexdigest()

    names = sorted((f'{index:03}' for index in range(7)), key=rank)
    expected = sorted(f'Images/1/{names[index]}.jpg' for index in (1, 4))
    assert file_names(out)['valid'] == expected


@pytest.mark.parametrize(
    ('folds', 'fold', 'expected'),
    [
        (1, 0, 'folds=1: expected 2 or more parts'),
        (4, 4, 'fold=4: expected 0 to 3 with folds=4'),
        (4, -1, 'fold=-1: expected 0 to 3 with folds=4'),
        (None, 1, 'fold=1: expected 0 without folds'),
        (4, 1, 'folds=4: .* has 3 pairs of image and mask to .* take fewer'),
    ],
)
def test_wrong_folds(tmp_path, out, folds, fold, expected):
    add_groups(tmp_path, {'1': 3})
    with pytest.raises(ValueError, match=f'^{expected}'):
        convert(tmp_path, out, folds=folds, fold=fold)
    assert not out.exists()


@pytest.mark.parametrize('share', [0.2, 0.3])
def test_folds_and_a_share(tmp_path, out, share):
    add_groups(tmp_path, {'1': 3})
    expected = f'^val_fraction={share}: expected none with folds=3, which are '
    with pytest.raises(ValueError, match=expected):
        convert(tmp_path, out, folds=3, val_fraction=share)
    assert not out.exists()


def test_folds_where_folders_give_the_split(tmp_path, out):
    for split in ('train', 'valid'):
        folders = f'{split}/images', f'{split}/masks'
        add(tmp_path, 'x', folders=folders)
    with pytest.raises(
        ValueError, match=r'^folds=2: .* has 0 pairs .* move the pairs out of '
    ):
        convert(tmp_path, out, folds=2)


def test_split_depends_on_names_and_seed_alone(tmp_path, out, monkeypatch):
    add_groups(tmp_path, {'1': 12, '2': 9})
    convert(tmp_path, out)
    first = contents(out)
    convert(tmp_path, out, nproc=2)
    assert contents(out) == first

    walk = os.walk

    def backwards(*args, **kwargs):
        for folder, folders, names in walk(*args, **kwargs):
            folders.sort(reverse=True)
            yield folder, folders, sorted(names, reverse=True)

    monkeypatch.setattr(os, 'walk', backwards)
    convert(tmp_path, out)
    assert contents(out) == first
    convert(tmp_path, out, seed=1)
    assert contents(out) != first


def test_one_image_cannot_be_split(tmp_path, out):
    add(tmp_path, 'a')
    with pytest.raises(ValueError, match='1 valid pairs'):
        convert(tmp_path, out)
    assert not out.exists()


# Turned photographs.


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif', '.webp'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_size_is_what_the_loader_reads(tmp_path, out, suffix, orientation):
    for stem in 'ab':
        image, mask = add(tmp_path, stem, suffixes=(suffix, '.png'))
        turn(image, orientation)
        shape = LoadImageFromFile()({'img_path': str(image)})['img_shape']
        cv2.imwrite(str(mask), blob(shape))
    convert(tmp_path, out)
    for coco in load(out).values():
        [info] = coco['images']
        assert (info['height'], info['width']) == shape
    if suffix == '.jpg':
        assert (shape == SIZE) == (orientation in (6, 8))


def test_turned_mask(tmp_path, out):
    """Image and mask are turned by EXIF alike."""
    for stem in 'ab':
        image, mask = add(tmp_path, stem, suffixes=('.jpg', '.jpg'))
        turn(image, 6)
        turn(mask, 6)
    convert(tmp_path, out)
    [annotation] = load(out)['train']['annotations']
    # The mask is of 48 rows, of which the lowest becomes the first column.
    assert annotation['bbox'] == [48 - 20, 10, 10, 6]


def turn(path, orientation):
    image = Image.open(path)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)


# Invalid files.


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-20])


def no_image(path):
    path.write_bytes(b'no image at all')


def empty(path):
    path.write_bytes(b'')


def black(path):
    cv2.imwrite(str(path), blob() * 0)


def inverted(path):
    cv2.imwrite(str(path), 255 - blob())


def unclear(path):
    cv2.imwrite(str(path), blob() // 255 + blob(left=30, right=40))


def smaller(path):
    cv2.imwrite(str(path), blob((48, 63)))


def turned(path):
    turn(path, 6)


INVALID = [
    pytest.param(1, Path.unlink, 0, 'the image has no mask', id='no-mask'),
    pytest.param(0, Path.unlink, 1, 'the mask has no image', id='no-image'),
    pytest.param(0, cut_off, 0, 'cannot be read', id='image-cut-off'),
    pytest.param(0, no_image, 0, 'cannot be read', id='image-other'),
    pytest.param(0, empty, 0, 'cannot be read', id='image-empty'),
    pytest.param(1, cut_off, 1, 'cannot be read', id='mask-cut-off'),
    pytest.param(1, empty, 1, 'cannot be read', id='mask-empty'),
    pytest.param(
        1, black, 1, r'has no nail.* has 0 of 255', id='mask-without-nail'
    ),
    pytest.param(1, inverted, 1, 'has a nail that reaches', id='inverted'),
    pytest.param(
        1, unclear, 1, "white nails, or ids.*ids='yes'", id='unclear'
    ),
    pytest.param(
        1, smaller, 1, r'is of 63x48 pixels.* has 64x48', id='mask-smaller'
    ),
    pytest.param(
        0, turned, 1, r'is of 64x48 pixels.* has 48x64', id='image-turned'
    ),
]


def test_no_valid_pair(tmp_path, out):
    for stem in 'abcd':
        no_image(add(tmp_path, stem)[0])
    out.mkdir()
    (out / 'skipped.json').write_text('[]')
    with pytest.raises(ValueError, match=r'no input is valid.*a\.jpg: cann'):
        convert(tmp_path, out, skip_invalid=True)
    assert contents(out) == {}


def test_no_valid_pair_of_a_split(tmp_path, out):
    for split in ('train', 'valid'):
        folders = f'{split}/images', f'{split}/masks'
        paths = add(tmp_path, split, folders=folders)
    no_image(paths[0])
    with pytest.raises(
        ValueError, match=r'no pair for valid is valid.*id\.jp'
    ):
        convert(tmp_path, out, skip_invalid=True)
    assert not out.exists()


@pytest.mark.parametrize(('which', 'spoil', 'named', 'message'), INVALID)
@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_invalid_file(tmp_path, out, suffix, which, spoil, named, message):
    root = tmp_path / 'set'
    suffixes = suffix, '.png'
    if spoil is cut_off:
        suffixes = suffix, suffix
    for stem in 'abd':
        add(root, stem, suffixes=suffixes)
    convert(root, tmp_path / 'good')
    paths = add(root, 'c', suffixes=suffixes)
    spoil(paths[which])
    with pytest.raises(ValueError, match=message) as error:
        convert(root, out)
    assert str(error.value).startswith(f'{paths[named]}: ')
    assert 'skip_invalid=True' in str(error.value)
    assert not out.exists()

    report = convert(root, out, nproc=2, skip_invalid=True)
    [skip] = report.skipped
    assert skip.file == str(paths[named])
    found = contents(out)
    assert json.loads(found.pop('skipped.json')) == [
        {'file': skip.file, 'reason': skip.reason}
    ]
    assert found == contents(tmp_path / 'good')


@pytest.mark.parametrize('suffix', ['.bmp', '.tif', '.webp'])
def test_cut_off_files_of_other_formats(tmp_path, out, suffix):
    for stem in 'ab':
        image, _ = add(tmp_path, stem, suffixes=(suffix, '.png'))
    convert(tmp_path, out)
    cut_off(image)
    with pytest.raises(ValueError, match=f'{image}: cannot be read'):
        convert(tmp_path, out)


def test_what_follows_a_file_does_no_harm(tmp_path, out):
    for stem in 'ab':
        for path in add(tmp_path, stem):
            path.write_bytes(path.read_bytes() + b'a film of the same hand')
    report = convert(tmp_path, out)
    assert report.images == {'train': 1, 'valid': 1}


# The tool.


def run_tool(*argv):
    runpy.run_path(str(TOOL))['main']([str(part) for part in argv])


def test_tool(tmp_path, capsys):
    write_nails(tmp_path, num=8, size=(240, 180), progress=False)
    add(tmp_path, 'x', folders=('Images', 'lost'))
    run_tool(tmp_path, '--skip-invalid', '--val-fraction', '0.4')
    annotations = tmp_path / 'annotations'
    printed = capsys.readouterr().out.splitlines()
    coco = load(annotations)
    assert printed == [
        'warning: 1 image files lie below no folder images, masks or labels',
        *(
            f'{annotations / split}.json: 4 images, '
            f'{len(coco[split]["annotations"])} nails'
            for split in ('train', 'valid')
        ),
        '3 masks tell nails apart by color, 0 blobs cut, 0 components left '
        'out as too small',
        '2 blobs look like touching nails: --split-touching cuts them apart',
        f'skipped {tmp_path}/Images/x.jpg: the image has no mask',
        f'1 invalid files skipped, see {annotations / "skipped.json"}',
        f'next: mmseg-ext browse {annotations}/train.json --img-dir {tmp_path}'
        ' --num 40  # look before you train',
    ]
    convert(tmp_path, tmp_path / 'same', val_fraction=0.4, skip_invalid=True)
    assert contents(annotations) == contents(tmp_path / 'same')


def test_tool_names_the_flag_of_ids(tmp_path, capsys):
    add(tmp_path, 'a')
    unclear(add(tmp_path, 'b')[1])
    message = error_of(capsys, run_tool, tmp_path)
    assert message.startswith(f'{tmp_path}/labels/b.png: has the value 1 in ')
    assert '--ids yes takes each value for one nail, --ids no ' in message
    assert '--skip-invalid' in message
    run_tool(tmp_path, '--ids', 'no')
    names = masks_of(tmp_path / 'annotations')
    assert same(names['images/b.jpg'], [blob(left=30, right=40) > 0])


def test_tool_names_the_flags_in_its_report(tmp_path, capsys):
    for stem in 'abc':
        _, path = add(tmp_path, stem)
    unclear(path)
    run_tool(tmp_path, '--skip-invalid')
    printed = capsys.readouterr().out
    assert f'skipped {path}: has the value 1 in ' in printed
    assert '--ids yes takes each value for one nail, --ids no ' in printed


def test_tool_names_what_is_wrong(tmp_path, capsys):
    message = error_of(capsys, run_tool, tmp_path)
    assert message.startswith(f'{tmp_path} has no pairs')
