import copy
import logging
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from mmseg.registry import TRANSFORMS
from PIL import Image
from torch.utils.data import DataLoader

from helpers.loading import log_to, take_first
from mmseg_ext.datasets.color_masks import ColorMaskDataset
from mmseg_ext.datasets.transforms.load_color_masks import LoadColorMasks
from mmseg_ext.formats.color_masks import MaskRules

MAPS = {
    'color_map': (((255, 0, 0), 0), ((0, 255, 0), 1), ((0, 0, 0), 255)),
    'index_map': (0, 1, 255),
}


@pytest.fixture
def mask(tmp_path):
    pixels = np.zeros((2, 6, 3), np.uint8)
    pixels[0, 0] = (255, 0, 0)
    pixels[1, 5] = (0, 255, 0)
    pixels[1, 1] = (1, 2, 3)
    Image.fromarray(pixels).save(tmp_path / 'x_L.png')
    return tmp_path / 'x_L.png'


def results_of(path, **others):
    return {
        'img_path': 'x.png',
        'seg_map_path': str(path),
        'seg_fields': [],
        **MAPS,
        **others,
    }


def test_label_map(mask):
    transform = TRANSFORMS.build({'type': 'LoadColorMasks'})
    results = transform(results_of(mask))
    assert results['gt_seg_map'].tolist() == [[0] + [255] * 5, [255] * 5 + [1]]
    assert results['seg_fields'] == ['gt_seg_map']


def test_unknown_colors_are_reported_once(mask, mmlog):
    transform = LoadColorMasks()
    with mmlog.at_level(logging.WARNING):
        transform(results_of(mask))
        transform(results_of(mask))
    assert mmlog.text.count('x_L.png: 1 of 12 pixels') == 1
    assert '(1, 2, 3) 1 times' in mmlog.text


@pytest.mark.parametrize(
    ('start', 'persistent'),
    [
        pytest.param('fork', False, id='forked'),
        pytest.param('fork', True, id='forked, persistent'),
        pytest.param('spawn', False, id='spawned'),
    ],
)
def test_unknown_colors_are_reported_once_by_all_workers(
    tmp_path, start, persistent
):
    """Two workers, two epochs in other orders; 24 of 36 files are wrong."""
    good, wrong = (255, 0, 0), (1, 2, 3)
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for index in range(36):
        pixels = np.full((2, 6, 3), good, np.uint8)
        pixels[0, : index % 3] = wrong
        Image.fromarray(pixels).save(tmp_path / f'labels/{index}.png')
        (tmp_path / f'images/{index}.png').touch()
    dataset = ColorMaskDataset(
        class_dict={'red': good},
        data_root=tmp_path,
        data_prefix={'img_path': 'images', 'seg_map_path': 'labels'},
        pipeline=[LoadColorMasks(max_unknown=1.0)],
    )
    log = tmp_path / 'log.txt'
    loader = DataLoader(
        dataset,
        shuffle=True,
        num_workers=2,
        persistent_workers=persistent,
        multiprocessing_context=start,
        worker_init_fn=partial(log_to, log),
        collate_fn=take_first,
    )
    for _ in range(2):
        paths = [sample['seg_map_path'] for sample in loader]
        assert len(set(paths)) == 36
    lines = log.read_text().splitlines()
    found = sorted(line.split(':')[0] for line in lines)
    assert found == sorted(
        f'label {tmp_path}/labels/{index}.png'
        for index in range(36)
        if index % 3
    )


def test_copies_report_together(mask, mmlog):
    transform = LoadColorMasks()
    other = copy.deepcopy(transform)
    with mmlog.at_level(logging.WARNING):
        transform(results_of(mask))
        other(results_of(mask))
        pickle.loads(pickle.dumps(transform))(results_of(mask))
    assert mmlog.text.count('x_L.png: 1 of 12 pixels') == 1


def test_machine_without_shared_memory(mask, mmlog, monkeypatch):
    def fail(tensor):
        raise RuntimeError('unable to open shared memory object')

    monkeypatch.setattr(torch.Tensor, 'share_memory_', fail)
    transform = LoadColorMasks()
    with mmlog.at_level(logging.WARNING):
        transform(results_of(mask))
        transform(results_of(mask))
    assert mmlog.text.count('x_L.png: 1 of 12 pixels') == 1


def test_unknown_colors_can_be_refused(mask):
    with pytest.raises(ValueError, match=r'x_L\.png: 1 of 12 pixels'):
        LoadColorMasks(max_unknown=0)(results_of(mask))


def test_label_map_of_custom_classes(mask):
    results = LoadColorMasks()(results_of(mask, label_map={0: 255, 1: 0}))
    assert results['gt_seg_map'].tolist() == [[255] * 6, [255] * 5 + [0]]


def test_size_of_the_image(mask):
    LoadColorMasks()(results_of(mask, ori_shape=(2, 6)))
    with pytest.raises(
        ValueError, match=r'x_L\.png is 6x2 pixels, its image x\.png 6x4'
    ):
        LoadColorMasks()(results_of(mask, ori_shape=(4, 6)))


def test_image_without_label_passes():
    results = {'img_path': 'x.png'}
    assert LoadColorMasks()(results) == results


def test_missing_label():
    with pytest.raises(FileNotFoundError, match=r'y_L\.png of image x\.png'):
        LoadColorMasks()(results_of('y_L.png'))


def test_other_data_set(mask):
    results = results_of(mask)
    del results['color_map']
    with pytest.raises(ValueError, match='needs the color map'):
        LoadColorMasks()(results)


def test_wrong_share():
    with pytest.raises(ValueError, match='max_unknown=50'):
        LoadColorMasks(max_unknown=50)


def save_gray(path, values):
    Image.fromarray(np.array([values], np.uint8)).save(path)
    return path


def test_how_gray_files_are_read_is_logged_once(tmp_path, mmlog):
    """Green is a class, so is white; zeros and ones are indices."""
    maps = {
        'color_map': (((0, 0, 0), 0), ((255, 255, 255), 1)),
        'index_map': (0, 1),
    }
    index = save_gray(tmp_path / 'i.png', [0, 1, 255])
    color = save_gray(tmp_path / 'c.png', [0, 255, 255])
    transform = LoadColorMasks()
    with mmlog.at_level(logging.INFO):
        for path in (index, index):
            transform(results_of(path, **maps))
        assert mmlog.text.count('the values of label') == 1
        assert "say masks='color'" in mmlog.text
        assert 'WARNING' not in mmlog.text
        for path in (color, index, color):
            results = transform(results_of(path, **maps))
    assert results['gt_seg_map'].tolist() == [[0, 1, 1]]
    assert mmlog.text.count('c.png are read as') == 2
    assert mmlog.text.count('other labels were read as class ind') == 1
    assert [r.levelname for r in mmlog.records].count('WARNING') == 1


def test_declared_kind_is_not_logged(tmp_path, mmlog):
    path = save_gray(tmp_path / 'i.png', [0, 1, 255])
    rules = MaskRules(masks='index')
    with mmlog.at_level(logging.INFO):
        results = LoadColorMasks()(results_of(path, mask_rules=rules))
    assert results['gt_seg_map'].tolist() == [[0, 1, 255]]
    assert not mmlog.text


@pytest.mark.parametrize('rules', [None, MaskRules(masks='index')], ids=str)
def test_black_and_white_index_masks(tmp_path, mmlog, rules):
    """Neither red nor green is white, so 255 can only be ignored."""
    first = save_gray(tmp_path / 'a.png', [0, 255, 255])
    second = save_gray(tmp_path / 'b.png', [0, 255])
    transform = LoadColorMasks()
    with mmlog.at_level(logging.WARNING):
        for path in (first, second):
            results = transform(results_of(path, mask_rules=rules))
    assert results['gt_seg_map'].tolist() == [[0, 255]]
    assert mmlog.text.count('a.png holds 0 and 255 alone. 255 is ign') == 1
    assert 'b.png' not in mmlog.text
