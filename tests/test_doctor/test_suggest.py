"""The config that mends what was found in another."""

import os
import shutil
from pathlib import Path

import cv2
import mmseg
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

import mmseg_ext.doctor.examine as examine_module
from mmseg_ext.doctor.child_configs import base_of, child_text
from mmseg_ext.doctor.findings import Code, Level, check
from mmseg_ext.doctor.suggest import MARK, check_suggest, write_suggestion
from mmseg_ext.launch.configs import load_config
from mmseg_ext.registry import configs_folder

HEADS = Code('head-classes', Level.ERROR, 'it fails', 'set num_classes')
NORM = Code('norm-of-one', Level.ERROR, 'it fails', 'use GN')
ORDER = Code('pipeline-order', Level.ERROR, 'it fails', 'change the order')
RANGE = Code('label-range', Level.ERROR, 'it fails', 'map the labels')
TRAIN = 'train_dataloader.dataset'


@pytest.fixture
def checks(monkeypatch):
    """Return a list in place of that of all checks."""
    own = []
    monkeypatch.setattr(examine_module, 'CHECKS', own)
    return own


@pytest.fixture
def suggest(street, checks):
    """Write a suggestion for findings that no check has found."""

    def write(path, *findings, cfg_options=None):
        diagnosis = street.examine(cfg_options=dict(cfg_options or {}))
        diagnosis = diagnosis._replace(findings=[*findings])
        return write_suggestion(diagnosis, path, cfg_options or {})

    return write


def read(path):
    """Return a config as MMEngine reads it."""
    return Config.fromfile(path, import_custom_modules=False).to_dict()


def test_it_inherits_and_writes_what_differs(street, suggest, tmp_path):
    names = tuple(f'class number {i}' for i in range(9))
    heads = {
        'model.decode_head.num_classes': 7,
        'model.auxiliary_head.num_classes': 7,
    }
    norm = {'type': 'GN', 'num_groups': 8}
    path = tmp_path / 'new' / 'mended.py'

    result = suggest(
        path,
        HEADS.found('5 outputs, and the data have 7 classes', change=heads),
        NORM.found('one value', change={'model.backbone.norm_cfg': norm}),
        *(
            RANGE.found(
                'values 5 and 6',
                file=f'/data/{name}.png',
                change={f'{TRAIN}.metainfo': {'classes': names}},
            )
            for name in 'abc'
        ),
        NORM.found('one left', change={'train_dataloader.drop_last': True}),
    )

    assert (
        path.read_text()
        == f"""{MARK}
_base_ = ['../street/config.py']

# head-classes: 5 outputs, and the data have 7 classes
model = dict(
    backbone=dict(
        # norm-of-one: one value
        norm_cfg=dict(_delete_=True, type='GN', num_groups=8),
    ),
    decode_head=dict(num_classes=7),
    auxiliary_head=dict(num_classes=7),
)

train_dataloader = dict(
    dataset=dict(
        # label-range: values 5 and 6 (a.png and 2 more)
        metainfo=dict(
            classes=(
                'class number 0',
                'class number 1',
                'class number 2',
                'class number 3',
                'class number 4',
                'class number 5',
                'class number 6',
                'class number 7',
                'class number 8',
            ),
        ),
    ),
    # norm-of-one: one left
    drop_last=True,
)
"""
    )
    expected = read(street.config)
    expected['model']['decode_head']['num_classes'] = 7
    expected['model']['auxiliary_head']['num_classes'] = 7
    expected['model']['backbone']['norm_cfg'] = norm
    expected['train_dataloader']['dataset']['metainfo'] = {'classes': names}
    expected['train_dataloader']['drop_last'] = True
    assert read(path) == expected
    assert result.passes
    assert list(result.lines()) == [
        f'{path} mends head-classes (1), norm-of-one (2), label-range (3)',
        f'{path} has no error',
    ]


def test_lists_are_whole_and_named_as_in_the_base(street, suggest, tmp_path):
    expected = read(street.config)
    pipeline = expected['val_dataloader']['dataset']['pipeline']
    swapped = [pipeline[i] for i in (0, 2, 1, 3)]
    path = tmp_path / 'mended.py'

    suggest(
        path,
        ORDER.found(
            'as it is',
            change={
                f'{name}_dataloader.dataset.pipeline': swapped
                for name in ('val', 'test')
            },
        ),
        ORDER.found('flips', change={f'{TRAIN}.pipeline.4.prob': 0.25}),
    )

    assert (
        path.read_text()
        == f"""{MARK}
_base_ = ['street/config.py']

# pipeline-order: flips
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(96, 72),
        ratio_range=(1.0, 1.5),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.25),
    dict(type='PackSegInputs'),
]

# pipeline-order: as it is
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(96, 72), keep_ratio=True),
    dict(type='PackSegInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

val_dataloader = dict(dataset=dict(pipeline=test_pipeline))

test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""
    )
    expected['train_pipeline'][4]['prob'] = 0.25
    expected[f'{TRAIN}'.split('.')[0]]['dataset']['pipeline'] = expected[
        'train_pipeline'
    ]
    expected['test_pipeline'] = swapped
    for name in ('val', 'test'):
        expected[f'{name}_dataloader']['dataset']['pipeline'] = swapped
    assert read(path) == expected


def test_options_that_were_given_are_written(street, suggest, tmp_path):
    path = tmp_path / 'mended.py'
    suggest(
        path,
        HEADS.found('found', change={'model.decode_head.num_classes': 3}),
        cfg_options={'train_cfg.max_iters': 9, 'batch_size': 4},
    )
    expected = read(street.config)
    expected['train_cfg']['max_iters'] = 9
    expected['train_dataloader']['batch_size'] = 4
    expected['model']['decode_head']['num_classes'] = 3
    assert read(path) == expected
    assert (
        '# as cfg_options gave it\ntrain_cfg = dict(max_iters=9)'
        in path.read_text()
    )


def test_changes_of_one_list_are_joined_in_rounds(street, checks, tmp_path):
    """Each check knows what is there, and not what another will change."""

    @check(ORDER)
    def order(case):
        pipeline = case.cfg.train_dataloader.dataset.pipeline
        if pipeline[1].type != 'LoadAnnotations':
            moved = [pipeline[0], pipeline[2], pipeline[1], *pipeline[3:]]
            yield ORDER.found('late', change={f'{TRAIN}.pipeline': moved})

    @check(RANGE)
    def ratio(case):
        pipeline = list(case.cfg.train_dataloader.dataset.pipeline)
        if pipeline[3].cat_max_ratio < 1:
            pipeline[3] = {**pipeline[3], 'cat_max_ratio': 1.0}
            yield RANGE.found('high', change={f'{TRAIN}.pipeline': pipeline})

    checks += [order, ratio]
    street.change(
        "    dict(type='LoadAnnotations'),\n    dict(type='RandomResize',"
        ' scale=(96, 72), ratio_range=(1.0, 1.5),\n         keep_ratio=True),',
        "    dict(type='Resize', scale=(96, 72)),\n"
        "    dict(type='LoadAnnotations'),",
    )
    path = tmp_path / 'mended.py'
    result = write_suggestion(street.examine(), path, {})

    pipeline = read(path)['train_dataloader']['dataset']['pipeline']
    assert [step['type'] for step in pipeline[:4]] == [
        *('LoadImageFromFile', 'LoadAnnotations', 'Resize', 'RandomCrop')
    ]
    assert pipeline[3]['cat_max_ratio'] == 1.0
    assert [finding.code for finding in result.mended] == [
        'pipeline-order',
        'label-range',
    ]
    assert result.passes


def test_a_note_does_no_harm(street, checks, tmp_path):
    """The worst is mended first, and what brings errors is left out."""

    @check(HEADS, NORM)
    def harmful(case):
        model = case.cfg.model
        if model.decode_head.num_classes == 5:
            change = {'model.decode_head.num_classes': 4}
            yield HEADS.found('not 5', change=change)
            change = {'model.backbone.depth': 101}
            yield HEADS.found('of it', change=change, level=Level.WARNING)
        if model.backbone.depth == 18:
            change = {'model.backbone.depth': 50}
            yield NORM.found('small', change=change, level=Level.NOTE)
        if model.backbone.depth == 50:
            yield NORM.found('too large')

    checks.append(harmful)
    path = tmp_path / 'mended.py'
    result = write_suggestion(street.examine(), path, {})

    assert result.passes
    assert [finding.text for finding in result.mended] == ['not 5']
    expected = read(street.config)
    expected['model']['decode_head']['num_classes'] = 4
    assert read(path) == expected


def test_what_stays_is_told(street, checks, tmp_path):
    """A change that does not help ends, and so do two that take turns."""

    @check(HEADS, NORM)
    def stubborn(case):
        depth = case.cfg.model.backbone.depth
        other = {18: 34, 34: 18}[depth]
        change = {'model.backbone.depth': other}
        yield HEADS.found(f'not {depth}', change=change)
        yield NORM.found('a file is missing', file='/data/a.png')

    checks.append(stubborn)
    path = tmp_path / 'mended.py'
    result = write_suggestion(street.examine(), path, {})

    assert read(path)['model']['backbone']['depth'] == 34
    assert not result.passes
    assert [finding.text for finding in result.left] == [
        'not 34',
        'a file is missing',
    ]
    assert list(result.lines()) == [
        f'{path} mends head-classes (1)',
        'left to be mended by hand: head-classes (1), norm-of-one (1)',
        f'{path} still has errors',
    ]


def test_nothing_is_written_where_nothing_can_be_mended(suggest, tmp_path):
    path = tmp_path / 'mended.py'
    result = suggest(
        path,
        HEADS.found('a file is missing', file='/data/a.png'),
        HEADS.found('same', change={'model.decode_head.num_classes': 5}),
    )
    assert list(result.lines()) == [
        'no config can mend what was found: nothing is written'
    ]
    assert os.listdir(tmp_path) == ['street']


def test_classes_of_this_package_are_imported(street, suggest, tmp_path):
    module = street.root / 'own_module.py'
    module.write_text('')
    street.change(
        '# MMSeg', "custom_imports = dict(imports='own_module')\n# MMSeg"
    )
    pipeline = read(street.config)['train_pipeline']
    pipeline[4] = {'type': 'FastPhotoMetricDistortion'}
    path = tmp_path / 'mended.py'
    change = {f'{TRAIN}.pipeline': pipeline}

    suggest(path, ORDER.found('slow', change=change))

    assert path.read_text().startswith(f"""{MARK}
_base_ = ['street/config.py']

# for classes of mmseg_ext
custom_imports = dict(
    imports=['own_module', 'mmseg_ext'],
    allow_failed_imports=False,
)

# pipeline-order: slow
train_pipeline = [
""")


def test_files_that_the_doctor_did_not_write_stay(street, suggest, tmp_path):
    finding = HEADS.found('x', change={'model.decode_head.num_classes': 3})
    other = tmp_path / 'other.py'
    other.write_text('x = 1\n')
    child = tmp_path / 'child.py'
    base = tmp_path / 'base.py'
    shutil.copy(street.config, base)
    base.write_text(f'{MARK}\n{base.read_text()}')
    child.write_text("_base_ = ['base.py']\n")
    link = tmp_path / 'link.py'
    link.symlink_to(street.config)
    before = {path: path.read_text() for path in (other, child, base)}
    cfg = Config.fromfile(child)
    for path, message in (
        (other, 'is there, and the doctor did not write it'),
        (child, 'or inherited by it'),
        (base, 'or inherited by it'),
        (tmp_path / 'a.json', r'expected a name that ends in \.py'),
        (tmp_path, r'expected a name that ends in \.py'),
        (other / 'a.py', 'no file can be made below it'),
    ):
        with pytest.raises(ValueError, match=rf'^suggest=.*{message}'):
            check_suggest(path, cfg)
    with pytest.raises(ValueError, match='or inherited by it'):
        suggest(link, finding)
    assert before == {path: path.read_text() for path in before}


def test_what_the_doctor_wrote_is_written_anew(suggest, tmp_path):
    path = tmp_path / 'mended.py'
    key = 'model.decode_head.num_classes'
    suggest(path, HEADS.found('x', change={key: 3}))
    first = path.read_bytes()
    suggest(path, HEADS.found('x', change={key: 4}))
    assert b'num_classes=4' in path.read_bytes()
    suggest(path, HEADS.found('x', change={key: 3}))
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ('folder', 'name'),
    [
        (
            Path(mmseg.__file__).parent / '.mim' / 'configs',
            'mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        ),
        (
            configs_folder(),
            'mmseg_ext::demo/fpn_lite0_1xb4-400_sample-192x256.py',
        ),
    ],
    ids=['mmseg', 'mmseg_ext'],
)
def test_configs_of_packages_have_names(folder, name, tmp_path):
    base = base_of(folder / name.partition('::')[2], tmp_path / 'child.py')
    assert base.head == f'_base_ = [{name!r}]\n'
    wanted = base.cfg.to_dict()
    wanted['train_cfg']['max_iters'] = 7
    (tmp_path / 'child.py').write_text(child_text(base, wanted, {}))
    cfg = Config.fromfile(tmp_path / 'child.py')
    assert cfg.train_cfg.max_iters == 7
    assert cfg.model.type == wanted['model']['type']


LAZY = """\
from mmengine.config import read_base
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs

with read_base():
    from .{} import *

train_pipeline = [
    dict(type=LoadImageFromFile), dict(type=LoadAnnotations),
    dict(type=PackSegInputs)]
train_dataloader.update(dataset=dict(pipeline=train_pipeline))
"""


def test_new_style(street, checks, tmp_path):
    """Types are classes there, and bases are imported."""
    (street.root / 'given.py').write_text(
        'from mmengine.config import read_base\n' + street.config.read_text()
    )
    street.config.write_text(LAZY.format('given'))
    diagnosis = street.examine()
    pipeline = diagnosis.case.cfg.train_dataloader.dataset.pipeline
    flip = {'type': 'FastPhotoMetricDistortion'}
    changes = [
        {f'{TRAIN}.pipeline': [*pipeline[:2], flip, pipeline[2]]},
        {'model.backbone.norm_cfg': {'type': 'GN', 'num_groups': 8}},
    ]
    findings = [ORDER.found('as found', change=each) for each in changes]
    path = tmp_path / 'new-folder' / 'mended.py'
    result = write_suggestion(
        diagnosis._replace(findings=findings), path, {'work_dir': 'here'}
    )

    assert result.passes
    cfg = Config.fromfile(path)
    assert cfg.model.backbone.norm_cfg == {'type': 'GN', 'num_groups': 8}
    assert cfg.model.backbone.depth == 18
    assert cfg.work_dir == 'here'
    types = [
        step['type'].rpartition('.')[2]
        for step in cfg.train_dataloader.dataset.pipeline
    ]
    assert types == [
        *('LoadImageFromFile', 'LoadAnnotations'),
        *('FastPhotoMetricDistortion', 'PackSegInputs'),
    ]
    assert 'from ..street.config import *' in path.read_text()


def test_new_style_in_a_place_that_is_no_module(street, tmp_path):
    given = street.root / 'my-config.py'
    given.write_text(LAZY.format('config'))
    street.config.write_text(
        'from mmengine.config import read_base\n' + street.config.read_text()
    )
    with pytest.raises(ValueError, match=r'my-config\.py .*no name of a mod'):
        check_suggest(tmp_path / 'mended.py', Config.fromfile(given))


def test_values_of_code_are_named(street, suggest, tmp_path):
    """They are inherited, unless the list that they are in is written."""
    street.change('# MMSeg', 'own = [object(), 1]\n# MMSeg')
    path = tmp_path / 'mended.py'
    change = {'model.decode_head.num_classes': 3}
    suggest(path, HEADS.found('x', change=change))
    assert 'own' not in path.read_text()
    with pytest.raises(ValueError, match=r'^own cannot be .* object at'):
        suggest(path, HEADS.found('x', change={'own.1': 2}))


def test_a_key_that_cannot_be_set_is_named(suggest, tmp_path):
    finding = HEADS.found('x', change={f'{TRAIN}.pipeline.9.prob': 1.0})
    with pytest.raises(ValueError, match=r'^head-classes changes .*\.9\.prob'):
        suggest(tmp_path / 'mended.py', finding)


CLASSES = "('sky', 'building', 'plant', 'road', 'thing')"
RESIZE = "    dict(type='Resize', scale=(96, 72), keep_ratio=True),\n"
LOAD = "    dict(type='LoadAnnotations'),\n"
LOSS = "loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False)"


def rewrite_labels(street, function):
    """Write all label maps anew, as a function makes them."""
    for split in ('train', 'val'):
        for path in street.files(f'{split}_labels'):
            label = function(street.label(path))
            cv2.imwrite(str(path), label.astype(np.uint8))


def plant_wrong_numbers(street):
    """Heads of Cityscapes, channels and steps in another order."""
    street.change('num_classes = 5', 'num_classes = 19')
    street.change(
        'mean = [123.675, 116.28, 103.53]', 'mean = [103.53, 116.28, 123.675]'
    )
    street.change(RESIZE + LOAD, LOAD + RESIZE.replace('96, 72', '64, 48'))
    weights = "loss_decode=dict(type='BalancedLoss', class_weight=[1.0, 2.0])"
    street.change(
        LOSS, weights.replace('BalancedLoss', 'BalancedCrossEntropy')
    )
    return {
        'head-classes',
        'class-weight-length',
        'channels-swapped',
        'pipeline-order',
    }


def plant_white_masks(street):
    """Masks of 0 and 255, and a head of one output without a threshold."""
    rewrite_labels(street, lambda label: (label == 3) * 255)
    street.change(CLASSES, "('other', 'road')")
    street.change('num_classes = 5', 'num_classes = 2')
    street.change(
        LOSS,
        'out_channels=1, threshold=1.5, loss_decode='
        "dict(type='CrossEntropyLoss', use_sigmoid=True)",
    )
    street.change(RESIZE + LOAD, LOAD + RESIZE.replace('96, 72', '64, 48'))
    return {'labels-black-white', 'binary-head', 'pipeline-order'}


def plant_labels_from_one(street):
    """Classes from 1, and batch norm of a last batch of one image."""
    rewrite_labels(street, lambda label: np.where(label < 9, label + 1, 255))
    street.change("type='InfiniteSampler'", "type='DefaultSampler'")
    street.change('batch_size=2', 'batch_size=5')
    street.change(POOLED[0], POOLED[1])
    return {'labels-one-based', 'batch-norm-of-one'}


POOLED = (
    "type='FCNHead', in_channels=64, channels=8, in_index=3, num_convs=1,\n"
    '        concat_input=False,',
    "type='PSPHead', in_channels=64, channels=8, in_index=3,",
)


@pytest.mark.parametrize(
    'plant', [plant_wrong_numbers, plant_white_masks, plant_labels_from_one]
)
def test_what_is_mended_trains(street, plant, tmp_path):
    codes = plant(street)
    path = tmp_path / 'mended.py'

    result = write_suggestion(street.examine(), path, {})

    assert [(each.code, each.text) for each in result.left] == []
    assert codes <= {finding.code for finding in result.mended}
    cfg = load_config(str(path), str(tmp_path / 'run'))
    cfg.experiment_name = f'test_suggest_{plant.__name__}'
    runner = Runner.from_cfg(cfg)
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    scores = runner.message_hub.get_scalar('val/mIoU').data[0]
    assert len(scores) == 1
