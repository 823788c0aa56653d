import copy
import json
import logging
import re

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from PIL import Image

from helpers.iou_ranks import SIZES, WORLD_SIZES, evaluate_rank
from helpers.segmentation import CLASSES, make_samples
from mmseg_ext.evaluation.metrics.iou import IoU
from references import confusion


def evaluate(metric, samples, classes=CLASSES):
    metric.dataset_meta = {'classes': classes}
    for sample in samples:
        metric.process({}, [copy.deepcopy(sample)])
    return metric.evaluate(len(samples))


@pytest.mark.parametrize('num', [1, 7])
def test_agrees_with_mmseg(num):
    samples = make_samples(num)
    names = ['mIoU', 'mDice', 'mFscore']
    expected = evaluate(IoUMetric(iou_metrics=names), samples)

    result = evaluate(IoU(iou_metrics=names), samples)

    assert result.keys() == expected.keys()
    for name, value in expected.items():
        assert round(result[name], 2) == pytest.approx(value), name


@pytest.mark.parametrize('reduced', [False, True])
def test_writes_what_mmseg_writes(tmp_path, reduced):
    """MMSeg's test.py hands over ``output_dir`` and ``keep_results``."""
    samples = make_samples(3)
    for number, sample in enumerate(samples):
        sample['img_path'] = f'/data/{number}/image_{number}.jpg'
        sample['reduce_zero_label'] = reduced
    theirs, ours = tmp_path / 'theirs', tmp_path / 'new' / 'ours'
    given = dict(keep_results=True)
    expected = evaluate(IoUMetric(output_dir=str(theirs), **given), samples)
    result = evaluate(IoU(output_dir=str(ours), **given), samples)

    assert result == pytest.approx(expected, abs=0.005)
    names = [f'image_{number}.png' for number in range(3)]
    assert sorted(path.name for path in theirs.iterdir()) == names
    assert sorted(path.name for path in ours.iterdir()) == names
    for name, sample in zip(names, samples, strict=True):
        written = np.asarray(Image.open(ours / name))
        assert (written == np.asarray(Image.open(theirs / name))).all()
        prediction = sample['pred_sem_seg']['data'].squeeze().numpy()
        assert (written == prediction + reduced).all()


def test_only_label_maps(tmp_path):
    """As with MMSeg's metric there are no scores, and no labels to read."""
    samples = make_samples(2)
    for number, sample in enumerate(samples):
        sample['img_path'] = f'{number}.jpg'
        del sample['gt_sem_seg']
    options = dict(output_dir=str(tmp_path), format_only=True)
    assert evaluate(IoUMetric(**options), samples) == {}
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(files) == 2
    for path in files:
        path.unlink()
    assert evaluate(IoU(**options), samples) == {}
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_label_maps_do_not_replace_one_another(tmp_path):
    samples = make_samples(2)
    for number, sample in enumerate(samples):
        sample['img_path'] = f'/data/{number}/same.jpg'
    with pytest.raises(ValueError, match=r'both /data/0/same.jpg and /data/1'):
        evaluate(IoU(output_dir=str(tmp_path)), samples)
    with pytest.raises(ValueError, match='needs output_dir'):
        IoU(format_only=True)


def test_agrees_with_reference_and_leaves_classes_out():
    samples = make_samples(3, classes=5)
    total = np.sum(
        [
            confusion.count(
                sample['pred_sem_seg']['data'][0].tolist(),
                sample['gt_sem_seg']['data'][0].tolist(),
                5,
                255,
            )
            for sample in samples
        ],
        axis=0,
    )
    every = evaluate(IoU(), samples)
    some = evaluate(IoU(exclude=['void', 'sky'], iou_metrics='mIoU'), samples)

    assert every['mIoU'] == pytest.approx(100 * confusion.mean_iou(total))
    assert some['mIoU'] == pytest.approx(
        100 * confusion.mean_iou(total, excluded=(3, 4))
    )
    assert some['aAcc'] == every['aAcc']


def test_absent_class_is_left_out_and_predicted_one_counts_zero():
    label = torch.tensor([[[0, 0, 1, 1]]])
    prediction = torch.tensor([[[0, 0, 1, 2]]])
    sample = {
        'img_path': 'x.png',
        'gt_sem_seg': {'data': label},
        'pred_sem_seg': {'data': prediction},
    }
    result = evaluate(
        IoU(iou_metrics=['mIoU', 'mPrecision', 'FWIoU'], classwise=True),
        [sample],
    )
    # road 2/2, car 1/2, tree 0/1; sky and void in neither.
    assert result['mIoU'] == pytest.approx(50)
    assert result['mAcc'] == pytest.approx(75)
    assert result['aAcc'] == pytest.approx(75)
    assert result['mPrecision'] == pytest.approx(200 / 3)
    assert result['FWIoU'] == pytest.approx(75)
    assert result['IoU.car'] == pytest.approx(50)
    assert result['IoU.tree'] == 0
    assert np.isnan(result['IoU.sky'])


def test_all_ignored_gives_nan():
    (sample,) = make_samples(1)
    sample['gt_sem_seg']['data'][:] = 255
    assert np.isnan(evaluate(IoU(), [sample])['mIoU'])


def test_resized_as_the_benchmark_of_idd_does():
    """The benchmark's own script resizes with Pillow."""
    samples = make_samples(1, shape=(96, 128)) + make_samples(1, shape=(7, 5))
    resized = copy.deepcopy(samples)
    for sample in resized:
        for key in ('pred_sem_seg', 'gt_sem_seg'):
            pixels = sample[key]['data'][0].numpy().astype(np.uint8)
            image = Image.fromarray(pixels).resize((80, 45), Image.NEAREST)
            sample[key]['data'] = torch.from_numpy(np.array(image))[None]
    expected = evaluate(IoU(), resized)

    assert evaluate(IoU(resize=[80, 45]), samples) == expected
    assert evaluate(IoU(), samples) != expected


def test_resize_makes_sizes_equal():
    (small,) = make_samples(1, shape=(2, 3))
    small['pred_sem_seg']['data'] = small['gt_sem_seg']['data'].clamp(max=3)
    small['gt_sem_seg']['data'] = (
        small['gt_sem_seg']['data']
        .repeat_interleave(4, dim=1)
        .repeat_interleave(4, dim=2)
    )
    assert evaluate(IoU(resize=(6, 4)), [small])['aAcc'] == 100


def test_wide_and_flat_images():
    for shape in ((1, 9), (9, 1), (1, 1)):
        samples = make_samples(2, shape=shape)
        assert evaluate(IoU(), samples).keys() == {'aAcc', 'mIoU', 'mAcc'}


def test_evaluating_twice_starts_anew():
    metric = IoU()
    first = evaluate(metric, make_samples(3, seed=1))
    second = evaluate(metric, make_samples(2, seed=2))
    assert evaluate(metric, make_samples(3, seed=1)) == first != second


def test_memory_does_not_grow():
    """Two matrices are kept, whatever the number of images."""
    metric = IoU()
    metric.dataset_meta = {'classes': CLASSES}
    for sample in make_samples(20):
        metric.process({}, [sample])
    assert metric.results == []
    kept = [v for v in vars(metric).values() if isinstance(v, torch.Tensor)]
    assert [tuple(tensor.shape) for tensor in kept] == [(5, 5)] * 2


def flat_sample(label, prediction):
    return {
        'img_path': 'x.png',
        'gt_sem_seg': {'data': torch.tensor([[label]])},
        'pred_sem_seg': {'data': torch.tensor([[prediction]])},
    }


def pointed_out(mmlog):
    """The lines about classes that were never predicted."""
    return [
        record.getMessage()
        for record in mmlog.records
        if record.levelno == logging.WARNING
    ]


def test_masks_of_0_and_255_are_pointed_out(mmlog):
    """The object is ignored, and a mIoU of 100 does not show it."""
    sample = flat_sample([0, 0, 255, 255], [0, 0, 0, 0])
    result = evaluate(IoU(), [sample], ['background', 'object'])
    assert result['mIoU'] == 100
    (line,) = pointed_out(mmlog)
    assert line == (
        'IoU: never predicted is object (labeled pixels: none), while every '
        'labeled pixel of the other classes is right. A class labeled nowhere '
        'has no score, and the means leave it out: are its pixels 255, which '
        'is ignored, as in masks of 0 and 255?'
    )


def test_model_of_one_class_is_pointed_out(mmlog):
    sample = flat_sample([0, 0, 1, 2, 2], [0, 0, 0, 0, 0])
    result = evaluate(IoU(), [sample], ['road', 'car', 'tree'])
    assert result['mAcc'] == pytest.approx(100 / 3)
    (line,) = pointed_out(mmlog)
    assert 'car (labeled pixels: 1), tree (labeled pixels: 2), while' in line
    assert line.endswith('right. Does the model predict one class only?')


@pytest.mark.parametrize(
    ('label', 'prediction', 'options'),
    [
        pytest.param([0, 1, 1], [0, 1, 1], {}, id='all right'),
        pytest.param([0, 0, 0], [0, 0, 1], {}, id='a class without a label'),
        pytest.param([0, 0], [0, 0], {'exclude': 'b'}, id='excluded'),
        pytest.param([0, 1], [0, 0], {'ignore_index': 1}, id='ignored'),
    ],
)
def test_nothing_to_point_out(mmlog, label, prediction, options):
    evaluate(IoU(**options), [flat_sample(label, prediction)], ['a', 'b'])
    assert pointed_out(mmlog) == []


def test_nothing_was_counted(mmlog):
    samples = [flat_sample([255, 255], [0, 1])] * 2
    result = evaluate(IoU(), samples, ['a', 'b'])
    assert np.isnan(result['mIoU'])
    (line,) = pointed_out(mmlog)
    assert line.startswith(
        'IoU: no pixel was counted, so there are no scores: in all labels '
        'every pixel is 255, which is ignored.'
    )


@pytest.mark.parametrize('key', ['gt_sem_seg', 'pred_sem_seg'])
def test_complex_values(key):
    sample = flat_sample([0, 1], [0, 1])
    sample[key]['data'] = sample[key]['data'].to(torch.complex64)
    with pytest.raises(
        ValueError, match=r'x\.png: \w+ values are .*complex64'
    ):
        evaluate(IoU(), [sample], ['a', 'b'])


def test_numbers_of_numpy():
    metric = IoU(
        ignore_index=np.int64(1),
        beta=np.float32(2),
        resize=np.array([2, 1]).tolist(),
    )
    result = evaluate(metric, [flat_sample([0, 1], [0, 0])], ['a', 'b'])
    assert result['aAcc'] == 100
    assert IoU(resize=(np.int64(2), np.int64(1))).resize == (2, 1)
    for wrong in (np.float64(3), True, np.True_, '3', None):
        with pytest.raises(ValueError, match='ignore_index='):
            IoU(ignore_index=wrong)


def test_prefix_and_registration():
    metric = METRICS.build({'type': 'IoU', 'prefix': 'val'})
    assert isinstance(metric, IoU)
    assert 'val/mIoU' in evaluate(metric, make_samples(1))


def test_label_outside_class_list_names_image_value_and_count():
    (sample,) = make_samples(1)
    sample['gt_sem_seg']['data'][0, 3, 4] = 19
    with pytest.raises(ValueError, match=r'image_0\.png: label value 19 .*5 '):
        evaluate(IoU(), [sample])
    sample['seg_map_path'] = 'label_0.png'
    with pytest.raises(ValueError, match=r'image_0\.png \(label label_0\.png'):
        evaluate(IoU(), [sample])


def test_label_of_another_size_names_image():
    (sample,) = make_samples(1)
    sample['gt_sem_seg']['data'] = sample['gt_sem_seg']['data'][:, :5]
    with pytest.raises(ValueError, match=r'image_0\.png.*\(13, 17\).*\(5, 17'):
        evaluate(IoU(), [sample])


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_whole_floats_count_as_integers(dtype):
    samples = make_samples(2)
    floats = copy.deepcopy(samples)
    for sample in floats:
        data = sample['pred_sem_seg']['data']
        sample['pred_sem_seg']['data'] = data.to(dtype)
    assert evaluate(IoU(), floats) == evaluate(IoU(), samples)


@pytest.mark.parametrize('resize', [None, (17, 13)])
@pytest.mark.parametrize(('value', 'said'), [(2.5, '2.5'), (np.nan, 'NaN')])
def test_other_floats_name_image(value, said, resize):
    (sample,) = make_samples(1)
    sample['gt_sem_seg']['data'][0, 3, 4] = 1
    data = sample['pred_sem_seg']['data'].float()
    data[0, 3, 4] = value
    sample['pred_sem_seg']['data'] = data
    message = rf'image_0\.png: prediction value {said} \(1 pixels'
    with pytest.raises(ValueError, match=message):
        evaluate(IoU(resize=resize), [sample])


@pytest.mark.parametrize('shape', [(13, 17, 3), (3, 13, 17)])
@pytest.mark.parametrize('resize', [None, (20, 20)])
def test_label_with_several_channels(shape, resize):
    (sample,) = make_samples(1)
    sample['gt_sem_seg']['data'] = torch.zeros(shape, dtype=torch.long)
    sample['seg_map_path'] = 'label_0.png'
    message = (
        r'image_0\.png \(label label_0\.png\): the label has 3 axes, shape '
        rf'{re.escape(str(shape))}; .*gray or palette .*LoadColorMasks'
    )
    with pytest.raises(ValueError, match=message):
        evaluate(IoU(resize=resize), [sample])


def test_logits():
    (sample,) = make_samples(1)
    sample['pred_sem_seg']['data'] = torch.rand(5, 13, 17)
    message = (
        r'image_0\.png: the prediction has 3 axes, shape \(5, 13, 17\); '
        r'.*logits, take the argmax'
    )
    with pytest.raises(ValueError, match=message):
        evaluate(IoU(), [sample])


def test_no_label():
    (sample,) = make_samples(1)
    del sample['gt_sem_seg']
    with pytest.raises(ValueError, match=r'image_0\.png: no label'):
        evaluate(IoU(), [sample])


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        pytest.param(
            {'iou_metrics': ['mIOU']}, ValueError, 'mIOU', id='misspelt name'
        ),
        pytest.param({'iou_metrics': []}, ValueError, 'one or', id='no name'),
        pytest.param(
            {'ignore_idx': 0}, TypeError, 'ignore_idx', id='misspelt option'
        ),
        *(
            pytest.param(
                {argument: value},
                ValueError,
                re.escape(f'{argument}={value!r}: expected'),
                id=f'{argument}={value}',
            )
            for argument, values in (
                ('iou_metrics', (1, None, [1], [['mIoU']])),
                ('ignore_index', (None, '255', 255.0, True, [255])),
                ('exclude', (1, None, [1])),
                ('classwise', ('False', 1, None)),
                (
                    'beta',
                    (
                        *(0, -1.0, float('nan'), float('inf'), 1e200),
                        *(None, '1', True),
                    ),
                ),
                ('prefix', (1, ['val'])),
                (
                    'resize',
                    (
                        0,
                        '12',
                        (1, 2, 3),
                        (1280.0, 720.0),
                        (True, 1),
                        [None, 1],
                    ),
                ),
                ('output_dir', (1, ['out'])),
                ('format_only', ('False', 1, None)),
            )
            for value in values
        ),
        pytest.param(
            {'resize': (1280, 0)}, ValueError, r'resize=\(1280, 0', id='size'
        ),
        pytest.param(
            {'resize': 720}, ValueError, 'resize=720: expected width', id='one'
        ),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        IoU(**options)


def test_largest_beta_weighs_recall_alone():
    result = evaluate(IoU(iou_metrics='mFscore', beta=1e100), make_samples(2))
    assert result['mFscore'] == pytest.approx(result['mRecall'])


def test_unknown_class_in_exclude():
    with pytest.raises(ValueError, match=r"exclude=\['Void'\].*'void'"):
        evaluate(IoU(exclude=['Void']), make_samples(1))


def test_nothing_to_score():
    with pytest.raises(ValueError, match='no sample was processed'):
        evaluate(IoU(), [])


def test_distributed_equals_single_process(tmp_path):
    mp.spawn(evaluate_rank, (tmp_path,), nprocs=max(WORLD_SIZES))

    expected = {size: evaluate(IoU(), make_samples(size)) for size in SIZES}
    compared = 0
    for rank in range(max(WORLD_SIZES)):
        results = json.loads((tmp_path / f'{rank}.json').read_text())
        for size, shuffle, result in results:
            assert result == expected[size], (rank, size, shuffle)
        compared += len(results)
    assert compared == sum(WORLD_SIZES) * len(SIZES) * 2


def test_sampler_that_pads_more_is_refused():
    metric = IoU()
    metric.dataset_meta = {'classes': CLASSES}
    for sample in make_samples(4):
        metric.process({}, [sample])
    with pytest.raises(ValueError, match='4 samples of a data set of 2'):
        metric.evaluate(2)
