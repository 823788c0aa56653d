"""COCO files with one defect each, and files that are right."""

import codecs
import os
import shutil

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image
from pycocotools import mask as coco_mask

from helpers.doctor import SIZE, assert_only, plants
from mmseg_ext.doctor import gather
from mmseg_ext.doctor.findings import Level

WIDTH, HEIGHT = SIZE


@pytest.fixture
def light(shapes, monkeypatch):
    """The same data, of which the COCO files alone are looked at."""
    nothing = {'build_model': None, 'run_pipelines': (), 'scan_parts': None}
    for name, made in {**nothing, 'try_validation': None}.items():
        monkeypatch.setattr(
            gather, name, lambda *_, made=made: made, raising=False
        )
    return shapes


def spoil(patient, change, *splits, **options):
    """Change COCO files, healthy ones else; return what the doctor says."""
    for split in ('train', 'val'):
        path = patient.root / f'{split}.json'
        kept = path.with_suffix('.healthy')
        if not kept.exists():
            shutil.copy(path, kept)
        shutil.copy(kept, path)
        if split in splits:
            coco = patient.coco(split)
            change(coco)
            patient.write_coco(split, coco)
    return patient.examine(**options)


def as_it_is(coco):
    """Change nothing."""


def annotation(**fields):
    """Return a change of the fields of the first annotation."""
    return lambda coco: coco['annotations'][0].update(fields)


def every(**fields):
    """Return a change of the fields of all annotations."""

    def change(coco):
        for each in coco['annotations']:
            each.update(fields)

    return change


def without(name, key):
    """Return a change that takes a field from the first row of a list."""
    return lambda coco: coco[name][0].pop(key)


def check(patient, change, code, split='train'):
    """Spoil a file, and check that its one defect alone is found."""
    diagnosis = spoil(patient, change, split)
    found = assert_only(diagnosis, code, patient.root / f'{split}.json')
    splits = ['train'] if split == 'train' else ['val', 'test']
    assert [each.split for each in found] == splits
    others = [
        (each.code, each.text)
        for each in diagnosis.findings
        if each.level > Level.NOTE and each.code != code
    ]
    assert others == []
    return found[0]


def healthy(patient, change, *splits, **options):
    """Change files, and check that nothing is found."""
    diagnosis = spoil(patient, change, *splits, **options)
    found = [f for f in diagnosis.findings if f.level > Level.NOTE]
    assert [(f.code, f.text) for f in found] == []


def encode(each, compressed=True, size=(HEIGHT, WIDTH)):
    """Return the mask of an annotation as runs."""
    code = coco_mask.merge(coco_mask.frPyObjects(each['segmentation'], *size))
    if compressed:
        return {'size': [*size], 'counts': code['counts'].decode()}
    pixels = coco_mask.decode([code])[..., 0].T.ravel()
    ends = np.flatnonzero(np.diff(pixels)) + 1
    runs = np.diff([0, *ends, pixels.size]).tolist()
    return {'size': [*size], 'counts': runs}


@plants('coco-unreadable')
@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('{"images": [', 'no JSON'),
        ('[1, 2]', 'a list at its top'),
        ('{"images": [], "x": 1}', 'no categories'),
        ('{"images": {}, "categories": []}', 'images are no list'),
        ('[' * 5000, 'nested too deep'),
        (
            '{"images": [{"id": 1' + '0' * 5000 + '}], "categories": []}',
            'row 0 (from 0) of images: Integer value out of range',
        ),
    ],
)
def test_no_coco_file(light, text, said):
    path = light.root / 'train.json'
    path.write_text(text)
    [found] = assert_only(light.examine(), 'coco-unreadable', path, 'train')
    assert said in found.text


def test_byte_order_mark(light):
    """Python's json, with which MMDet reads, ends at one; ours does not."""
    path = light.root / 'train.json'
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    [found] = assert_only(light.examine(), 'coco-unreadable', path, 'train')
    assert 'save it as UTF-8 without one' in found.text
    light.change("'CocoDataset'", "'mmseg_ext.NailDataset'")
    healthy(light, as_it_is)


@plants('coco-field-wrong')
@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (without('images', 'file_name'), '1 of images: no file_name'),
        (without('images', 'width'), 'no width'),
        (without('images', 'id'), 'no id'),
        (without('annotations', 'id'), 'no id'),
        (without('annotations', 'bbox'), 'no bbox'),
        (annotation(bbox=[1, 2, 3]), 'no bbox'),
        (annotation(bbox=['1', '2', '3', '4']), 'no bbox'),
        (annotation(area='5'), 'no area'),
        (lambda coco: coco['annotations'].insert(0, 7), 'no object'),
        (lambda coco: coco['categories'][0].pop('id'), '1 of categories'),
    ],
)
def test_field_missing_or_wrong(light, change, said):
    assert said in check(light, change, 'coco-field-wrong').text


def test_text_as_id_fails_in_an_evaluation_alone(light):
    healthy(light, annotation(id='a'), 'train')
    found = check(light, annotation(id='a'), 'coco-field-wrong', 'val')
    assert found.value['annotations'] == ['a']


def names(*found):
    """Return a change of the names of the categories."""

    def change(coco):
        for each, name in zip(coco['categories'], found, strict=True):
            each['name'] = name

    return change


CLASSES = [
    f'{split}_dataloader.dataset.metainfo.classes'
    for split in ('train', 'val', 'test')
]


@plants('coco-class-missing')
@pytest.mark.parametrize('found', [('box', 'Disk '), ('ball', 'cube')])
def test_classes_of_other_names(shapes, found):
    diagnosis = spoil(shapes, names(*found), 'train', 'val')
    findings = assert_only(diagnosis, 'coco-class-missing')
    assert [f.split for f in findings] == ['train', 'val', 'test']
    assert [f.change for f in findings] == [{key: found} for key in CLASSES]


def test_one_file_of_other_names(light):
    found = check(light, names('box', 'Disk '), 'coco-class-missing')
    assert found.value['lacking'] == ['disk']
    assert found.change == {}


def test_category_missing_in_an_evaluation(light):
    def change(coco):
        coco['categories'].pop()
        coco['annotations'] = coco['annotations'][::2]

    assert check(light, change, 'coco-class-missing', 'val').change == {}


@plants('coco-class-order')
def test_categories_in_another_order(shapes):
    def turn(coco):
        coco['categories'].reverse()

    diagnosis = spoil(shapes, turn, 'train', 'val')
    found = assert_only(diagnosis, 'coco-class-order')
    assert [each.level for each in found] == [Level.WARNING] * 3
    order = ('disk', 'box')
    assert [each.change for each in found] == [{key: order} for key in CLASSES]


def test_files_of_other_orders(light):
    def turn(coco):
        coco['categories'].reverse()

    found = check(light, turn, 'coco-class-order')
    assert (found.level, found.change) == (Level.ERROR, {})


@plants('coco-all-small')
def test_all_images_below_min_size(shapes):
    shapes.change('min_size=32', 'min_size=100')
    [found] = assert_only(
        shapes.examine(), 'coco-all-small', shapes.root / 'train.json'
    )
    assert found.change == {
        'train_dataloader.dataset.filter_cfg.min_size': HEIGHT
    }


@plants('coco-no-annotations')
@pytest.mark.parametrize('split', ['train', 'val'])
def test_no_annotations(shapes, split):
    def change(coco):
        coco['annotations'].clear()

    check(shapes, change, 'coco-no-annotations', split)


def test_no_list_of_annotations(light):
    def change(coco):
        coco.pop('annotations')

    check(light, change, 'coco-no-annotations')


def test_images_without_annotations_are_left_out(light):
    def change(coco):
        coco['annotations'] = coco['annotations'][4:]

    [found] = spoil(light, change, 'train').findings
    assert (found.code, found.level) == ('coco-no-annotations', Level.NOTE)
    assert found.value['images'] == ['0.png', '1.png']


@plants('coco-id-repeated')
@pytest.mark.parametrize('name', ['annotations', 'categories', 'images'])
def test_ids_repeat(shapes, name):
    def change(coco):
        first, second = coco[name][:2]
        second['id'] = first['id']

    found = check(shapes, change, 'coco-id-repeated')
    assert found.value == {'list': name, 'ids': [1]}
    assert (found.level == Level.ERROR) == (name != 'images')


@plants('coco-id-zero')
def test_annotation_zero(shapes):
    healthy(shapes, annotation(id=0), 'train')
    found = check(shapes, annotation(id=0), 'coco-id-zero', 'val')
    assert found.level == Level.WARNING


def test_other_ids_may_be_zero(light):
    def change(coco):
        for name, key in (
            ('images', 'image_id'),
            ('categories', 'category_id'),
        ):
            first = coco[name][0]['id']
            coco[name][0]['id'] = 0
            for each in coco['annotations']:
                each[key] = 0 if each[key] == first else each[key]

    healthy(light, change, 'val')


@plants('coco-no-image')
def test_annotations_of_no_image(light):
    found = check(light, annotation(image_id='1'), 'coco-no-image')
    assert found.level == Level.WARNING
    assert "image_id '1', which no image has as id (1, 2" in found.text
    found = check(light, every(image_id=99), 'coco-no-image')
    assert found.level == Level.ERROR
    assert found.value['values'] == [99]
    found = check(light, without('annotations', 'image_id'), 'coco-no-image')
    assert found.level == Level.ERROR


@plants('coco-no-category')
def test_annotations_of_no_category(light):
    def count_from_zero(coco):
        for each in coco['annotations']:
            each['category_id'] -= 1

    found = check(light, count_from_zero, 'coco-no-category')
    assert found.value['count'] == 6
    assert found.value['values'] == [0]
    change = without('annotations', 'category_id')
    assert check(light, change, 'coco-no-category').level == Level.ERROR


@plants('coco-category-repeated')
def test_category_twice(shapes):
    def change(coco):
        coco['categories'].insert(1, {'id': 9, 'name': 'box'})

    found = check(shapes, change, 'coco-category-repeated')
    assert found.value == ['box']


@plants('coco-category-empty')
def test_category_without_annotation(light):
    def change(coco):
        coco['annotations'] = coco['annotations'][::2]

    found = check(light, change, 'coco-category-empty')
    assert found.value == ['disk']
    healthy(light, change, 'val')  # a note


@plants('coco-name-repeated')
def test_file_twice(light):
    def change(coco):
        coco['images'][1]['file_name'] = '0.png'

    found = check(light, change, 'coco-name-repeated')
    assert found.value['ids'] == [1, 2]


@plants('coco-file-missing')
def test_files_missing(shapes):
    (shapes.root / 'train/3.png').unlink()
    found = check(shapes, as_it_is, 'coco-file-missing')
    assert found.value['images'] == ['3.png']
    assert found.others == (str(shapes.root / 'train/3.png'),)
    assert found.change == {}


@pytest.mark.parametrize('kind', ['CocoDataset', 'mmseg_ext.NailDataset'])
def test_pipes_are_not_opened(shapes, monkeypatch, kind):
    monkeypatch.setattr(gather, 'build_model', lambda cfg: None)
    shapes.change("'CocoDataset'", repr(kind))
    for split, name in (('train', '3.png'), ('val', '7.png')):
        path = shapes.root / split / name
        path.unlink()
        os.mkfifo(path)
    (shapes.root / 'train/4.png').unlink()
    (shapes.root / 'train/4.png').mkdir()
    found = assert_only(shapes.examine(), 'coco-file-missing')
    assert [each.split for each in found] == ['train', 'val', 'test']
    assert found[0].value['images'] == ['3.png', '4.png']
    assert all('a pipe, a device or a folder' in f.text for f in found)


def test_pipes_as_coco_files_are_not_opened(shapes, monkeypatch):
    monkeypatch.setattr(gather, 'build_model', lambda cfg: None)
    pipe = shapes.root / 'pipe.json'
    os.mkfifo(pipe)
    text = shapes.config.read_text()
    shapes.change("'train.json'", "'pipe.json'")
    [found] = assert_only(
        shapes.examine(), 'data-set-not-built', split='train'
    )
    assert f'{pipe} is a pipe' in found.text
    shapes.config.write_text(text)
    shapes.change(str(shapes.root / 'val.json'), str(pipe))
    [found] = assert_only(shapes.examine(), 'validation-fails', split='val')
    assert f'{pipe} is a pipe' in found.text


def test_folder_of_the_images_is_found(light):
    light.change("data_prefix=dict(img='train/')", "data_prefix=dict(img='t')")
    found = check(light, as_it_is, 'coco-file-missing')
    assert found.change == {
        'train_dataloader.dataset.data_prefix.img': 'train'
    }


@plants('coco-size-differs')
def test_other_size_than_the_file(shapes):
    def change(coco):
        coco['images'][0].update(width=HEIGHT, height=WIDTH)

    found = check(shapes, change, 'coco-size-differs')
    assert found.level == Level.WARNING
    assert '72x96 instead of 96x72, 1 of them turned' in found.text


def test_other_size_with_runs(light):
    """Runs have the size of the COCO file: one fault, of the size alone."""

    def change(coco):
        coco['images'][0].update(width=WIDTH + 1)
        first = coco['annotations'][0]
        size = (HEIGHT, WIDTH + 1)
        first['segmentation'] = encode(first, size=size)

    found = check(light, change, 'coco-size-differs')
    assert found.level == Level.ERROR


def test_other_size_with_runs_of_the_file(light):
    """MMDet loads masks at the size of the file."""

    def change(coco):
        coco['images'][0].update(width=HEIGHT, height=WIDTH)
        for each in coco['annotations']:
            each['segmentation'] = encode(each)

    found = check(light, change, 'coco-size-differs')
    assert found.level == Level.WARNING


def test_large_sizes_are_written_whole(light):
    def change(coco):
        coco['images'][0].update(width=10**9, height=10**9)

    found = check(light, change, 'coco-size-differs')
    assert '1000000000x1000000000 instead of 96x72' in found.text


def test_size_of_a_turned_image(light):
    path = light.root / 'train/0.png'
    image = Image.fromarray(cv2.imread(str(path))[..., ::-1])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image.save(path.with_suffix('.jpg'), exif=exif)

    def change(coco):
        coco['images'][0]['file_name'] = '0.jpg'

    found = check(light, change, 'coco-size-differs')
    assert '96x72 instead of 72x96' in found.text


@plants('coco-box-outside')
def test_boxes_outside(light):
    found = check(
        light,
        annotation(
            bbox=[90, 10, 20, 20],
        ),
        'coco-box-outside',
    )
    assert found.level == Level.WARNING
    found = check(light, every(bbox=[200, 10, 20, 20]), 'coco-box-outside')
    assert found.level == Level.ERROR  # nothing is left


def test_boxes_as_corners(light):
    def change(coco):
        for each in coco['annotations']:
            left, top, width, height = each['bbox']
            each['bbox'] = [left, top, left + width, top + height]

    diagnosis = spoil(light, change, 'train')
    [found] = assert_only(diagnosis, 'coco-box-outside')
    assert 'as if written as left, top, right, bottom' in found.text


@plants('coco-box-empty')
def test_boxes_without_area(light):
    for box in ([20, 10, 0, 5], [20, 10, -5, 5], [20, 10, 0.9, 9]):
        found = check(light, annotation(bbox=box), 'coco-box-empty')
        assert found.level == Level.WARNING


def test_boxes_in_shares_of_the_image(light):
    def change(coco):
        for each in coco['annotations']:
            each['bbox'] = [value / WIDTH for value in each['bbox']]

    found = check(light, change, 'coco-box-empty')
    assert found.level == Level.ERROR
    assert 'as if in shares of the image' in found.text


@plants('coco-box-unlike-mask')
def test_box_of_another_object(light):
    change = annotation(bbox=[40, 40, 28, 28])
    check(light, change, 'coco-box-unlike-mask')


@plants('coco-area-unlike-mask')
def test_area(light):
    found = check(light, annotation(area=100), 'coco-area-unlike-mask')
    assert found.level == Level.WARNING
    found = check(light, every(area=0), 'coco-area-unlike-mask')
    assert found.level == Level.ERROR


@plants('coco-polygon-short')
def test_polygon_of_two_points(shapes):
    change = annotation(segmentation=[[10, 20, 30, 40]])
    assert check(shapes, change, 'coco-polygon-short').level == Level.WARNING
    found = check(shapes, change, 'coco-polygon-short', 'val')
    assert found.level == Level.ERROR  # pycocotools takes it for a box


@plants('coco-polygon-empty')
def test_masks_without_pixels(light):
    for mask, level in (
        ([[]], Level.WARNING),
        ({'size': [HEIGHT, WIDTH], 'counts': [HEIGHT * WIDTH]}, Level.WARNING),
        ([], Level.ERROR),
        (None, Level.ERROR),
    ):
        change = annotation(segmentation=mask)
        assert check(light, change, 'coco-polygon-empty').level == level


def test_masks_may_be_missing_where_boxes_are_learned(light):
    for old in ('with_bbox=True, with_mask=True', "metric=['bbox', 'segm']"):
        light.change(
            old, old.replace(', with_mask=True', '').replace(", 'segm'", '')
        )
    healthy(light, every(segmentation=[]), 'train', 'val')


@plants('coco-polygon-outside')
def test_polygon_outside(light):
    change = annotation(segmentation=[[90, 10, 120, 10, 120, 30]])
    check(light, change, 'coco-polygon-outside')


@plants('coco-rle-corrupt')
@pytest.mark.parametrize(
    'counts',
    ['0', 'zzzz', '\x7f~~', '`' * 50 + '0', 'hP10hP10', 'é', [5], [2**40], 7],
)
def test_broken_runs(light, counts):
    code = {'size': [HEIGHT, WIDTH], 'counts': counts}
    found = check(light, annotation(segmentation=code), 'coco-rle-corrupt')
    assert found.value['annotations'] == [1]


def test_broken_runs_are_not_drawn(light, monkeypatch):
    """pycocotools would not come to an end."""
    drawn = []
    monkeypatch.setattr(
        gather,
        'run_pipelines',
        lambda dataset, parts: drawn.append(parts) or (),
    )
    code = {'size': [HEIGHT, WIDTH], 'counts': [5]}
    diagnosis = spoil(light, annotation(segmentation=code), 'train')
    assert [part.split for [part] in drawn] == ['val', 'test']
    [train] = diagnosis.case.splits['train'].parts
    assert train.coco.broken == {str(light.root / 'train/0.png')}
    assert not train.coco.measurable


@plants('coco-rle-size')
def test_runs_of_another_size(shapes):
    def change(coco):
        first = coco['annotations'][0]
        first['segmentation'] = encode(first, size=(HEIGHT, WIDTH + 8))

    check(shapes, change, 'coco-rle-size')


def test_runs_of_size_turned_are_scrambled(light):
    """Where all are, MMDet's masks have another form without an error."""

    def change(coco):
        for each in coco['annotations']:
            code = encode(each)
            each['segmentation'] = {**code, 'size': code['size'][::-1]}

    true = coco_mask.decode(encode(light.coco('val')['annotations'][0]))
    diagnosis = spoil(light, change, 'val')
    found = assert_only(diagnosis, 'coco-rle-size')
    assert [each.split for each in found] == ['val', 'test']
    symptom = found[0].symptom
    assert symptom.index('scrambled') < symptom.index('ValueError')
    dataset = diagnosis.case.splits['val'].dataset
    mask = dataset[0]['data_samples'].gt_instances.masks.masks[0]
    assert mask.shape == (HEIGHT, WIDTH)
    assert (mask & true).sum() < 0.5 * (mask | true).sum()


@pytest.mark.parametrize(
    ('change', 'split', 'code'),
    [
        (
            annotation(segmentation=[[10, 20, 30, 40]]),
            'val',
            'coco-polygon-short',
        ),
        (
            annotation(segmentation={'size': [1, 1], 'counts': [5]}),
            'train',
            'coco-rle-corrupt',
        ),
        (
            annotation(segmentation={'size': [1, 1], 'counts': [1]}),
            'train',
            'coco-rle-size',
        ),
        (
            lambda coco: coco['images'][0].update(file_name='x.png'),
            'train',
            'coco-file-missing',
        ),
    ],
)
def test_what_ends_the_build_is_told_once(light, change, split, code):
    light.change("'CocoDataset'", "'mmseg_ext.NailDataset'")
    diagnosis = spoil(light, change, split)
    assert_only(diagnosis, code, light.root / f'{split}.json')
    assert diagnosis.case.splits[split].dataset is None


@plants('coco-mask-odd')
def test_flat_polygon(shapes):
    change = annotation(segmentation=[1, 2, 3, 4, 5, 6])
    check(shapes, change, 'coco-mask-odd')


@plants('coco-crowd')
def test_objects_as_crowds(shapes):
    found = check(shapes, annotation(iscrowd=1), 'coco-crowd')
    assert found.level == Level.WARNING
    found = check(shapes, every(iscrowd=1), 'coco-crowd')
    assert found.level == Level.ERROR


def test_iscrowd_is_needed_in_an_evaluation_alone(shapes):
    healthy(shapes, without('annotations', 'iscrowd'), 'train')
    found = check(
        shapes, without('annotations', 'iscrowd'), 'coco-crowd', 'val'
    )
    assert found.level == Level.ERROR


@pytest.mark.parametrize('value', ['x', 2, [0]])
def test_odd_iscrowd_is_not_learned(light, value):
    found = check(light, annotation(iscrowd=value), 'coco-crowd')
    assert (found.level, found.value['annotations']) == (Level.WARNING, [1])
    found = check(light, every(iscrowd=value), 'coco-crowd')
    assert found.level == Level.ERROR
    found = check(light, annotation(iscrowd=value), 'coco-crowd', 'val')
    assert found.level == Level.ERROR


@plants('coco-box-repeated')
def test_annotation_twice(light):
    def change(coco):
        coco['annotations'].append({**coco['annotations'][0], 'id': 99})

    found = check(light, change, 'coco-box-repeated')
    assert found.value['annotations'] == [1, 99]


@plants('coco-small')
def test_objects_below_a_pixel(light):
    light.change(
        "dict(type='Resize', scale=(96, 72), keep_ratio=True),\n    dict("
        "type='RandomFlip'",
        "dict(type='Resize', scale=(8, 6), keep_ratio=True),\n    dict("
        "type='RandomFlip'",
    )
    found = check(light, as_it_is, 'coco-small')
    assert found.value['count'] == 12
    assert found.value['share'] == 1.0
    assert found.level == Level.WARNING  # 28 / 12 is more than a pixel


@pytest.mark.parametrize('compressed', [True, False])
def test_runs_are_right(light, compressed):
    def change(coco):
        for number, each in enumerate(coco['annotations']):
            each['segmentation'] = encode(each, compressed)
            each['iscrowd'] = int(number == 3)

    healthy(light, change, 'train', 'val')


def test_no_images(light):
    diagnosis = spoil(light, lambda coco: coco['images'].clear(), 'train')
    found = assert_only(diagnosis, 'split-empty', light.root / 'train.json')
    assert 'lists no images' in found[0].text


def test_other_reasons_not_to_be_built(light):
    light.change("data_prefix=dict(img='train/')", "data_prefix=dict(im='t')")
    [found] = assert_only(light.examine(), 'data-set-not-built', split='train')
    assert found.text.endswith('KeyError: img')


def test_missing_file_has_no_table(light):
    (light.root / 'train.json').unlink()
    found = assert_only(light.examine(), 'data-set-not-built')
    assert found[0].file == str(light.root / 'train.json')


def test_classes_of_many_files(light):
    """A class need not be in each of the files that are joined."""
    parts = (
        "dataset=dict(type='ConcatDataset', datasets=[dict(**dataset, "
        "ann_file=name, data_prefix=dict(img='train/'), pipeline="
        "train_pipeline) for name in ('train.json', 'more.json')]))\n"
        'val_dataloader'
    )
    text = light.config.read_text()
    start, end = text.index('    dataset=dict(\n'), text.index('val_dataload')
    light.config.write_text(
        text[:start] + '    ' + parts + text[end + len('val_dataloader') :]
    )
    coco = light.coco('train')
    coco['annotations'] = coco['annotations'][::2]
    light.write_coco('more', coco)
    healthy(light, as_it_is)
    light.write_coco('train', coco)
    shutil.copy(light.root / 'train.json', light.root / 'train.healthy')
    found = assert_only(light.examine(), 'coco-category-empty')
    assert [f.value for f in found] == [['disk'], ['disk']]


def test_file_with_nan_is_read(light):
    """Python writes it, and reads it for MMDet."""
    change = annotation(area=float('nan'))
    check(light, change, 'coco-field-wrong')
