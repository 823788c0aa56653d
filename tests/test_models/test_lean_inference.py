import copy
import pickle
import re
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.evaluation import CityscapesMetric
from mmseg.evaluation.metrics import citys_metric
from mmseg.models.decode_heads import FCNHead
from mmseg.models.segmentors import (
    CascadeEncoderDecoder,
    DepthEstimator,
    EncoderDecoder,
    SegTTAModel,
)
from mmseg.registry import MODELS
from torch import nn

from helpers.lean import (
    PLACES,
    WAYS,
    binary,
    build,
    check_labels,
    lean_of,
    make_inputs,
    make_samples,
    model_config,
    peak_of,
    run,
    upstream_of,
    upstream_slide,
)
from mmseg_ext.models import make_lean
from mmseg_ext.models.lean_inference import LeanInference

MODES = ['whole', 'slide']

ALIGNMENTS = [
    pytest.param(False, id='centers'),
    pytest.param(True, id='corners'),
]

pytestmark = pytest.mark.filterwarnings(
    # What upstream says of sizes, thresholds and names of its own.
    'ignore:When align_corners',
    'ignore:``build_loss``',
    'ignore:Default ``avg_non_ignore``',
    'ignore:For binary segmentation',
)


# Labels


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('align_corners', ALIGNMENTS)
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('way', WAYS)
def test_labels_of_one_image_and_of_three(way, mode, align_corners, place):
    for count, whole_numbers in ((1, True), (3, False)):
        config = model_config(7, mode, align_corners)
        model = build(config, whole_numbers)
        inputs = make_inputs(count, whole_numbers=whole_numbers)
        samples = make_samples(count, **WAYS[way])
        labels = check_labels(model, inputs, samples, place)
        assert way == 'one pixel' or len(labels.unique()) > 2


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('align_corners', ALIGNMENTS)
def test_labels_without_samples(mode, align_corners, place):
    model = build(model_config(7, mode, align_corners))
    for count in (1, 3):
        labels = check_labels(model, make_inputs(count), None, place)
        assert len(labels.unique()) > 2


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('mode', MODES)
def test_images_of_a_batch_have_ways_of_their_own(mode, place):
    model = build(model_config(7, mode))
    samples = [make_samples(1, **known)[0] for known in WAYS.values()]
    inputs = make_inputs(len(samples))
    # The size of padding is that of the first image for all.
    samples = [s for s in samples if 'pad_shape' not in s.metainfo]
    check_labels(model, inputs[: len(samples)], samples, place)


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('classes', [2, 3, 150, 255, 256])
def test_numbers_of_classes(classes, mode, place):
    model = build(model_config(classes, mode))
    # So that the last class is somewhere.
    model.decode_head.conv_seg.bias.data[-1] += 8
    for known in ({}, {'ori_shape': (45, 51)}):
        samples = make_samples(1, **known)
        labels = check_labels(model, make_inputs(), samples, place)
        assert labels.max() == classes - 1


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.9])
def test_one_channel_and_a_threshold(threshold, mode, place):
    for whole_numbers in (True, False):
        config = model_config(**binary(threshold), mode=mode)
        model = build(config, whole_numbers)
        inputs = make_inputs(2, whole_numbers=whole_numbers)
        for samples in (
            None,
            make_samples(2),
            make_samples(2, **WAYS['padded, resized, flipped']),
        ):
            labels = check_labels(model, inputs, samples, place)
            assert labels.unique().tolist() == [0, 1]


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('mode', MODES)
def test_of_equal_logits_the_first_class_counts(mode, place):
    model = build(model_config(6, mode))
    head = model.decode_head.conv_seg
    head.weight.data[[1, 3, 5]] = head.weight.data[[0, 2, 4]]
    head.bias.data[[1, 3, 5]] = head.bias.data[[0, 2, 4]]
    for known in ({}, {'ori_shape': (45, 51)}):
        labels = check_labels(
            model, make_inputs(), make_samples(1, **known), place
        )
        assert labels.unique().tolist() == [0, 2, 4]


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('known', [{}, {'ori_shape': (45, 51)}, None])
@pytest.mark.parametrize('value', ['nan', 'inf', '-inf'])
def test_what_is_not_finite_is_as_upstream_has_it(value, known, place):
    """Its resize to the same size makes NaN of infinity."""
    model = build(model_config(5))
    logits = torch.randint(-9, 9, (1, 5, 8, 10)).float()
    logits[0, 3, 2, 4], logits[0, 1, 5, 5] = float(value), float(value)
    head = model.decode_head
    head.forward = lambda features: logits.to(features[0].device)
    samples = known if known is None else make_samples(1, **known)
    check_labels(model, make_inputs(), samples, place)


# Sliding windows


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('window_batch', [1, 2, 100])
def test_windows_in_batches(window_batch, place):
    """Integers are exact, so the bits are those of one window at a time."""
    model = build(model_config(7, 'slide'))
    model.to(place[0])
    inputs = make_inputs(3).to(place[0])
    lean = lean_of(model, window_batch=window_batch)
    metas = [{} for _ in inputs]
    with torch.no_grad():
        logits = lean.slide_inference(inputs, metas)
    assert torch.equal(logits, upstream_slide(model, inputs))
    for known in ({}, WAYS['padded'], {'ori_shape': (45, 51)}):
        check_labels(
            model,
            inputs,
            make_samples(3, **known),
            place,
            window_batch=window_batch,
        )


def test_windows_in_batches_of_a_network_that_rounds():
    model = build(model_config(7, 'slide'), whole_numbers=False)
    inputs = make_inputs(3, whole_numbers=False)
    expected = upstream_slide(model, inputs)
    for window_batch in (1, 2, 100):
        lean = lean_of(model, window_batch=window_batch)
        with torch.no_grad():
            logits = lean.slide_inference(inputs, [{} for _ in inputs])
        if window_batch == 1:
            assert torch.equal(logits, expected)
        torch.testing.assert_close(logits, expected)


def test_the_network_runs_once_for_a_batch_of_windows():
    model = build(model_config(7, 'slide'))
    seen = []
    model.backbone.register_forward_pre_hook(
        lambda _, args: seen.append(tuple(args[0].shape))
    )
    run(lean_of(model, window_batch=2), make_inputs(2), make_samples(2))
    # Three rows of three windows each, of two images.
    assert seen == [(4, 3, 16, 24), (2, 3, 16, 24)] * 3


def test_what_is_known_of_an_image_stays_with_its_window():
    """Heads find the size of a window where MMSeg has it, for each image."""
    model = build(model_config(7, 'slide'))
    asked = []

    def encode_decode(inputs, metas):
        asked.append([(m['img_path'], m['img_shape']) for m in metas])
        return EncoderDecoder.encode_decode(model, inputs, metas)

    model.encode_decode = encode_decode
    samples = make_samples(2)
    for sample, name in zip(samples, 'ab', strict=True):
        sample.set_metainfo({'img_path': name})
    run(lean_of(model, window_batch=2), make_inputs(2), samples)
    size = torch.Size([16, 24])
    pair = [('a', size), ('b', size)]
    assert asked == [pair * 2, pair] * 3
    assert all(
        type(size) is torch.Size for batch in asked for _, size in batch
    )
    assert samples[0].img_shape == (32, 40)


@pytest.mark.parametrize('window', [(40, 48), (32, 40), (31, 39)])
def test_windows_as_large_as_the_image(window):
    model = build(model_config(7, 'slide'))
    for stride in (window, (window[0] // 2, window[1] // 3)):
        model.test_cfg.update(crop_size=window, stride=stride)
        check_labels(model, make_inputs(2), make_samples(2))
        check_labels(model, make_inputs(), make_samples(1, ori_shape=(50, 9)))


# Heads that are not plain


class Refining(FCNHead):
    """A head whose prediction is more than its logits in another size."""

    def predict(self, inputs, batch_img_metas, test_cfg):
        logits = super().predict(inputs, batch_img_metas, test_cfg)
        return logits.roll(1, dims=1) * test_cfg.get('factor', 1)


class Nearest(FCNHead):
    """A head that resizes its logits in its own way."""

    def predict_by_feat(self, seg_logits, batch_img_metas):
        size = batch_img_metas[0]['img_shape']
        return nn.functional.interpolate(seg_logits, size)


class Queries(nn.Module):
    """A head that has nothing of MMSeg's but what a segmentor asks for."""

    align_corners = False
    num_classes = out_channels = 6

    def __init__(self):
        super().__init__()
        self.scores = nn.Linear(4, 7)

    def predict(self, x, batch_img_metas, test_cfg):
        size = batch_img_metas[0]['img_shape']
        masks = nn.functional.interpolate(x[0], size, mode='bilinear')
        scores = self.scores.weight.softmax(0)[:-1]
        return torch.einsum('cq,bqhw->bchw', scores, masks.sigmoid())


class Guiding(EncoderDecoder):
    """A segmentor with a way of its own to the logits."""

    def encode_decode(self, inputs, batch_img_metas):
        logits = super().encode_decode(inputs, batch_img_metas)
        return logits + inputs.mean(1, keepdim=True).round() * logits


def of_kind(kind, **options):
    """Return the config of a head of seven classes on the features."""
    return {
        'type': kind,
        'in_channels': 4,
        'channels': 4,
        'num_classes': 7,
        'norm_cfg': {'type': 'BN'},
        **options,
    }


def single(kind, **options):
    config = model_config(7)
    config.decode_head = of_kind(kind, **options)
    return config


def cascade(last):
    config = model_config(7)
    config.type, config.num_stages = 'CascadeEncoderDecoder', 2
    config.decode_head = [config.decode_head, last]
    return config


def ocrnet():
    return cascade(of_kind('OCRHead', ocr_channels=4))


def pointrend():
    config = cascade(
        of_kind(
            'PointHead',
            in_channels=[4],
            in_index=[0],
            num_fcs=1,
            coarse_pred_each_layer=True,
            dropout_ratio=-1,
            norm_cfg=None,
        )
    )
    config.test_cfg.update(
        subdivision_steps=2, subdivision_num_points=40, scale_factor=2
    )
    return config


def guiding():
    return model_config(7) | {'type': Guiding}


def queries():
    config = model_config(7)
    config.decode_head = {'type': Queries}
    return config


HEADS = {
    'with a prediction of its own': partial(single, Refining),
    'with a resize of its own': partial(single, Nearest),
    'of no class of MMSeg': queries,
    'DANet': partial(single, 'DAHead', pam_channels=2),
    'EncNet': partial(
        single,
        'EncHead',
        in_channels=[4],
        in_index=[0],
        num_codes=3,
        use_se_loss=False,
        add_lateral=False,
    ),
    'PSPNet': partial(single, 'PSPHead', pool_scales=(1, 2)),
    'OCRNet': ocrnet,
    'PointRend': pointrend,
    'in a segmentor of its own kind': guiding,
}


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('head', HEADS)
def test_heads(head, mode, place):
    config = HEADS[head]()
    config.test_cfg.update(model_config(mode=mode).test_cfg)
    model = build(config, whole_numbers=False)
    inputs = make_inputs(2, whole_numbers=False)
    for way in ('same size', 'padded, resized, flipped'):
        samples = make_samples(2, **WAYS[way])
        if head == 'PointRend' and not repeats(model, inputs, samples, place):
            pytest.skip('MMSeg itself gives other labels each time')
        labels = check_labels(model, inputs, samples, place)
        assert len(labels.unique()) > 2


def repeats(model, inputs, samples, place):
    """Return whether MMSeg gives the same twice.

    PointRend refines the points that are least certain, and of those that are
    equal, as in 16 bits, a GPU may take any.
    """
    once, again = (
        torch.stack([s.pred_sem_seg.data for s in found])
        for found in (
            run(upstream_of(model), inputs, samples, place) for _ in range(2)
        )
    )
    return torch.equal(once, again)


# What a model is besides


def test_logits_are_kept_if_asked_for():
    for mode in MODES:
        model = build(model_config(7, mode))
        samples = make_samples(2, **WAYS['padded, resized, flipped'])
        inputs = make_inputs(2)
        theirs = run(model, inputs, samples)
        ours = run(lean_of(model, keep_logits=True), inputs, samples)
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.equal(mine.seg_logits.data, other.seg_logits.data)
            assert torch.equal(mine.pred_sem_seg.data, other.pred_sem_seg.data)


@pytest.mark.parametrize('mode', MODES)
# Upstream takes the sigmoid of probabilities, so it is between 0.5 and 0.73.
@pytest.mark.parametrize('options', [{'classes': 7}, binary(0.6)])
def test_augmented_views_are_averaged(options, mode):
    """Nothing tells a model that its logits are wanted."""
    config = model_config(**options, mode=mode)
    model = build(config, whole_numbers=False)
    inputs = make_inputs(2, whole_numbers=False)
    # So that one class of two is not everywhere.
    logits = model(inputs, mode='tensor')
    model.decode_head.conv_seg.bias.data -= logits.mean((0, 2, 3))
    views = {
        'inputs': [list(inputs), list(inputs.flip(3))],
        'data_samples': [
            make_samples(2, img_path='a'),
            make_samples(2, img_path='a', **WAYS['flipped']),
        ],
    }
    found = []
    for twin in (model, lean_of(model)):
        with torch.no_grad():
            results = SegTTAModel(module=twin).test_step(copy.deepcopy(views))
        found.append([s.pred_sem_seg.data for s in results])
    assert torch.equal(*map(torch.stack, found))
    assert len(found[0][0].unique()) > 1
    # And it is over with that.
    [sample, _] = run(lean_of(model), inputs)
    assert 'seg_logits' not in sample


def test_an_error_in_a_view_ends_the_keeping_of_logits():
    lean = lean_of(build(model_config(7)))
    with pytest.raises(AttributeError):
        SegTTAModel(module=lean).test_step({'inputs': [[None]]})
    assert 'seg_logits' not in run(lean, make_inputs())[0]


def test_losses_and_their_gradients():
    inputs = make_inputs(2)
    samples = make_samples(2)
    for sample in samples:
        labels = torch.randint(0, 7, (1, 32, 40))
        sample.gt_sem_seg = PixelData(data=labels)
    found = []
    for change in (upstream_of, lean_of):
        model = change(build(model_config(7, dropout_ratio=0.5)).train())
        torch.manual_seed(0)
        losses = model(inputs, samples, mode='loss')
        model.parse_losses(losses)[0].backward()
        found.append([*losses.values(), *(p.grad for p in model.parameters())])
    assert all(map(torch.equal, *found))
    assert any(gradient.any() for gradient in found[0][2:])


def test_raw_logits():
    model = build(model_config(7))
    inputs = make_inputs(2)
    assert torch.equal(
        lean_of(model)(inputs, mode='tensor'), model(inputs, mode='tensor')
    )


@pytest.mark.parametrize('mode', MODES)
def test_copies(mode):
    """As ``EMAHook`` makes them, and as ``torch.save`` writes them."""
    model = lean_of(build(model_config(7, mode)), window_batch=2)
    inputs, samples = make_inputs(2), make_samples(2)
    expected = check_labels(model, inputs, samples)
    copies = [
        copy.copy(model),
        copy.deepcopy(model),
        *(
            pickle.loads(pickle.dumps(model, protocol))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ]
    for other in copies:
        assert type(other) is type(model)
        assert (other.window_batch, other.keep_logits) == (2, False)
        assert torch.equal(check_labels(other, inputs, samples), expected)
    copies[1].backbone.conv.weight.data.zero_()
    assert torch.equal(check_labels(model, inputs, samples), expected)


def test_copies_of_what_inherits_a_lean_class(monkeypatch):
    model = lean_of(build(model_config(7)))
    kind = type('Below', (type(model),), {'__module__': __name__})
    monkeypatch.setitem(globals(), 'Below', kind)
    model.__class__ = kind
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other) is kind
        assert torch.equal(
            other.backbone.conv.weight, model.backbone.conv.weight
        )


def test_weights_go_both_ways():
    model, other = build(model_config(7)), MODELS.build(model_config(7))
    lean = make_lean(other)
    assert lean is other
    assert list(lean.state_dict()) == list(model.state_dict())
    lean.load_state_dict(model.state_dict())
    MODELS.build(model_config(7)).load_state_dict(lean.state_dict())
    found = run(lean.eval(), make_inputs())[0].pred_sem_seg.data
    expected = run(model, make_inputs())[0].pred_sem_seg.data
    assert torch.equal(found.long(), expected)


def test_class_is_named_after_that_of_the_model():
    model = lean_of(build(model_config(7)))
    other = lean_of(build(ocrnet()))
    assert type(model).__name__ == 'LeanEncoderDecoder'
    assert type(other).__name__ == 'LeanCascadeEncoderDecoder'
    assert isinstance(other, CascadeEncoderDecoder)
    assert type(lean_of(build(model_config(3)))) is type(model)


def test_made_lean_twice():
    model = build(model_config(7))
    make_lean(make_lean(model), window_batch=3, keep_logits=True)
    assert type(model).__bases__ == (LeanInference, EncoderDecoder)
    assert (model.window_batch, model.keep_logits) == (3, True)


def test_labels_go_to_cityscapes(monkeypatch, tmp_path):
    """``CityscapesMetric`` writes -1 into labels; NumPy refuses it in uint8.

    The ids are those of cityscapesscripts, in its order.
    """
    names = {255: 6, 0: 7, 1: 8, 2: 11, 3: 12, 4: 13, 5: 17, 6: 19, -1: -1}

    class Labels:
        trainId2label = {
            key: type('Label', (), {'id': value})
            for key, value in names.items()
        }

    monkeypatch.setattr(citys_metric, 'CSLabels', Labels)
    monkeypatch.setattr(citys_metric, 'CSEval', Labels)
    model = build(model_config(7))
    written = []
    for twin, name in ((upstream_of(model), 'up'), (lean_of(model), 'lean')):
        metric = CityscapesMetric(
            str(tmp_path / name), format_only=True, keep_results=True
        )
        samples = make_samples(1, img_path='a.png')
        [sample] = run(twin, make_inputs(), samples)
        metric.process({}, [sample.to_dict()])
        written.append((tmp_path / name / 'a.png').read_bytes())
        assert metric.compute_metrics([]) == {}
    assert written[0] == written[1]


# Memory


@pytest.mark.parametrize('known', [{}, WAYS['flipped']])
def test_sliding_holds_a_strip(known):
    """For more rows it needs their labels, once whole and once in strips."""
    model = lean_of(build(model_config(40, 'slide')))
    peaks = []
    for height in (64, 192):
        size = (height, 64)
        samples = make_samples(1, size, **known)
        peaks.append(peak_of(model, make_inputs(1, size), samples))
    rows = (192 - 64) * 64
    # And 8 bytes for each row, in which windows are counted.
    assert peaks[1] - peaks[0] < 3 * rows
    strip = 40 * 16 * 64 * torch.float32.itemsize
    assert peaks[0] < 6 * strip


# Bad input


def spoilt(**test_cfg):
    config = model_config(7, 'slide')
    config.test_cfg.update(test_cfg)
    return MODELS.build(config)


class OwnResult(EncoderDecoder):
    """A segmentor that says more of an image than its label map."""

    def postprocess_result(self, seg_logits, data_samples=None):
        return super().postprocess_result(-seg_logits, data_samples)


class OwnPrediction(EncoderDecoder):
    def predict(self, inputs, data_samples=None):
        return super().predict(inputs, data_samples)


WRONG = {
    'stride larger': (
        {'stride': (17, 13)},
        {},
        'test_cfg.stride=(17, 13) is larger than test_cfg.crop_size=(16, 24): '
        'no window would reach the pixels between them; expected at most '
        '(16, 24)',
    ),
    'no crop': (
        {'crop_size': None},
        {},
        'test_cfg.crop_size=None: expected height and width such as',
    ),
    'mode': (
        {'mode': 'slid'},
        {},
        "test_cfg.mode='slid': expected whole or slide",
    ),
    'crop misspelt': (
        {'crop_sise': (16, 16)},
        {},
        "test_cfg has no option 'crop_sise'; close: 'crop_size'; an entry of "
        'your own needs a name that is less like it',
    ),
    'window_batch 0': (
        {},
        {'window_batch': 0},
        'window_batch=0: expected a number of windows, 1 or more',
    ),
    'window_batch True': (
        {},
        {'window_batch': True},
        'window_batch=True: expected a number of windows, 1 or more',
    ),
    'keep_logits': (
        {},
        {'keep_logits': 'yes'},
        "keep_logits='yes': expected True or False",
    ),
}


@pytest.mark.parametrize(
    ('test_cfg', 'options', 'said'), WRONG.values(), ids=WRONG
)
def test_what_does_not_fit(test_cfg, options, said):
    model = spoilt(**test_cfg)
    with pytest.raises(ValueError, match=f'^{re.escape(said)}'):
        make_lean(model, **options)
    assert type(model) is EncoderDecoder


def test_what_is_no_encoder_decoder():
    with pytest.raises(
        TypeError,
        match=r'is for EncoderDecoder of MMSeg and classes below it; got '
        r'FCNHead, which has to stay as it is$',
    ):
        make_lean(MODELS.build(model_config(7).decode_head))


@pytest.mark.parametrize(
    ('kind', 'method'),
    [
        (OwnResult, 'postprocess_result'),
        (OwnPrediction, 'predict'),
        (DepthEstimator, 'predict'),
    ],
)
def test_segmentors_with_an_inference_of_their_own(kind, method):
    model = MODELS.build(model_config(7) | {'type': kind})
    with pytest.raises(
        ValueError,
        match=rf'^{kind.__name__} has its own {method}\(\), which lean '
        'inference would replace; it has to stay as it is$',
    ):
        make_lean(model)
    assert type(model) is kind


def test_nothing_is_warned_of():
    model = build(model_config(7, 'slide'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        [sample] = run(lean_of(model), make_inputs(), make_samples(1))
    assert isinstance(sample.pred_sem_seg.data.numpy(), np.ndarray)


@pytest.mark.parametrize('classes', [19, 150])
@pytest.mark.parametrize('known', [{}, {'ori_shape': (160, 200)}])
def test_whole_images_need_a_fifth(classes, known):
    size = (128, 160)
    model = build(model_config(classes, stride=8))
    inputs, samples = make_inputs(1, size), make_samples(1, size, **known)
    theirs = peak_of(upstream_of(model), inputs, samples)
    ours = peak_of(lean_of(model), inputs, samples)
    assert ours < theirs / 5


@pytest.mark.parametrize('head', ['PSPNet', 'OCRNet', 'DANet'])
def test_which_heads_need_no_logits_of_the_whole_image(head):
    config = HEADS[head]()
    config.backbone.stride = 8
    model = build(config)
    size = (256, 256)
    needed = peak_of(lean_of(model), make_inputs(1, size))
    assert (needed < 7 * 256 * 256 * 4) == (head != 'DANet')
