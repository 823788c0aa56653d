import copy
import logging
import os
import re

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmseg.registry import METRICS

from helpers.record_ranks import SIZES, WORLD_SIZE, record_rank
from helpers.segmentation import CLASSES, make_samples
from mmseg_ext.evaluation.errors import count_errors
from mmseg_ext.evaluation.metrics.evaluation_record import EvaluationRecord
from mmseg_ext.evaluation.metrics.iou import IoU
from mmseg_ext.evaluation.metrics.run_record import image_names
from mmseg_ext.formats.run_records import (
    COUNTS,
    META,
    read_counts,
    read_maps,
    read_meta,
)
from references import confusion


def evaluate(metric, samples, classes=CLASSES, batch=None):
    metric.dataset_meta = {'classes': classes}
    for sample in samples:
        metric.process(batch or {}, [copy.deepcopy(sample)])
    return metric.evaluate(len(samples))


def record(folder, samples, classes=CLASSES, batch=None, **options):
    """Record an evaluation; return what a report reads of it."""
    metric = EvaluationRecord(folder, **options)
    assert evaluate(metric, samples, classes, batch) == {}
    meta = read_meta(folder)
    return meta, read_counts(folder, meta)


def arrays_of(sample):
    return (
        sample[key]['data'][0].numpy().astype(int)
        for key in ('pred_sem_seg', 'gt_sem_seg')
    )


def test_counts_are_those_of_each_image(tmp_path):
    samples = make_samples(4, classes=5)
    samples[2]['gt_sem_seg']['data'][:] = 255
    samples[3]['pred_sem_seg'] = copy.deepcopy(samples[3]['gt_sem_seg'])
    samples[3]['pred_sem_seg']['data'][:] %= 5
    meta, counts = record(tmp_path, samples)

    assert (meta.task, meta.classes, meta.images) == ('semantic', CLASSES, 4)
    assert not meta.probs
    assert len(set(meta.palette)) == 5
    for index, sample in enumerate(samples):
        prediction, label = arrays_of(sample)
        expected = confusion.count(prediction.tolist(), label.tolist(), 5, 255)
        rows = slice(*counts.pair_ptr[index : index + 2])
        found = np.zeros((5, 5), int)
        found[tuple(counts.pairs[rows, :2].T)] = counts.pairs[rows, 2]
        assert found.tolist() == expected
        assert (counts.pairs[rows, 2] > 0).all()
        rows = slice(*counts.class_ptr[index : index + 2])
        kept = [
            getattr(counts, name)[rows].tolist()
            for name in ('class_index', 'boundary', 'errors')
        ]
        small = prediction.astype(np.uint8), label.astype(np.uint8)
        assert kept == [each.tolist() for each in count_errors(*small, 5)]
        # Each class: label and prediction, but for what is right.
        np.testing.assert_array_equal(
            counts.errors[rows].sum((1, 2)),
            (found.sum(0) + found.sum(1) - 2 * np.diag(found))[
                counts.class_index[rows]
            ],
        )
    assert counts.pair_ptr[2] == counts.pair_ptr[3]  # all ignored
    assert counts.sizes.tolist() == [[13, 17]] * 4
    assert np.isnan(counts.brightness).all()
    assert not counts.confidence.any()
    iou = IoU()
    evaluate(iou, samples)
    np.testing.assert_array_equal(counts.matrix(5), iou.confusion)


def test_maps_are_those_of_each_image(tmp_path):
    samples = make_samples(3)
    record(tmp_path, samples)
    for index, sample in enumerate(samples):
        label, prediction = read_maps(tmp_path, index)
        expected = tuple(arrays_of(sample))
        assert label.dtype == np.uint8
        np.testing.assert_array_equal((prediction, label), expected)


@pytest.mark.parametrize(
    ('classes', 'ignore_index', 'written', 'kind'),
    [
        pytest.param(3, 255, 255, np.uint8, id='usual'),
        pytest.param(3, -1, 255, np.uint8, id='negative'),
        pytest.param(3, 1000, 255, np.uint8, id='large'),
        pytest.param(3, 0, 0, np.uint8, id='a class'),
        pytest.param(255, 255, 255, np.uint8, id='255 classes'),
        pytest.param(256, -1, 65535, np.uint16, id='256 classes'),
        pytest.param(300, 255, 255, np.uint16, id='300 classes'),
    ],
)
def test_what_is_ignored(tmp_path, classes, ignore_index, written, kind):
    (sample,) = make_samples(1, classes=classes)
    label = sample['gt_sem_seg']['data']
    label[label == 255] = 0
    label[0, :3] = ignore_index
    # Where it is ignored, a prediction may be anything.
    sample['pred_sem_seg']['data'][0, 0, :4] = torch.tensor([classes] * 4)
    names = [f'class {index}' for index in range(classes)]
    meta, counts = record(tmp_path, [sample], names, ignore_index=ignore_index)
    assert meta.ignore_index == written
    prediction, truth = arrays_of(sample)
    kept = truth != ignore_index
    expected = np.zeros((classes, classes), int)
    np.add.at(expected, (truth[kept], prediction[kept]), 1)
    np.testing.assert_array_equal(counts.matrix(classes), expected)
    label, shown = read_maps(tmp_path, 0)
    assert label.dtype == shown.dtype == kind
    np.testing.assert_array_equal(label == written, ~kept)
    np.testing.assert_array_equal(shown[kept], prediction[kept])
    assert shown.max() < classes


def test_one_channel_of_floats(tmp_path):
    (sample,) = make_samples(1, classes=2)
    second = torch.rand(1, 13, 17, generator=torch.manual_seed(0))
    sample['seg_logits'] = {'data': second}
    sample['pred_sem_seg']['data'] = (second > 0.3).float()
    meta, counts = record(tmp_path, [sample], ['a', 'b'], probs=True)
    assert meta.probs
    prediction, label = arrays_of(sample)
    sure = np.where(prediction == 1, second[0], 1 - second[0])
    check_confidence(counts, sure, prediction == label, label != 255)


@pytest.mark.parametrize('shift', [0, -50, 1000])
def test_confidence(tmp_path, shift):
    (sample,) = make_samples(1)
    logits = torch.randn(5, 13, 17, generator=torch.manual_seed(0)) * 3
    sample['seg_logits'] = {'data': logits + shift}
    sample['pred_sem_seg']['data'] = logits.argmax(0, keepdim=True)
    _, counts = record(tmp_path, [sample] * 2, probs=True)
    prediction, label = arrays_of(sample)
    exponents = np.exp(logits.double().numpy())
    sure = (exponents / exponents.sum(0)).max(0)
    right, kept = prediction == label, label != 255
    check_confidence(counts, sure, right, kept, times=2)


def test_suspects_have_the_number_of_their_image(tmp_path):
    right, wrong = (
        {
            'img_path': f'{name}.png',
            'gt_sem_seg': {'data': torch.zeros(1, 60, 80).long()},
            'pred_sem_seg': {'data': torch.zeros(1, 60, 80).long()},
        }
        for name in ('right', 'wrong')
    )
    wrong['pred_sem_seg']['data'][0, 20:50, 30:60] = 2
    _, counts = record(tmp_path, [right, wrong])
    assert counts.suspects.tolist() == [[1, 30, 20, 30, 30, 0, 2, 900, -1]]
    assert counts.class_ptr.tolist() == [0, 1, 3]
    # All of them are of an object that is not there.
    assert counts.errors[2].tolist() == [[0, 0, 0], [0, 0, 900]]


def test_confidence_that_is_no_number(tmp_path):
    (sample,) = make_samples(1)
    sample['seg_logits'] = {'data': torch.full((5, 13, 17), torch.nan)}
    _, counts = record(tmp_path, [sample], probs=True)
    assert not counts.confidence.any()


def check_confidence(counts, sure, right, kept, times=1):
    """Compare with a loop over pixels."""
    expected = np.zeros((20, 3))
    for value, hit in zip(sure[kept], right[kept], strict=True):
        row = min(int(value * 20), 19)
        expected[row] += 1, value, hit
    np.testing.assert_allclose(counts.confidence, times * expected, rtol=1e-3)
    assert counts.confidence[:, 0].sum() == times * kept.sum()


def test_brightness(tmp_path):
    samples = make_samples(3)
    images = [torch.full((3, 9, 11), value) for value in (0, 255)]
    images = [image.to(torch.uint8) for image in images]
    metric = EvaluationRecord(tmp_path)
    metric.dataset_meta = {'classes': CLASSES}
    half = torch.cat([images[0][:, :4], images[1][:, :4]], 1)
    batch = {'inputs': [images[1], half, images[0].float()]}
    metric.process(batch, samples)
    metric.evaluate(3)
    found = read_counts(tmp_path, read_meta(tmp_path)).brightness
    np.testing.assert_array_equal(found, [255, 127.5, np.nan])


def test_names_are_places_in_the_data_set(tmp_path):
    samples = make_samples(3)
    root = tmp_path / 'data'
    for sample, name in zip(samples, ('a/x', 'b/x', 'a/x'), strict=True):
        sample['img_path'] = str(root / f'{name}.png')
    meta, counts = record(tmp_path / 'run', samples, data_root=str(root))
    assert meta.data_root == str(root)
    assert counts.names.tolist() == ['a/x.png', 'b/x.png', 'a/x.png (2)']
    assert counts.paths.tolist() == [s['img_path'] for s in samples]


@pytest.mark.parametrize(
    ('paths', 'root', 'expected'),
    [
        pytest.param(['/d/a/1', '/d/b/1'], '', ('/d', 'a/1', 'b/1'), id='no'),
        pytest.param(['/d/1'], '', ('/d', '1'), id='one'),
        pytest.param(['/d/1'], '/', ('/', 'd/1'), id='given'),
        pytest.param(['/d/1', '/e/2'], '/d', ('/', 'd/1', 'e/2'), id='beside'),
        pytest.param(
            ['s3://b/1', '/2'], '/d', ('', 's3://b/1', '/2'), id='s3'
        ),
    ],
)
def test_names(paths, root, expected):
    found, files, names = image_names(paths, root)
    assert (found, *names) == expected
    assert files == paths


def test_relative_paths_are_kept_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, counts = record('run', make_samples(1))
    assert counts.paths.tolist() == [str(tmp_path / 'image_0.png')]
    assert (tmp_path / 'run' / META).is_file()


def test_what_is_known_of_a_run(tmp_path):
    metric = EvaluationRecord(tmp_path / 'a', boundary_share=0.1)
    metric.begin_record(tmp_path / 'b', split='val', iteration=7, config='c')
    evaluate(metric, make_samples(1))
    meta = read_meta(tmp_path / 'b')
    assert (meta.split, meta.iteration, meta.config) == ('val', 7, 'c')
    assert meta.boundary_share == 0.1
    assert not (tmp_path / 'a').exists()


@pytest.mark.parametrize(
    ('palette', 'expected'),
    [
        pytest.param([[1, 2, 3], (4, 5, 6)], [(1, 2, 3), (4, 5, 6)], id='own'),
        pytest.param([[1, 2, 3]] * 80, [(1, 2, 3)] * 2, id='too long'),
        pytest.param([[1, 2, 3]], [(1, 2, 3), (69, 230, 230)], id='short'),
        pytest.param('random', [(230, 69, 69), (69, 230, 230)], id='word'),
    ],
)
def test_palette(tmp_path, palette, expected):
    metric = EvaluationRecord(tmp_path)
    (sample,) = make_samples(1, classes=2)
    metric.dataset_meta = {'classes': ('a', 'b'), 'palette': palette}
    metric.process({}, [sample])
    metric.evaluate(1)
    assert list(read_meta(tmp_path).palette) == expected


def test_evaluating_twice_replaces_the_first(tmp_path):
    metric = EvaluationRecord(tmp_path)
    evaluate(metric, make_samples(3, seed=1))
    evaluate(metric, make_samples(2, seed=2))
    files = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
    assert {p.name for p in files} == {META, COUNTS, '00000.png', '00001.png'}
    again = tmp_path / 'again'
    record(again, make_samples(2, seed=2))
    for path, content in files.items():
        other = again / path.relative_to(tmp_path)
        assert other.read_bytes() == content


def test_unfinished_while_it_runs(tmp_path):
    metric = EvaluationRecord(tmp_path)
    evaluate(metric, make_samples(1))
    metric.process({}, make_samples(1))
    with pytest.raises(FileNotFoundError, match=r'no meta\.json'):
        read_meta(tmp_path)


def test_distributed_equals_single_process(tmp_path):
    mp.spawn(record_rank, (tmp_path,), nprocs=WORLD_SIZE)
    for size in SIZES:
        record(tmp_path / 'single', make_samples(size))
        alone, run = (
            {
                str(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob('*')
                if path.is_file()
            }
            for folder in (tmp_path / 'single', tmp_path / f'run_{size}')
        )
        assert run == alone
        assert len(run) == size + 2
        meta = read_meta(tmp_path / f'run_{size}')
        matrix = read_counts(tmp_path / f'run_{size}', meta).matrix(5)
        for rank in range(WORLD_SIZE):
            iou = np.load(tmp_path / f'iou_{size}_{rank}.npy')
            np.testing.assert_array_equal(matrix, iou)


# What does not fit.


def broken(change):
    (sample,) = make_samples(1)
    change(sample)
    return sample


def _no_label(sample):
    del sample['gt_sem_seg']


def _no_path(sample):
    del sample['img_path']


def _other_class(sample):
    sample['gt_sem_seg']['data'][0, 0, 0] = 7


def _other_size(sample):
    sample['gt_sem_seg']['data'] = sample['gt_sem_seg']['data'][:, :5]


def _nothing(sample):
    pass


def _few_logits(sample):
    sample['seg_logits'] = {'data': torch.rand(5, 6, 7)}


BROKEN = [
    pytest.param(
        _no_label, {}, 'image_0.png: no label to compare', id='label'
    ),
    pytest.param(_no_path, {}, 'a sample has no img_path', id='path'),
    pytest.param(_other_class, {}, r'image_0.png: label value 7', id='class'),
    pytest.param(_other_size, {}, r'image_0.png: .*\(5, 17\)', id='size'),
    pytest.param(
        _nothing, {'probs': True}, r'image_0.png: no seg_logits', id='logits'
    ),
    pytest.param(
        _few_logits, {'probs': True}, r'logits of shape \(5, 6, 7\)', id='few'
    ),
]


@pytest.mark.parametrize(('change', 'options', 'message'), BROKEN)
def test_broken_samples(tmp_path, change, options, message):
    metric = EvaluationRecord(tmp_path, **options)
    with pytest.raises(ValueError, match=message):
        evaluate(metric, [broken(change)])


@pytest.mark.parametrize(('change', 'options', 'message'), BROKEN)
def test_a_run_goes_on(tmp_path, mmlog, change, options, message):
    """There is one warning, no record, and the next evaluation has one."""
    metric = EvaluationRecord(tmp_path, strict=False, **options)
    good = make_samples(1)[0]
    good['seg_logits'] = {'data': torch.rand(5, 13, 17)}
    assert evaluate(metric, [good, broken(change), broken(change)]) == {}
    (line,) = warnings_of(mmlog)
    assert re.search(message, line)
    assert line.startswith(f'EvaluationRecord: {tmp_path} stays unfinished')
    assert not (tmp_path / META).exists()
    evaluate(metric, [good])
    assert read_meta(tmp_path).images == 1


def warnings_of(mmlog):
    return [
        record.getMessage()
        for record in mmlog.records
        if record.levelno == logging.WARNING
    ]


def test_where_nothing_can_be_written(tmp_path, mmlog):
    (tmp_path / 'file').touch()
    folder = tmp_path / 'file' / 'run'
    with pytest.raises(OSError, match=re.escape(str(folder))):
        evaluate(EvaluationRecord(folder), make_samples(1))
    evaluate(EvaluationRecord(folder, strict=False), make_samples(2))
    (line,) = warnings_of(mmlog)
    assert 'NotADirectoryError' in line


def test_no_images(tmp_path, mmlog):
    record(tmp_path, make_samples(1))
    with pytest.raises(ValueError, match='no image was processed'):
        evaluate(EvaluationRecord(tmp_path), [])
    assert not (tmp_path / META).exists()
    assert evaluate(EvaluationRecord(tmp_path, strict=False), []) == {}
    assert len(warnings_of(mmlog)) == 1


def test_no_classes(tmp_path):
    with pytest.raises(ValueError, match='the data set gives no classes'):
        evaluate(EvaluationRecord(tmp_path), make_samples(1), ())


def test_registration(tmp_path):
    metric = METRICS.build({'type': 'EvaluationRecord', 'out_dir': 'x'})
    assert isinstance(metric, EvaluationRecord)
    assert os.fspath(metric.out_dir) == os.path.abspath('x')


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('out_dir', None),
        ('out_dir', ''),
        ('ignore_index', 255.0),
        ('probs', 1),
        ('boundary_share', 0),
        ('boundary_share', 1.5),
        ('boundary_share', float('nan')),
        ('data_root', None),
        ('strict', 'no'),
    ],
)
def test_wrong_arguments(argument, value):
    options = {'out_dir': 'x', argument: value}
    with pytest.raises(ValueError, match=f'{argument}={value!r}: expected'):
        EvaluationRecord(**options)
