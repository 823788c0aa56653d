import re
from pathlib import Path

import mmdet.registry
import mmengine
import mmseg.registry
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config, utils
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.infer import BaseInferencer
from mmengine.registry import DefaultScope, Registry, init_default_scope
from mmengine.utils import get_installed_path
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.registry import MODELS
from PIL import Image

import mmseg_ext
from helpers.configs import read_config
from mmseg_ext.inference.inferencers import NO_WEIGHTS
from mmseg_ext.launch import configs
from mmseg_ext.registry import CHILDREN, SCOPE

ROOT = Path(__file__).parents[1]
NAME = 'bisenetv1_r18-d32_1xb4-1k_camvid11-240x320'


@pytest.fixture(autouse=True)
def _anywhere(tmp_path, monkeypatch):
    """Work in a folder that has nothing to do with the project."""
    monkeypatch.chdir(tmp_path)
    yield
    init_default_scope('mmseg')


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint as the runner writes it: weights and class list."""
    config = find_config(NAME)
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    meta = {
        'dataset_meta': {
            'classes': [f'class {index}' for index in range(11)],
            'palette': [[20 * index, 0, 0] for index in range(11)],
        }
    }
    path = tmp_path / 'model.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


def find_config(name):
    return Config.fromfile(configs.find_config(name))


def config_names():
    return sorted(
        path.stem
        for path in (ROOT / 'configs').rglob('*.py')
        if '_base_' not in path.parts
    )


def names_for(scope):
    """Return the configs of a package's models."""
    return [
        path.stem
        for path in sorted((ROOT / 'configs').rglob('*.py'))
        if '_base_' not in path.parts
        and read_config(path).default_scope == scope
    ]


@pytest.mark.parametrize(
    ('inferencer', 'scope'),
    [(MMSegInferencer, 'mmseg'), (DetInferencer, 'mmdet')],
)
def test_models_are_listed(inferencer, scope):
    expected = set(names_for(scope))
    assert len(expected) > 5
    names = inferencer.list_models('mmseg_ext')
    assert len(names) == len(expected)
    assert set(names) == expected
    matching = inferencer.list_models('mmseg_ext', '.*lite0')
    assert set(matching) == {name for name in expected if 'lite0' in name}


def test_the_base_of_inferencers_lists_all():
    assert sorted(BaseInferencer.list_models('mmseg_ext')) == config_names()


def test_upstream_s_models_are_listed_as_before():
    names = MMSegInferencer.list_models('mmseg', 'fcn_r50-d8_4xb2-40k')
    assert 'fcn_r50-d8_4xb2-40k_cityscapes-512x1024' in names
    assert not set(names) & set(config_names())


def test_metafiles_are_complete():
    index = mmengine.load(ROOT / 'model-index.yml')
    metafiles = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / 'configs').rglob('metafile.yaml')
    }
    assert set(index['Import']) == metafiles
    contents = [mmengine.load(ROOT / metafile) for metafile in metafiles]
    collections = {
        collection['Name']
        for content in contents
        for collection in content.get('Collections', ())
        if (ROOT / collection['README']).is_file()
    }
    models = [model for content in contents for model in content['Models']]
    for model in models:
        path = ROOT / model['Config']
        assert path.stem == model['Name']
        assert model['In Collection'] in collections
        assert model['Weights'] == NO_WEIGHTS
        assert model['Metadata']['Batch Size'] == total_batch_size(path)
        config = read_config(path)
        # COCO's configs leave the number to upstream's.
        assert model['Metadata']['Classes'] == config.get('num_classes', 80)
    assert sorted(model['Name'] for model in models) == config_names()


#: What ``mim search mmseg_ext --dataset`` is given, in names of configs.
SEARCHED = {
    'CamVid': 'camvid',
    'Cityscapes': 'cityscapes',
    'COCO': 'coco',
    'IDD': 'idd',
    'Nails': 'nail',
    'nuImages': 'nuimages',
}


@pytest.mark.parametrize(('dataset', 'in_name'), SEARCHED.items())
def test_mim_finds_the_models_of_a_data_set(dataset, in_name):
    search = pytest.importorskip('mim.commands.search')
    index = search.load(str(ROOT / 'model-index.yml'))
    frame = search.convert2df(index)
    found = search.filter_by_training_datasets(frame, [dataset])
    names = [name for name in config_names() if 'sample' not in name]
    expected = [n for n in names if n.split('_')[-1].startswith(in_name)]
    assert sorted(found.index) == expected
    assert len(expected) > 0


def test_mim_downloads_a_config_that_has_no_weights(tmp_path, capsys):
    mim = pytest.importorskip('mim.commands.download')
    mim.download('mmseg_ext', [NAME], str(tmp_path / 'out'))
    assert f'Successfully dumped {NAME}.py' in capsys.readouterr().out
    downloaded = Config.fromfile(tmp_path / 'out' / f'{NAME}.py')
    assert downloaded.to_dict() == find_config(NAME).to_dict()
    assert len(list((tmp_path / 'out').iterdir())) == 1


def total_batch_size(path):
    """Images of an iteration, for the number of GPUs that a config means."""
    config = read_config(path)
    batch_size = config.train_dataloader.batch_size
    named = re.search(r'_(\d+)xb(\d+)-', path.stem)
    if not named:  # as MMDet's
        return config.auto_scale_lr.base_batch_size
    gpus, in_name = map(int, named.groups())
    assert in_name == batch_size
    return gpus * batch_size


def test_inferencer_finds_a_model_by_name(checkpoint, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / 'x.png')
    inferencer = MMSegInferencer(
        NAME, weights=str(checkpoint), scope='mmseg_ext', device='cpu'
    )
    result = inferencer(
        str(tmp_path / 'x.png'), out_dir=str(tmp_path / 'out')
    )['predictions']

    config = find_config(NAME)
    model = init_model(config, str(checkpoint), device='cpu')
    expected = inference_model(model, str(tmp_path / 'x.png'))
    assert (result == expected.pred_sem_seg.data[0].numpy()).all()
    assert result.shape == (60, 80)
    assert list(tmp_path.glob('out/vis/*'))


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        pytest.param(f'bisenetv1/{NAME}', 'LeanEncoderDecoder', id='mmseg'),
        pytest.param(
            'mask_rcnn/mask-rcnn_lite0_fpn_1xb2-800_nail-320',
            'MaskRCNN',
            id='mmdet',
        ),
    ],
)
def test_config_inherits_from_any_folder(tmp_path, name, kind):
    """What it takes from the base means the same classes there."""
    path = tmp_path / 'own.py'
    path.write_text(
        f"_base_ = 'mmseg_ext::{name}.py'\n"
        'train_pipeline = _base_.train_pipeline\n'
        'train_dataloader = dict(batch_size=7)\n'
    )
    own = Config.fromfile(path)
    assert own.model.type == kind
    assert own.train_dataloader.pop('batch_size') == 7
    expected = read_config(ROOT / 'configs' / f'{name}.py')
    expected.train_dataloader.pop('batch_size')
    assert own.to_dict() == expected.to_dict()
    assert "_scope_='mmseg_ext'" not in own.pretty_text


@pytest.mark.parametrize(
    'name',
    [
        'mmseg::_base_/default_runtime.py',
        'mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py',
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    ],
)
def test_configs_of_others_are_found_without_metafiles(name, monkeypatch):
    scope, _, below = name.partition('::')
    package = Path(get_installed_path(MODULE2PACKAGE[scope]))
    read = []
    monkeypatch.setattr(utils, 'load', read.append)
    found = Config._get_cfg_path(name, '')
    assert found == (str(package / '.mim/configs' / below), scope)
    assert not read


def test_configs_that_others_do_not_have():
    with pytest.raises(FileNotFoundError, match=r'_base_/none\.py'):
        Config._get_cfg_path('mmseg::_base_/none.py', '')


def test_base_that_is_not_there(tmp_path):
    path = tmp_path / 'own.py'
    path.write_text(f"_base_ = 'mmseg_ext::bisenet/{NAME}.py'")
    with pytest.raises(FileNotFoundError, match='there is no config') as e:
        Config.fromfile(path)
    assert f'close: bisenetv1/{NAME}.py' in str(e.value)


def test_installed_package_is_found_by_its_scope():
    path = Path(get_installed_path(MODULE2PACKAGE[SCOPE]))
    assert path.name == 'mmseg_ext'
    assert (path / '__init__.py').is_file()


def test_unknown_name():
    with pytest.raises(ValueError, match='Cannot find model: nothing'):
        MMSegInferencer('nothing', scope='mmseg_ext')


def test_registered_classes_can_be_imported_from_the_root():
    roots = (mmengine.registry.root, mmseg.registry, mmdet.registry)
    registries = {
        id(registry): registry
        for module in roots
        for registry in vars(module).values()
        if isinstance(registry, Registry)
    }
    registered = {
        found
        for registry in registries.values()
        for found in registry.module_dict.values()
        if found.__module__.startswith('mmseg_ext.')
    }
    assert len(registered) > 15
    assert len(set(mmseg_ext.__all__)) == len(mmseg_ext.__all__)
    # For the code of others.
    public = registered | {mmseg_ext.PairedDataset, mmseg_ext.make_lean}
    assert {getattr(mmseg_ext, n) for n in mmseg_ext.__all__} == public
    assert {found.__name__ for found in public} == set(mmseg_ext.__all__)
    assert not hasattr(mmseg_ext, 'NoSuchClass')


def test_children_are_empty_and_fall_back_to_mmseg():
    assert all(len(child) == 0 for child in CHILDREN.values())
    with DefaultScope.overwrite_default_scope('mmseg_ext'):
        metric = CHILDREN['METRICS'].build({'type': 'IoU'})
    assert type(metric).__module__ == 'mmseg_ext.evaluation.metrics.iou'
