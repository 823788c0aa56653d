import doctest
import http.server
import pickle
import re
import sys
import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.structures import PixelData
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.evaluation import IoUMetric
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_ext.engine.label_checks import class_heads
from mmseg_ext.models.segmentors import mm_deeplabv3, torchvision_networks
from mmseg_ext.models.segmentors.mm_deeplabv3 import MMDeeplabV3
from mmseg_ext.models.segmentors.torchvision_networks import PooledBatchNorm2d

NUM_CLASSES = 4
IGNORE = 255

#: The fastest network with an auxiliary head and ASPP.
SMALL = 'deeplabv3_mobilenet_v3_large'


@pytest.fixture(scope='module')
def trained_norms(torchvision):
    """Small network in evaluation mode, with non-trivial running statistics.

    Tests that change it must copy it.
    """
    torch.manual_seed(0)
    model = MMDeeplabV3(
        NUM_CLASSES,
        network=SMALL,
        data_preprocessor=dict(type='mmseg.SegDataPreProcessor'),
    )
    model.train()
    for _ in range(3):
        model(torch.randn(4, 3, 64, 64))
    return model.eval()


def test_number_of_classes_is_known_to_the_check_before_a_run(trained_norms):
    [head] = class_heads(trained_norms)
    assert (head.key, head.num_classes) == ('model.num_classes', NUM_CLASSES)
    assert (head.ignore_index, head.single) == (IGNORE, False)


def make_batch(size=(64, 64), images=2, seed=0):
    """Images and labels, some of them ignored, with data samples."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(images, 3, *size, generator=generator)
    labels = torch.randint(
        0, NUM_CLASSES, (images, *size), generator=generator
    )
    labels[:, :20, 5:30] = IGNORE
    return inputs, labels, make_samples(labels)


def make_samples(labels, **metainfo):
    samples = []
    for label in labels:
        sample = SegDataSample(metainfo=metainfo)
        sample.gt_sem_seg = PixelData(data=label[None])
        samples.append(sample)
    return samples


def resize_by_hand(logits, size, align_corners=False):
    """Bilinear, edges repeated: (C, H, W) to ``size``.

    Centers of pixels lie at halves, or the outer ones at the corners.
    """

    def weights(source, target):
        matrix = np.zeros((target, source))
        for row in range(target):
            if align_corners:
                position = row * (source - 1) / (target - 1)
            else:
                position = (row + 0.5) * source / target - 0.5
            position = min(max(position, 0), source - 1)
            low = int(position)
            high = min(low + 1, source - 1)
            matrix[row, low] += 1 - (position - low)
            matrix[row, high] += position - low
        return matrix

    _, height, width = logits.shape
    return np.einsum(
        'yh,chw,xw->cyx',
        weights(height, size[0]),
        logits.astype(np.float64),
        weights(width, size[1]),
    )


def same_but_for_ties(prediction, logits):
    """Whether predictions are the argmax, up to rounding of the logits."""
    chosen = np.take_along_axis(logits, prediction[None], axis=0)[0]
    return np.all(chosen >= logits.max(axis=0) - 1e-4)


def test_loss_is_cross_entropy_of_the_networks_logits(trained_norms):
    inputs, labels, samples = make_batch()
    with torch.no_grad():
        losses = trained_norms(inputs, samples, mode='loss')
        logits = trained_norms.network(inputs)

    assert list(losses) == [
        'decode.loss_ce',
        'decode.acc_seg',
        'aux.loss_ce',
        'aux.acc_seg',
    ]
    for name, key, weight in (('decode', 'out', 1), ('aux', 'aux', 0.4)):
        expected = weight * F.cross_entropy(
            logits[key], labels, ignore_index=IGNORE
        )
        torch.testing.assert_close(losses[f'{name}.loss_ce'], expected)
        kept = labels != IGNORE
        hits = (logits[key].argmax(1) == labels)[kept].double().mean()
        assert losses[f'{name}.acc_seg'].item() == pytest.approx(
            100 * hits.item(), abs=1e-3
        )


def test_loss_averages_over_the_pixels_of_the_whole_batch(trained_norms):
    inputs, labels, _ = make_batch()
    labels[0] = IGNORE
    with torch.no_grad():
        losses = trained_norms(inputs, make_samples(labels), mode='loss')
        logits = trained_norms.network(inputs)['out']
    expected = F.cross_entropy(logits[1:], labels[1:], ignore_index=IGNORE)
    torch.testing.assert_close(losses['decode.loss_ce'], expected)


def test_all_ignored_gives_zero_and_finite_gradients(torchvision):
    model = MMDeeplabV3(NUM_CLASSES, network=SMALL)
    inputs, labels, _ = make_batch()
    losses = model.loss(inputs, make_samples(labels.fill_(IGNORE)))
    total, logged = model.parse_losses(losses)
    total.backward()
    assert logged['loss'] == 0
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.all(gradient == 0) for gradient in gradients)


@pytest.mark.parametrize(
    ('weight', 'expected'),
    [
        pytest.param(None, 0.4, id='default'),
        pytest.param(1, 1, id='one'),
        pytest.param(0.1, 0.1, id='tenth'),
    ],
)
def test_auxiliary_loss_weight(trained_norms, weight, expected):
    model = MMDeeplabV3(
        NUM_CLASSES, network=SMALL, auxiliary_loss_weight=weight
    )
    model.load_state_dict(trained_norms.state_dict())
    model.eval()
    inputs, labels, samples = make_batch()
    with torch.no_grad():
        losses = model.loss(inputs, samples)
        logits = model.network(inputs)['aux']
    torch.testing.assert_close(
        losses['aux.loss_ce'],
        expected * F.cross_entropy(logits, labels, ignore_index=IGNORE),
    )


def test_auxiliary_loss_weight_zero_builds_no_head(torchvision):
    model = MMDeeplabV3(NUM_CLASSES, network=SMALL, auxiliary_loss_weight=0)
    assert not model.with_auxiliary_head
    assert not any('aux' in name for name, _ in model.named_parameters())
    inputs, _, samples = make_batch()
    losses = model.loss(inputs, samples)
    assert list(losses) == ['decode.loss_ce', 'decode.acc_seg']


def test_several_losses_and_another_ignore_index(trained_norms):
    model = MMDeeplabV3(
        NUM_CLASSES,
        network=SMALL,
        ignore_index=1,
        loss_decode=[
            dict(type='CrossEntropyLoss', avg_non_ignore=True),
            dict(
                type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=0.5
            ),
            dict(type='DiceLoss', loss_weight=2.0),
        ],
    )
    model.load_state_dict(trained_norms.state_dict())
    model.eval()
    inputs, labels, _ = make_batch()
    labels[labels == IGNORE] = 0
    with torch.no_grad():
        losses = model.loss(inputs, make_samples(labels))
        logits = model.network(inputs)['out']
    cross_entropy = F.cross_entropy(logits, labels, ignore_index=1)
    torch.testing.assert_close(losses['decode.loss_ce'], 1.5 * cross_entropy)
    assert 0 < losses['decode.loss_dice'] <= 2
    total, _ = model.parse_losses(losses)
    assert total == sum(v for k, v in losses.items() if 'loss' in k)


@pytest.mark.parametrize('value', [NUM_CLASSES, 254, -1])
def test_label_out_of_range_names_file_and_values(trained_norms, value):
    inputs, labels, _ = make_batch()
    labels[1, 3, 4] = value
    samples = make_samples(labels, seg_map_path='labels/b.png')
    with pytest.raises(
        ValueError, match=rf'labels/b\.png holds the values {value}: .*0 to 3'
    ):
        trained_norms.loss(inputs, samples)


def test_missing_label_names_image_and_remedy(trained_norms):
    inputs, _, _ = make_batch()
    samples = [SegDataSample(metainfo={'img_path': 'a.png'})] * 2
    with pytest.raises(ValueError, match=r'a\.png has no gt_sem_seg: add'):
        trained_norms.loss(inputs, samples)


def test_prediction_at_original_size_without_padding(trained_norms):
    """Images of 48 x 60 (padded to 64 x 64) come from files of 37 x 91."""
    inputs, _, _ = make_batch()
    metainfo = {'ori_shape': (37, 91), 'padding_size': [0, 4, 0, 16]}
    samples = [SegDataSample(metainfo=metainfo) for _ in inputs]
    with torch.no_grad():
        results = trained_norms(inputs, samples, mode='predict')
        logits = trained_norms.network(inputs)['out'].numpy()

    for result, image_logits in zip(results, logits, strict=True):
        expected = resize_by_hand(image_logits[:, :48, :60], (37, 91))
        np.testing.assert_allclose(result.seg_logits.data, expected, atol=1e-4)
        prediction = result.pred_sem_seg.data
        assert prediction.shape == (1, 37, 91)
        assert same_but_for_ties(prediction[0].numpy(), expected)


@pytest.mark.parametrize(
    ('direction', 'axis'),
    [
        pytest.param('horizontal', 2, id='horizontal'),
        pytest.param('vertical', 1, id='vertical'),
    ],
)
def test_prediction_undoes_flip(trained_norms, direction, axis):
    """What the network sees is flipped; the result is not."""
    inputs, _, _ = make_batch(images=1)
    metainfo = {
        'ori_shape': (64, 64),
        'flip': True,
        'flip_direction': direction,
    }
    with torch.no_grad():
        (result,) = trained_norms.predict(
            inputs, [SegDataSample(metainfo=metainfo)]
        )
        logits = trained_norms.network(inputs)['out'][0].numpy()
    np.testing.assert_allclose(
        result.seg_logits.data, np.flip(logits, axis), atol=1e-5
    )
    assert same_but_for_ties(
        result.pred_sem_seg.data[0].numpy(), np.flip(logits, axis)
    )


def test_slide_inference_averages_windows(trained_norms):
    model = MMDeeplabV3(
        NUM_CLASSES,
        network=SMALL,
        test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(64, 32)),
    )
    model.load_state_dict(trained_norms.state_dict())
    model.eval()
    inputs, _, _ = make_batch(size=(64, 96), images=1)
    with torch.no_grad():
        (result,) = model.predict(inputs)
        left = model.network(inputs[..., :64])['out'][0]
        right = model.network(inputs[..., 32:])['out'][0]
    both = (left[..., 32:] + right[..., :32]) / 2
    expected = torch.cat([left[..., :32], both, right[..., 32:]], dim=2)
    torch.testing.assert_close(result.seg_logits.data, expected)


@pytest.mark.parametrize(
    ('network', 'auxiliary'),
    [
        pytest.param('deeplabv3_resnet50', True, id='default'),
        pytest.param('fcn_resnet50', True, id='fcn'),
        pytest.param('lraspp_mobilenet_v3_large', False, id='lraspp'),
    ],
)
def test_networks_by_name(torchvision, network, auxiliary):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type='MMDeeplabV3', num_classes=NUM_CLASSES, network=network)
    )
    assert model.with_auxiliary_head is auxiliary
    builder = getattr(torchvision.models.segmentation, network)
    keywords = {'aux_loss': True} if auxiliary else {}
    original = builder(
        weights=None,
        weights_backbone=None,
        num_classes=NUM_CLASSES,
        **keywords,
    )
    original.load_state_dict(model.network.state_dict())

    inputs, _, samples = make_batch(size=(32, 40))
    model.eval()
    original.eval()
    with torch.no_grad():
        expected = original(inputs)['out']
        torch.testing.assert_close(model(inputs), expected)

    model.train()
    total, _ = model.parse_losses(model.loss(inputs, samples))
    total.backward()
    unused = [n for n, p in model.named_parameters() if p.grad is None]
    assert not unused


def test_example(torchvision):
    assert doctest.testmod(mm_deeplabv3) == (0, 2)


def test_default_network_is_deeplabv3_resnet50(torchvision):
    model = MMDeeplabV3(2)
    segmentation = torchvision.models.segmentation
    assert isinstance(model.network, segmentation.DeepLabV3)
    assert len(model.network.backbone.layer3) == 6
    assert model.network.classifier[-1].out_channels == 2


@pytest.mark.parametrize('align_corners', [False, True])
def test_align_corners(trained_norms, align_corners):
    inputs, _, _ = make_batch(size=(48, 64), images=1)
    model = MMDeeplabV3(
        NUM_CLASSES, network=SMALL, align_corners=align_corners
    )
    model.load_state_dict(trained_norms.state_dict())
    model.eval()
    metainfo = {'ori_shape': (60, 100)}
    with torch.no_grad():
        coarse = model.network.classifier(model.extract_feat(inputs)['out'])
        (result,) = model.predict(inputs, [SegDataSample(metainfo=metainfo)])
    expected = coarse[0].numpy()
    for size in ((48, 64), (60, 100)):
        expected = resize_by_hand(expected, size, align_corners)
    np.testing.assert_allclose(result.seg_logits.data, expected, atol=1e-4)


def test_training_steps_reduce_the_loss(torchvision):
    torch.manual_seed(0)
    model = MMDeeplabV3(NUM_CLASSES, network=SMALL)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs = torch.randn(1, 3, 64, 64).repeat(2, 1, 1, 1)
    labels = torch.arange(NUM_CLASSES).repeat_interleave(16)
    labels = labels.expand(2, 64, 64).contiguous()
    values = []
    for _ in range(12):
        losses = model.loss(inputs, make_samples(labels))
        total, logged = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(logged['decode.loss_ce'].item())
    assert values[-1] < 0.5 * values[0]


def test_batch_of_one_image_trains_on_running_statistics(trained_norms):
    model = MMDeeplabV3(NUM_CLASSES, network=SMALL)
    model.load_state_dict(trained_norms.state_dict())
    (norm,) = (m for m in model.modules() if isinstance(m, PooledBatchNorm2d))
    mean = norm.running_mean.clone()
    inputs, _, samples = make_batch(images=1)
    with pytest.warns(UserWarning, match='batch of one image.*drop_last'):
        losses = model.loss(inputs, samples)
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(norm.weight.grad).all()
    torch.testing.assert_close(norm.running_mean, mean, rtol=0, atol=0)

    model.loss(*[make_batch()[i] for i in (0, 2)])
    assert not torch.equal(norm.running_mean, mean)


@pytest.mark.parametrize(
    ('shape', 'training'),
    [
        pytest.param((3, 5, 1, 1), True, id='batch'),
        pytest.param((1, 5, 2, 3), True, id='map'),
        pytest.param((1, 5, 1, 1), False, id='evaluation'),
    ],
)
def test_pooled_norm_is_batch_norm_elsewhere(shape, training):
    torch.manual_seed(0)
    pooled, plain = PooledBatchNorm2d(5), nn.BatchNorm2d(5)
    state = {
        'weight': torch.randn(5),
        'bias': torch.randn(5),
        'running_mean': torch.randn(5),
        'running_var': torch.rand(5) + 0.5,
        'num_batches_tracked': torch.tensor(3),
    }
    for norm in (pooled, plain):
        norm.load_state_dict(state)
        norm.train(training)
    inputs = torch.randn(shape)
    torch.testing.assert_close(pooled(inputs), plain(inputs))
    torch.testing.assert_close(pooled.state_dict(), plain.state_dict())


def test_pooled_norm_of_one_value_is_evaluation():
    torch.manual_seed(0)
    norm = PooledBatchNorm2d(5)
    norm.running_mean.normal_()
    inputs = torch.randn(1, 5, 1, 1)
    expected = (inputs[0, :, 0, 0] - norm.running_mean) / (1 + 1e-5) ** 0.5
    with pytest.warns(UserWarning, match='batch of one'):
        result = norm(inputs)
    torch.testing.assert_close(result[0, :, 0, 0], expected)


def test_checkpoint_round_trip(trained_norms, tmp_path):
    path = str(tmp_path / 'checkpoint.pth')
    save_checkpoint({'state_dict': trained_norms.state_dict()}, path)
    torch.manual_seed(7)
    other = MMDeeplabV3(NUM_CLASSES, network=SMALL).eval()
    inputs, _, _ = make_batch()
    with torch.no_grad():
        expected = trained_norms(inputs)
        assert not torch.allclose(other(inputs), expected)
        load_checkpoint(other, path, strict=True)
        assert torch.equal(other(inputs), expected)


# Arguments


@pytest.mark.parametrize(
    ('keywords', 'error', 'message'),
    [
        pytest.param(
            dict(num_classes=1),
            ValueError,
            'num_classes must be at least 2, got 1',
            id='one-class',
        ),
        pytest.param(
            dict(num_classes='4'),
            TypeError,
            "num_classes must be an integer, got '4'",
            id='text',
        ),
        pytest.param(
            dict(ignore_index=None),
            TypeError,
            'ignore_index must be an integer, got None',
            id='ignore-index',
        ),
        pytest.param(
            dict(network='unet'),
            ValueError,
            "'unet': choose one of .*deeplabv3_resnet50, .*lraspp_",
            id='network',
        ),
        pytest.param(
            dict(auxiliary_loss_weight=-0.1),
            ValueError,
            'auxiliary_loss_weight must be 0 or above, got -0.1',
            id='negative-weight',
        ),
        pytest.param(
            dict(auxiliary_loss_weight=float('nan')),
            ValueError,
            'auxiliary_loss_weight must be 0 or above, got nan',
            id='nan-weight',
        ),
        pytest.param(
            dict(auxiliary_loss_weight='0.4'),
            TypeError,
            'auxiliary_loss_weight must be a number',
            id='text-weight',
        ),
        pytest.param(
            dict(
                network='lraspp_mobilenet_v3_large', auxiliary_loss_weight=0.4
            ),
            ValueError,
            'lraspp_mobilenet_v3_large has no auxiliary head',
            id='no-head',
        ),
        pytest.param(
            dict(pretrained='torchvision://resnet50'),
            ValueError,
            'give the backbone.s weights as backbone_init',
            id='pretrained',
        ),
    ],
)
def test_wrong_arguments(torchvision, keywords, error, message):
    with pytest.raises(error, match=message):
        MMDeeplabV3(**{'num_classes': NUM_CLASSES, **keywords})


# torchvision absent or broken


def without_torchvision(monkeypatch):
    for name in list(sys.modules):
        if name.split('.')[0] == 'torchvision':
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ('release', 'cuda', 'command'),
    [
        pytest.param(
            '2.13.0+cpu',
            None,
            "pip install --no-deps 'torchvision==0.28.*' "
            '--index-url https://download.pytorch.org/whl/cpu',
            id='cpu',
        ),
        pytest.param(
            '2.1.2+cu121',
            '12.1',
            "pip install --no-deps 'torchvision==0.16.*'",
            id='cuda',
        ),
    ],
)
def test_absent_torchvision(monkeypatch, release, cuda, command):
    without_torchvision(monkeypatch)
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    monkeypatch.setattr(torch, '__version__', release)
    monkeypatch.setattr(torch.version, 'cuda', cuda)
    with pytest.raises(ImportError) as raised:
        MMDeeplabV3(NUM_CLASSES)
    assert 'optional extra "torchvision"' in str(raised.value)
    assert str(raised.value).endswith(command)


def test_torchvision_of_another_torch(monkeypatch, tmp_path):
    without_torchvision(monkeypatch)
    package = tmp_path / 'torchvision' / '__init__.py'
    package.parent.mkdir()
    package.write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError) as raised:
        MMDeeplabV3(NUM_CLASSES)
    message = str(raised.value)
    assert torch.__version__ in message
    assert 'operator torchvision::nms does not exist' in message
    assert "pip install --no-deps 'torchvision==0." in message


@pytest.mark.parametrize('module', [mm_deeplabv3, torchvision_networks])
def test_import_and_registration_need_no_torchvision(monkeypatch, module):
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    source = Path(module.__file__).read_text()
    assert not re.search(r'^(import|from) torchvision', source, re.MULTILINE)
    assert MODELS.get('MMDeeplabV3') is MMDeeplabV3


# Weights of the backbone


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Fail on every download, and give torch an empty cache."""

    def download(url, *args, **kwargs):
        raise AssertionError(f'download of {url}')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    cache = tmp_path / 'torch' / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    return cache


@pytest.fixture(scope='module')
def classifier_weights(torchvision):
    """Weights of a ResNet-50 image classifier, as torchvision saves them."""
    torch.manual_seed(3)
    return torchvision.models.resnet50(weights=None).state_dict()


def assert_backbone_is(model, weights):
    for name, value in model.network.backbone.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize(
    'wrap',
    [
        pytest.param(lambda weights: weights, id='torchvision'),
        pytest.param(
            lambda weights: {
                'state_dict': {f'module.{k}': v for k, v in weights.items()},
                'meta': {'epoch': 3},
            },
            id='mmengine',
        ),
        pytest.param(
            lambda weights: {
                k: v
                for k, v in weights.items()
                if not k.startswith('fc.') and 'num_batches' not in k
            },
            id='no-classifier-no-counters',
        ),
    ],
)
def test_backbone_init_from_file(offline, classifier_weights, tmp_path, wrap):
    path = tmp_path / 'resnet50.pth'
    torch.save(wrap(classifier_weights), path)
    model = MMDeeplabV3(NUM_CLASSES, backbone_init=str(path))
    before = model.network.backbone.conv1.weight.clone()
    head = model.network.classifier[-1].weight.clone()
    assert not torch.equal(before, classifier_weights['conv1.weight'])

    model.init_weights()
    assert_backbone_is(model, classifier_weights)
    assert torch.equal(model.network.classifier[-1].weight, head)

    # A runner that trains once more keeps what was learned.
    model.network.backbone.conv1.weight.data.zero_()
    model.init_weights()
    assert (model.network.backbone.conv1.weight == 0).all()


def test_backbone_init_of_mobilenet(torchvision, offline, tmp_path):
    torch.manual_seed(3)
    weights = torchvision.models.mobilenet_v3_large(weights=None).state_dict()
    torch.save(weights, tmp_path / 'mobilenet.pth')
    model = MMDeeplabV3(
        NUM_CLASSES,
        network='lraspp_mobilenet_v3_large',
        backbone_init=str(tmp_path / 'mobilenet.pth'),
    )
    model.init_weights()
    assert_backbone_is(
        model, {k.removeprefix('features.'): v for k, v in weights.items()}
    )


def test_backbone_init_by_torchvision_name(offline, classifier_weights):
    """mmengine resolves the name; torch finds the file in its cache."""
    torch.save(classifier_weights, offline / 'resnet50-0676ba61.pth')
    model = MMDeeplabV3(NUM_CLASSES, backbone_init='torchvision://resnet50')
    model.init_weights()
    assert_backbone_is(model, classifier_weights)


@pytest.fixture
def server(tmp_path):
    """Serve a folder over HTTP on this machine."""
    folder = tmp_path / 'served'
    folder.mkdir()
    handler = partial(
        http.server.SimpleHTTPRequestHandler, directory=str(folder)
    )
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield folder, f'http://127.0.0.1:{httpd.server_port}'
        httpd.shutdown()
        thread.join()


def test_backbone_init_from_url(
    torchvision, classifier_weights, server, tmp_path, monkeypatch
):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    folder, url = server
    torch.save(classifier_weights, folder / 'weights.pth')
    model = MMDeeplabV3(NUM_CLASSES, backbone_init=f'{url}/weights.pth')
    model.init_weights()
    assert_backbone_is(model, classifier_weights)

    with pytest.raises(ValueError, match=r'absent\.pth.* cannot be loaded'):
        MMDeeplabV3(
            NUM_CLASSES, backbone_init=f'{url}/absent.pth'
        ).init_weights()


class Harmful:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize('way', ['file', 'url', 'name'])
def test_backbone_init_refuses_all_but_weights(
    torchvision, server, way, tmp_path, monkeypatch
):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    cache = tmp_path / 'torch' / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    folder, url = server
    path, source = {
        'file': (tmp_path / 'a.pth', str(tmp_path / 'a.pth')),
        'url': (folder / 'a.pth', f'{url}/a.pth'),
        'name': (cache / 'resnet50-0676ba61.pth', 'torchvision://resnet50'),
    }[way]
    mark = tmp_path / 'mark'
    torch.save({'conv1.weight': Harmful(mark)}, path)
    model = MMDeeplabV3(NUM_CLASSES, backbone_init=source)
    with pytest.raises(ValueError, match='cannot be loaded') as raised:
        model.init_weights()
    assert isinstance(raised.value.__cause__, pickle.UnpicklingError)
    assert not mark.exists()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        pytest.param(
            lambda weights, _: {'conv1.weight': weights['conv1.weight']},
            r'\d+ missing \(bn1\.weight, .* more\)',
            id='part',
        ),
        pytest.param(
            lambda _, models: models.resnet101(weights=None).state_dict(),
            r'unknown \(layer3\.6\.',
            id='deeper',
        ),
        pytest.param(
            lambda _, models: models.wide_resnet50_2(
                weights=None
            ).state_dict(),
            r'of another shape \(layer1\.0\.conv1\.weight \(128, 64, 1, 1\) '
            r'for \(64, 64, 1, 1\)',
            id='wider',
        ),
        pytest.param(
            lambda weights, _: list(weights),
            'expected a dict of weights, found list',
            id='list',
        ),
        pytest.param(
            lambda weights, _: dict.fromkeys(weights, 1.0),
            'no state dict',
            id='numbers',
        ),
    ],
)
def test_backbone_init_that_does_not_fit(
    torchvision, classifier_weights, tmp_path, change, message
):
    path = tmp_path / 'weights.pth'
    torch.save(change(classifier_weights, torchvision.models), path)
    model = MMDeeplabV3(NUM_CLASSES, backbone_init=str(path))
    before = {
        k: v.clone() for k, v in model.network.backbone.state_dict().items()
    }
    with pytest.raises(ValueError, match=message) as raised:
        model.init_weights()
    assert str(path) in str(raised.value)
    assert_backbone_is(model, before)


def test_backbone_init_that_is_not_there(torchvision, offline, tmp_path):
    absent = str(tmp_path / 'absent.pth')
    with pytest.raises(FileNotFoundError, match=re.escape(absent)):
        MMDeeplabV3(NUM_CLASSES, backbone_init=absent).init_weights()
    with pytest.raises(ValueError, match="name 'resnet_50'"):
        MMDeeplabV3(
            NUM_CLASSES, backbone_init='torchvision://resnet_50'
        ).init_weights()
    (tmp_path / 'cut.pth').write_bytes(b'PK\x03\x04')
    with pytest.raises(ValueError, match=r'cut\.pth.* cannot be loaded'):
        MMDeeplabV3(
            NUM_CLASSES, backbone_init=str(tmp_path / 'cut.pth')
        ).init_weights()


def test_constructor_and_inference_load_nothing(offline):
    model = MMDeeplabV3(NUM_CLASSES, backbone_init='torchvision://resnet50')
    model.eval()
    with torch.no_grad():
        model.predict(torch.zeros(1, 3, 32, 32))


# With the rest of MMSeg


@pytest.fixture
def deployed(trained_norms, tmp_path):
    """Config, checkpoint and image as a user of MMSeg's tools has them."""
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 64), keep_ratio=True),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    config = Config(
        dict(
            default_scope='mmseg',
            model=dict(
                type='MMDeeplabV3',
                num_classes=NUM_CLASSES,
                network=SMALL,
                backbone_init='torchvision://mobilenet_v3_large',
                data_preprocessor=dict(
                    type='SegDataPreProcessor',
                    mean=[100.0, 110.0, 120.0],
                    std=[50.0, 60.0, 70.0],
                    bgr_to_rgb=True,
                    test_cfg=dict(size_divisor=32),
                ),
            ),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
            test_pipeline=pipeline,
            visualizer=dict(type='SegLocalVisualizer'),
        )
    )
    checkpoint = str(tmp_path / 'checkpoint.pth')
    meta = {
        'classes': ('road', 'sky', 'tree', 'car'),
        'palette': [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]],
    }
    save_checkpoint(
        {
            'state_dict': trained_norms.state_dict(),
            'meta': {'dataset_meta': meta},
        },
        checkpoint,
    )
    image = np.random.default_rng(0).integers(0, 256, (45, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    return config, checkpoint, str(tmp_path / 'image.png')


def expected_logits(model, path):
    """Preprocess by hand, run torchvision's network, and undo it."""
    image = cv2.resize(cv2.imread(path), (64, 32))[..., ::-1]
    image = (image - np.array([100, 110, 120])) / np.array([50, 60, 70])
    inputs = torch.tensor(image.transpose(2, 0, 1)[None]).float()
    with torch.no_grad():
        logits = model.network(inputs)['out'][0].numpy()
    return resize_by_hand(logits, (45, 90))


def test_init_model_and_inference_model(offline, trained_norms, deployed):
    config, checkpoint, image = deployed
    model = init_model(config, checkpoint, device='cpu')
    result = inference_model(model, image)
    logits = expected_logits(trained_norms, image)
    np.testing.assert_allclose(result.seg_logits.data, logits, atol=1e-3)
    assert model.dataset_meta['classes'][0] == 'road'


def test_inferencer(offline, trained_norms, deployed):
    config, checkpoint, image = deployed
    inferencer = MMSegInferencer(config, weights=checkpoint, device='cpu')
    result = inferencer(image, return_vis=True)
    logits = expected_logits(trained_norms, image)
    assert same_but_for_ties(result['predictions'], logits)
    assert result['visualization'].shape == (45, 90, 3)


def test_test_time_augmentation(trained_norms):
    """The mean of the softmax over an image and its mirror image."""
    inputs, _, _ = make_batch(images=1)
    model = SegTTAModel(module=trained_norms)
    plain = SegDataSample(metainfo={'ori_shape': (64, 64), 'img_path': 'a'})
    flipped = SegDataSample(
        metainfo={
            'ori_shape': (64, 64),
            'img_path': 'a',
            'flip': True,
            'flip_direction': 'horizontal',
        }
    )
    with torch.no_grad():
        (result,) = model.test_step(
            {
                'inputs': [[inputs[0]], [inputs[0].flip(2)]],
                'data_samples': [[plain], [flipped]],
            }
        )
        first = trained_norms.network(inputs)['out'][0]
        second = trained_norms.network(inputs.flip(3))['out'][0].flip(2)
    mean = (first.softmax(0) + second.softmax(0)) / 2
    assert same_but_for_ties(
        result.pred_sem_seg.data.squeeze().numpy(), mean.numpy()
    )


def test_iou_metric(trained_norms):
    inputs, labels, _ = make_batch()
    samples = make_samples(labels, ori_shape=(64, 64))
    with torch.no_grad():
        results = trained_norms.predict(inputs, samples)
        prediction = trained_norms.network(inputs)['out'].argmax(1)
    evaluator = Evaluator([IoUMetric(iou_metrics=['mIoU'])])
    evaluator.dataset_meta = {'classes': list('abcd')}
    evaluator.process(data_samples=results, data_batch={})
    metrics = evaluator.evaluate(len(results))

    kept = labels != IGNORE
    ious = []
    for index in range(NUM_CLASSES):
        hit = (prediction == index)[kept]
        truth = (labels == index)[kept]
        ious.append((hit & truth).sum() / (hit | truth).sum())
    assert metrics['mIoU'] == pytest.approx(
        100 * float(np.mean(ious)), abs=0.02
    )
