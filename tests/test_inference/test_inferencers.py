import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.models import MaskRCNN
from mmengine.registry import DefaultScope, init_default_scope
from mmseg.apis import MMSegInferencer
from mmseg.registry import MODELS
from PIL import Image

from helpers.configs import read_config
from mmseg_ext.inference import inferencers
from mmseg_ext.launch.configs import find_config
from mmseg_ext.models.lean_inference import LeanInference

SEGMENTOR = 'fpn_r18_1xb4-600_nuimages-sample-256x448'
DETECTOR = 'mask-rcnn_r18_fpn_1xb2-2k_nail-320'
BOTH = [
    (MMSegInferencer, SEGMENTOR, LeanInference, 'mmseg'),
    (DetInferencer, DETECTOR, MaskRCNN, 'mmdet'),
]


@pytest.fixture
def lines(monkeypatch):
    """What is said, with the pictures that were there at the time."""
    said = []

    def note(line, *args):
        said.append((line, list(Path.cwd().rglob('*.jpg'))))

    monkeypatch.setattr(inferencers, 'print_log', note)
    return said


@pytest.fixture(autouse=True)
def _scope(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    init_default_scope('mmseg')


@pytest.mark.parametrize(
    ('inferencer', 'name', 'model', 'scope'), BOTH, ids=['mmseg', 'mmdet']
)
def test_a_model_is_found_by_name_and_said_to_be_random(
    inferencer, name, model, scope, lines
):
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save('x.jpg')
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter('always')
        infer = inferencer(name, scope='mmseg_ext', device='cpu')
    assert isinstance(infer.model, model)
    assert DefaultScope.get_current_instance().scope_name == scope
    infer('x.jpg', out_dir='out')

    ((line, pictures),) = lines
    assert line.startswith(f'{name}: no weights were given, so the model is')
    assert pictures == [Path.cwd() / 'x.jpg']
    assert len(list(Path('out/vis').iterdir())) == 1
    assert not [w for w in warned if 'randomly init' in str(w.message)]


def test_a_config_that_imports_the_package_is_said_to_be_random(lines):
    config = read_config(find_config(SEGMENTOR))
    MMSegInferencer(config, device='cpu')
    assert len(lines) == 1
    lines.clear()
    config.pop('custom_imports')
    with pytest.warns(UserWarning, match='randomly initialized'):
        MMSegInferencer(config, device='cpu')
    assert lines == []


@pytest.mark.parametrize(
    ('inferencer', 'name', 'line'),
    [
        (
            MMSegInferencer,
            DETECTOR,
            f'{DETECTOR} is a detector, expected a segmentor: use '
            'mmdet.apis.DetInferencer',
        ),
        (
            DetInferencer,
            SEGMENTOR,
            f'{SEGMENTOR} is a segmentor, expected a detector: use '
            'mmseg.apis.MMSegInferencer',
        ),
    ],
    ids=['segmentor', 'detector'],
)
def test_the_other_inferencer_is_named(inferencer, name, line):
    with pytest.raises(ValueError, match=f'^{re.escape(line)}$'):
        inferencer(name, scope='mmseg_ext', device='cpu')


@pytest.mark.parametrize(
    ('scope', 'name', 'told'),
    [
        (
            'mmseg',
            SEGMENTOR,
            f'; {SEGMENTOR} is a model of mmseg_ext: give sc',
        ),
        ('mmseg', f'{SEGMENTOR}.py', "mmseg_ext: give scope='mmseg_ext'"),
        ('mmseg_ext', f'{SEGMENTOR}.py', f'; close: {SEGMENTOR}'),
        ('mmseg_ext', SEGMENTOR.replace('r18', 'r8'), f'; close: {SEGMENTOR}'),
        ('mmseg', 'nobody', 'Cannot find model: nobody in mmseg$'),
    ],
)
def test_names_that_are_not_found(scope, name, told):
    with pytest.raises(ValueError, match=told) as caught:
        MMSegInferencer(name, scope=scope, device='cpu')
    assert str(caught.value).startswith('Cannot find model: ')


def test_weights_that_lack_parts_are_told(lines):
    """In one line, and none for whole ones."""
    config = read_config(find_config(SEGMENTOR))
    weights = MODELS.build(config.model).state_dict()
    part = {k: v for k, v in weights.items() if k.startswith('backbone.')}
    for name, state in (('none', {}), ('part', part), ('whole', weights)):
        torch.save(state, f'{name}.pth')
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'dataset_meta or class names')
            MMSegInferencer(config, weights=f'{name}.pth', device='cpu')
    told = [line for line, _ in lines]
    start = f'{SEGMENTOR}: the model is random, in part or as a whole'
    assert [line.startswith(start) for line in told] == [True, True]
    assert 'none.pth holds none of the parameters' in told[0]
    assert re.search(r'part\.pth lacks \d+ of .* random: neck', told[1])
