import math
from functools import partial
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, RUNNERS, DefaultScope
from mmengine.runner import Runner
from mmseg.registry import DATASETS
from PIL import Image

from helpers.configs import make_small, read_config
from helpers.lean import check_labels, make_samples
from mmseg_ext.converters import idd, nails, nuimages
from mmseg_ext.datasets import CamVid, LoadColorMasks
from mmseg_ext.labels.camvid import CAMVID32
from mmseg_ext.labels.nuimages import NUIMAGES, THING_OF, THINGS
from mmseg_ext.launch.configs import data_sets, parse_pairs, scope_of
from mmseg_ext.models.lean_inference import LeanInference
from mmseg_ext.models.losses import BalancedCrossEntropy
from mmseg_ext.sample_data import (
    write_camvid,
    write_idd,
    write_nails,
    write_nuimages,
)

CONFIGS = Path(__file__).parents[1] / 'configs'
#: Folders whose configs have tests of their own.
OTHERS = {'augfpn', 'cityscapes'}

NAMES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob('*.py')
    if not {'_base_', *OTHERS} & set(path.parts)
)

#: All configs, those with tests of their own among them.
PATHS = [p for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts]

# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)


def make_camvid(root):
    write_camvid(root, num=4, size=(128, 96), progress=False)


def make_segnet(root):
    """Write the layout of SegNet's copy: index masks, 11 for void."""
    make_camvid(root)
    for split in ('train', 'val'):
        (root / f'{split}annot').mkdir()
        labels = CamVid(
            'camvid11',
            {'img_path': split, 'seg_map_path': f'{split}_labels'},
            data_root=str(root),
            pipeline=[LoadColorMasks()],
        )
        for label in labels:
            pixels = label['gt_seg_map']
            pixels[pixels == 255] = 11
            name = Path(label['img_path']).name
            Image.fromarray(pixels).save(root / f'{split}annot' / name)


def make_nuimages(root):
    write_nuimages(root, num=4, size=(160, 90), progress=False)
    nuimages.convert(root, versions=['v1.0-train', 'v1.0-val'])


def make_idd(root):
    write_idd(root / 'raw', num=10, size=(128, 96), progress=False)
    parts = [root / 'raw' / name for name in ('IDD_Segmentation', 'idd20kII')]
    idd.convert(parts, root)


def make_nails(root):
    write_nails(root, num=8, size=(160, 120), progress=False)
    nails.convert(root, root / 'annotations')


def make_own_masks(root):
    """Write the folders of own_data: index masks, where road is 1."""
    make_camvid(root)
    for path in root.glob('*_labels/*_L.png'):
        is_road = (np.array(Image.open(path)) == CAMVID32['Road']).all(axis=2)
        name = path.name.replace('_L', '')
        Image.fromarray(is_road.astype(np.uint8)).save(path.with_name(name))
        path.unlink()


def make_own_color_masks(root):
    """Write the same in black and white, with the list of these."""
    make_own_masks(root)
    for path in root.glob('*_labels/*.png'):
        white = np.array(Image.open(path)) * np.uint8(255)
        Image.fromarray(np.stack([white] * 3, axis=2)).save(path)
    (root / 'class_dict.csv').write_text(
        'name,r,g,b\nbackground,0,0,0\nobject,255,255,255\n'
    )


def make_own_instances(root):
    """Write COCO files with the names of own_data."""
    make_nails(root)
    for ours, theirs in (('train', 'train'), ('valid', 'val')):
        rows = mmengine.load(root / f'annotations/{ours}.json')
        rows['categories'][0]['name'] = 'object'
        mmengine.dump(rows, root / f'annotations/{theirs}.json')


#: Kind of data set in a config -> what writes sample data for it.
MAKERS = {
    'CamVid': make_camvid,
    'CocoDataset': make_nuimages,
    'IDD_Data': make_idd,
    'NailDataset': make_nails,
    'NuImagesDataset': make_nuimages,
}
#: The same for own_data.
OWN_MAKERS = {
    'ColorMaskDataset': make_own_color_masks,
    'CocoDataset': make_own_instances,
    'PairedDataset': make_own_masks,
}


def test_classes_of_nuimages_instances():
    """MMDet gives the classes of a config to the categories in their order."""
    config = Config.fromfile(CONFIGS / '_base_/datasets/nuimages_instance.py')
    classes, palette = config.metainfo.classes, config.metainfo.palette
    assert classes == THINGS
    for thing, color in zip(classes, palette, strict=True):
        members = [name for name, other in THING_OF.items() if other == thing]
        assert color in [NUIMAGES[name] for name in members]


@pytest.fixture(scope='module')
def sample_data(tmp_path_factory):
    """Return the data root for a config; each kind of data is made once."""
    roots = {}

    def find(config):
        (dataset,) = data_sets(config.train_dataloader)
        is_own = dataset.data_root.startswith('data/mine')
        make = (OWN_MAKERS if is_own else MAKERS)[dataset.type]
        prefix = dataset.get('data_prefix', {})
        if prefix.get('seg_map_path') == 'trainannot':
            make = make_segnet
        if make not in roots:
            roots[make] = tmp_path_factory.mktemp(make.__name__)
            make(roots[make])
        return roots[make]

    return find


@pytest.mark.parametrize('name', ['semantic', 'color_masks'])
def test_labels_of_own_data(name, sample_data, tmp_path):
    """The object is the road of the scenes that were drawn."""
    config = read_config(CONFIGS / f'own_data/{name}.py')
    (dataset,) = data_sets(config.val_dataloader)
    dataset.data_root = str(sample_data(config))
    make_camvid(tmp_path)
    with DefaultScope.overwrite_default_scope('mmseg'):
        samples = list(DATASETS.build(dataset))
    assert samples
    for sample in samples:
        labels = sample['data_samples'].gt_sem_seg.data[0].numpy()
        stem = Path(sample['data_samples'].img_path).stem
        drawn = np.array(Image.open(tmp_path / f'val_labels/{stem}_L.png'))
        assert (labels == (drawn == CAMVID32['Road']).all(axis=2)).all()


@pytest.mark.parametrize('name', ['semantic', 'color_masks', 'instance'])
def test_heads_of_own_data_are_no_lists(name):
    """A child that sets an entry of a list would lose all others."""
    config = read_config(CONFIGS / f'own_data/{name}.py')
    heads = {**config.model, **config.model.get('roi_head', {})}
    kinds = [type(v) for key, v in heads.items() if key.endswith('head')]
    assert len(kinds) >= 1
    assert set(kinds) == {ConfigDict}
    assert not config.get('custom_hooks')


def train(runner):
    """Train; each trainable parameter must get a gradient. Return scalars."""
    trainable = {
        key: value
        for key, value in runner.model.named_parameters()
        if value.requires_grad
    }
    finite = {}

    def note(gradient, key):
        finite[key] = bool(gradient.isfinite().all())

    for key, value in trainable.items():
        value.register_hook(partial(note, key=key))
    runner.train()
    assert runner.iter == 1
    classes = runner.train_dataloader.dataset.metainfo['classes']
    assert len(classes) == runner.cfg.num_classes
    assert finite == dict.fromkeys(trainable, True)
    return {
        key: value.current()
        for key, value in runner.message_hub.log_scalars.items()
    }


def watch_labels(model):
    """Return a list that gets the share of labeled pixels of each batch."""
    shares = []

    def note(module, args, kwargs):
        if kwargs['mode'] == 'loss':
            labels = [s.gt_sem_seg.data for s in kwargs['data_samples']]
            shares.append((torch.stack(labels) != 255).float().mean().item())

    model.register_forward_pre_hook(note, with_kwargs=True)
    return shares


def counts_ignored(model):
    """Return whether pixels without label count in the cross entropy's mean.

    In MMSeg's they do by default, and in ours never.
    """
    return not any(
        getattr(module, 'avg_non_ignore', False)
        or isinstance(module, BalancedCrossEntropy)
        for module in model.modules()
    )


def check_segmentor(scalars, num_classes, counted):
    """Check the scores; in the batch so large a share of pixels counts."""
    # Untrained, the main head's cross entropy is near that of a guess. In a
    # mean over all pixels those without label count as 0.
    guess = counted * math.log(num_classes)
    assert 0.5 * guess < scalars['train/decode.loss_ce'] < 3 * guess
    assert 0 <= scalars['val/mIoU'] <= 100


def check_detector(scalars):
    losses = {key: value for key, value in scalars.items() if 'loss' in key}
    assert {'train/loss', 'train/loss_rpn_cls'} <= set(losses)
    assert all(0 <= value < math.inf for value in losses.values())
    for metric in ('bbox_mAP', 'segm_mAP'):
        score = scalars[f'val/coco/{metric}']
        assert score == -1 or 0 <= score <= 1


#: Those of the layer that gives the logits.
LAST_BIASES = ('decode_head.conv_seg.bias', 'network.classifier.4.bias')


def check_lean_inference(model):
    """Compare its labels with upstream's, in both modes and alignments."""
    model.eval()
    inputs = torch.randn(1, 3, 32, 48)
    samples = make_samples(1, (32, 48), ori_shape=(57, 81))
    # So that after one iteration none of the classes is everywhere.
    biases = [v for k, v in model.named_parameters() if k in LAST_BIASES]
    with torch.no_grad():
        biases[0] -= model(inputs, mode='tensor').mean((0, 2, 3))
    windows = {'crop_size': (32, 32), 'stride': (32, 16)}
    for mode, options in (('whole', {}), ('slide', windows)):
        model.test_cfg = ConfigDict(mode=mode, **options)
        labels = check_labels(model, inputs, samples)
        assert len(labels.unique()) > 1
        # The other way in the other mode.
        head = getattr(model, 'decode_head', model)
        head.align_corners = model.align_corners = not model.align_corners


#: Scope of a config -> the hook that compares heads and data set.
CHECKS = {'mmseg': 'LabelCheckHook', 'mmdet': 'NumClassCheckHook'}


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_heads_are_compared_with_the_data_set(path, tmp_path):
    """Also in a config of a user's that has hooks of its own."""
    child = tmp_path / 'mine.py'
    child.write_text(
        f'_base_ = {str(path)!r}\n'
        'default_hooks = dict(logger=dict(interval=7))\n'
        'custom_hooks = []\n'
    )
    for config in (read_config(path), Config.fromfile(child)):
        kinds = [hook['type'] for hook in config.default_hooks.values()]
        assert kinds.count(CHECKS[scope_of(config)]) == 1
        # Nor is the optimizer's state in each of the checkpoints.
        assert kinds.count('LeanCheckpointHook') == 1


@pytest.fixture
def from_cfg(monkeypatch):
    """Return a function that says what a runner of a config would be given."""

    def find(config):
        config.work_dir = 'nowhere'
        RUNNERS.build(config)
        return given

    given = {}
    monkeypatch.setattr(Runner, '__init__', lambda _, **a: given.update(a))
    monkeypatch.setattr(Runner, 'logger', MMLogger('runner'), raising=False)
    return find


@pytest.mark.usefixtures('torchvision')
@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_one_option_leaves_out_weights_at_an_address(path, from_cfg):
    config = read_config(path)
    config.merge_from_dict(parse_pairs(['runner_type=OfflineRunner']))
    given = from_cfg(config)
    assert not given['load_from']
    assert '://' not in str(given['model'])
    scope = DefaultScope.overwrite_default_scope(scope_of(config))
    # Without memory: some are large.
    with scope, torch.device('meta'):
        model = MODELS.build(given['model'])
    for name, module in model.named_modules():
        assert '://' not in str(getattr(module, 'init_cfg', '')), name
    trained = [value.requires_grad for value in model.parameters()]
    assert all(trained) or 'PackageWeights' in str(given['model'])


def test_addresses_of_configs_are_found(from_cfg):
    """Without the option they are there: the test above would see them."""
    path = CONFIGS / 'pspnet/pspnet_r18-d8_8xb2-80k_nuimages-512x1024.py'
    given = from_cfg(read_config(path))
    assert given['load_from'].startswith('https://')
    assert "'open-mmlab://resnet18_v1c'" in str(given['model'])


FAST = sorted(CONFIGS.glob('_base_/datasets/*_fast.py'))

#: Recipes that have the fast steps for themselves, and those that they have
#: the exact ones of.
FAST_RECIPES = {
    'fpn/fpn_lite0_1xb8-amp-1k_camvid11-360x480.py': (
        'fpn/fpn_lite0_1xb2-1500_camvid11-360x480.py'
    ),
    'demo/fpn_r50_1xb8-amp-1k_sample-192x256.py': (
        'demo/fpn_lite0_1xb4-400_sample-192x256.py'
    ),
    'demo/fpn_r50_1xb8-amp-1k_idd-sample-192x256.py': (
        'demo/fpn_lite0_1xb4-600_idd-sample-192x256.py'
    ),
    'demo/fpn_r50_1xb8-amp-1k_nuimages-sample-256x448.py': (
        'demo/fpn_lite0_1xb4-500_nuimages-sample-256x448.py'
    ),
}
PAIRS = {
    **{path: path.with_stem(path.stem[: -len('_fast')]) for path in FAST},
    **{CONFIGS / a: CONFIGS / b for a, b in FAST_RECIPES.items()},
}


@pytest.mark.parametrize('path', PAIRS, ids=lambda path: path.stem)
def test_fast_pipelines_give_the_same(path, sample_data):
    """Without the colors, which enlarge a difference of one level."""
    found = []
    for each in (path, PAIRS[path]):
        config = read_config(each)
        dataset = config.train_dataloader.dataset
        steps = [step['type'] for step in dataset.pipeline]
        assert ('FusedResizeCropFlip' in steps) == (each == path)
        dataset.data_root = str(sample_data(config))
        dataset.pipeline = [
            step
            for step in dataset.pipeline
            if step['type'] != 'FastPhotoMetricDistortion'
        ]
        np.random.seed(0)
        with DefaultScope.overwrite_default_scope('mmseg'):
            found.append(list(DATASETS.build(dataset)))
    for ours, theirs in zip(*found, strict=True):
        samples = ours['data_samples'], theirs['data_samples']
        labels = [sample.gt_sem_seg.data for sample in samples]
        assert torch.equal(*labels)
        assert samples[0].metainfo == samples[1].metainfo
        difference = ours['inputs'].int() - theirs['inputs'].int()
        assert difference.abs().max() <= 1


@pytest.mark.usefixtures('torchvision')
@pytest.mark.parametrize('name', NAMES)
def test_one_iteration_and_validation(name, sample_data, tmp_path):
    config = read_config(CONFIGS / name)
    make_small(config, sample_data(config), tmp_path)
    for dataset in data_sets(config.train_dataloader):
        dataset.indices = 2
    if config.train_cfg.type == 'EpochBasedTrainLoop':
        config.train_cfg.max_epochs = 1
    else:
        config.train_cfg.update(max_iters=1, val_interval=1)
    config.experiment_name = name
    config.randomness = {'seed': 0}
    runner = Runner.from_cfg(config)
    # There is no SyncBN without GPUs.
    runner.model = revert_sync_batchnorm(runner.model)
    if scope_of(config) == 'mmdet':
        check_detector(train(runner))
        return

    assert isinstance(runner.model, LeanInference)
    shares = watch_labels(runner.model)
    scalars = train(runner)
    (labeled,) = shares
    assert 0.1 < labeled <= 1
    counted = labeled if counts_ignored(runner.model) else 1
    check_segmentor(scalars, config.num_classes, counted)
    assert list(tmp_path.glob('*/seg_vis/*/*/panel.png'))
    check_lean_inference(runner.model)
