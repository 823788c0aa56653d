"""Runs, tools and interfaces of MMSeg with ``type='LeanEncoderDecoder'``.

Each is compared with the same of ``type='EncoderDecoder'``.
"""

import copy
from types import SimpleNamespace

import cv2
import mmengine
import numpy as np
import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmseg.apis import (
    MMSegInferencer,
    inference_model,
    init_model,
    show_result_pyplot,
)

from helpers.command_lines import error_of
from mmseg_ext.models.lean_inference import LeanInference
from test_tools.tiny_runs import run_tool, write_segmentation

#: The type of a model, and whether it is lean.
TYPES = {'EncoderDecoder': False, 'LeanEncoderDecoder': True}


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """A config of a data set of four images, and weights for its model."""
    root = tmp_path_factory.mktemp('lean')
    path = write_segmentation(root)
    config = Config.fromfile(path)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model)
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.kaiming_normal_(weight)
    known = config.test_dataloader.dataset.metainfo.to_dict()
    saved = {'state_dict': model.state_dict(), 'meta': {'dataset_meta': known}}
    torch.save(saved, root / 'weights.pth')
    return path, str(root / 'weights.pth'), str(root / 'images/seq0/1.png')


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def read(tiny, kind, work_dir):
    config = Config.fromfile(tiny[0])
    config.model.type = kind
    config.load_from = tiny[1]
    config.work_dir = str(work_dir)
    config.experiment_name = f'{work_dir.parent.name}_{kind}'
    return config


def files_of(folder):
    """Return the contents of pictures below a folder, by their names.

    Folders of runs are named after the time.
    """
    return {
        path.relative_to(folder).as_posix().partition('vis')[2]: (
            path.read_bytes()
        )
        for path in sorted(folder.rglob('*.png'))
    }


@pytest.fixture(scope='module')
def runs(tiny, tmp_path_factory):
    """Runs of both types: what they scored, and where they wrote to.

    Each trains, validates with the mean of weights, and tests.
    """
    found = {}
    for kind in TYPES:
        work_dir = tmp_path_factory.mktemp('runs') / kind
        config = read(tiny, kind, work_dir)
        config.val_cfg = {'type': 'ValLoop'}
        config.val_dataloader = copy.deepcopy(config.test_dataloader)
        config.val_dataloader.batch_size = 3
        config.val_evaluator = config.test_evaluator = [
            {'type': 'IoUMetric', 'prefix': 'theirs'},
            {'type': 'IoU', 'prefix': 'ours'},
        ]
        config.default_hooks.visualization.update(draw=True, interval=1)
        config.custom_hooks = [
            {'type': name}
            for name in ('EMAHook', 'SegVisHook', 'FirstBatchHook')
        ] + [{'type': 'RunPicturesHook', 'draw': False}]
        with DefaultScope.overwrite_default_scope('mmseg'):
            runner = Runner.from_cfg(config)
            runner.train()
            tested = runner.test()
        scalars = {
            key: value.current()
            for key, value in runner.message_hub.log_scalars.items()
            if 'time' not in key
        }
        found[kind] = SimpleNamespace(
            runner=runner, scalars=scalars, tested=tested, work_dir=work_dir
        )
    assert isinstance(found['LeanEncoderDecoder'].runner.model, LeanInference)
    return found


def test_losses_and_scores_of_a_run(runs):
    plain, lean = runs.values()
    assert lean.scalars == plain.scalars
    assert lean.tested == plain.tested
    assert 0 < plain.tested['theirs/mIoU'] < 100
    assert plain.tested['ours/mIoU'] == pytest.approx(
        plain.tested['theirs/mIoU'], abs=0.01
    )
    assert 'train/decode.loss_ce' in plain.scalars


def test_pictures_of_hooks(runs):
    plain, lean = (files_of(run.work_dir) for run in runs.values())
    assert lean == plain
    names = ' '.join(plain)
    for part in ('val_iter_000002', 'test', 'prediction.png', 'vis_image'):
        assert part in names
    matrices = [
        mmengine.load(next(run.work_dir.rglob('confusion.json')))
        for run in runs.values()
    ]
    assert matrices[0]['matrix'] == matrices[1]['matrix']


def test_weights_of_a_run_are_those_of_either(runs):
    plain, lean = (run.runner.model.state_dict() for run in runs.values())
    assert list(plain) == list(lean)
    assert all(torch.equal(plain[key], lean[key]) for key in plain)


# Test-time augmentation


def test_by_the_tool(tiny, tmp_path, capsys):
    """With pictures and label maps."""
    found = []
    for kind in TYPES:
        folder = tmp_path / kind
        scores = run_tool(
            *('test', tiny[0], tiny[1], '--work-dir', folder / 'work'),
            *('--tta', '--out', folder / 'out', '--eval', 'mIoU', 'mDice'),
            *('--show-dir', folder / 'pictures'),
            *('--cfg-options', f'model.type={kind}'),
        )
        maps = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob('*.png')
        }
        found.append((scores, maps))
    assert found[0] == found[1]
    # Four label maps, and pictures of two names.
    assert len(found[0][1]) == 6
    assert 'LeanEncoderDecoder' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        (
            'model.window_bach=2',
            'model (LeanEncoderDecoder) cannot be built: ValueError: '
            "'window_bach' is no option of LeanEncoderDecoder, nor of "
            'segmentor=EncoderDecoder, the class that it builds; close: '
            'window_batch; for an option of another class, name that as '
            'segmentor',
        ),
        (
            'model.segmentor=CascadeEncodeDecoder',
            "model.segmentor: there is no 'CascadeEncodeDecoder' in the "
            'registry mmseg::model; close: CascadeEncoderDecoder, '
            'EncoderDecoder, LeanEncoderDecoder; a class of your own needs '
            'custom_imports',
        ),
    ],
)
def test_the_tool_says_in_a_line_what_is_wrong(
    tiny, tmp_path, capsys, option, said
):
    argv = (
        *('test', tiny[0], tiny[1], '--work-dir', tmp_path, '--cfg-options'),
        *('model.type=LeanEncoderDecoder', option),
    )
    assert error_of(capsys, run_tool, *argv) == said


def as_mim(config):
    """Do what ``mim test mmseg --tta`` does to a config."""
    config.test_dataloader.dataset.pipeline = config.tta_pipeline
    config.tta_model.module = config.model
    config.model = config.tta_model


def test_by_a_config(tiny, tmp_path):
    expected = augmented(tiny, 'EncoderDecoder', tmp_path)
    found = augmented(tiny, 'LeanEncoderDecoder', tmp_path)
    assert torch.equal(found, expected)
    assert len(expected.unique()) > 1


def augmented(tiny, kind, work_dir):
    """Return the labels of the first image over its views."""
    config = read(tiny, kind, work_dir)
    as_mim(config)
    model = MODELS.build(config.model).eval()
    model.module.load_state_dict(torch.load(tiny[1])['state_dict'])
    data = Runner.build_dataloader(config.test_dataloader)
    with torch.no_grad():
        [sample] = model.test_step(next(iter(data)))
    return sample.pred_sem_seg.data


# Interfaces


def test_inferencer(tiny, tmp_path):
    found = []
    for kind in TYPES:
        config = read(tiny, kind, tmp_path)
        config.test_pipeline = config.pipeline
        infer = MMSegInferencer(config, weights=tiny[1], device='cpu')
        assert isinstance(infer.model, LeanInference) == TYPES[kind]
        sample = infer(tiny[2], return_datasamples=True, show=False)
        out = tmp_path / kind
        result = infer(
            tiny[2],
            return_vis=True,
            show=False,
            out_dir=str(out),
            img_out_dir='vis',
            pred_out_dir='pred',
        )
        files = {
            path.relative_to(out).as_posix(): path.read_bytes()
            for path in out.rglob('*.*')
        }
        found.append((sample.pred_sem_seg.data, result, files))
    (labels, theirs, files), (others, ours, written) = found
    assert torch.equal(labels, others.long())
    np.testing.assert_array_equal(theirs['predictions'], ours['predictions'])
    np.testing.assert_array_equal(
        theirs['visualization'], ours['visualization']
    )
    assert files == written
    assert len(files) == 2


def test_functions_for_one_image(tiny, tmp_path):
    pictures = []
    for kind in TYPES:
        config = read(tiny, kind, tmp_path)
        config.test_pipeline = config.pipeline
        model = init_model(config, tiny[1], device='cpu')
        result = inference_model(model, tiny[2])
        assert ('seg_logits' in result) == (not TYPES[kind])
        path = tmp_path / f'{kind}.png'
        show_result_pyplot(
            model, tiny[2], result, show=False, out_file=str(path)
        )
        pictures.append((result.pred_sem_seg.data, cv2.imread(str(path))))
    (labels, picture), (others, drawn) = pictures
    assert torch.equal(labels, others.long())
    np.testing.assert_array_equal(picture, drawn)


def test_complexity(tiny, tmp_path):
    counts = []
    for kind in TYPES:
        model = MODELS.build(read(tiny, kind, tmp_path).model).eval()
        found = get_model_complexity_info(
            model, (3, 64, 64), show_table=False, show_arch=False
        )
        counts.append((found['flops'], found['params']))
    assert counts[0] == counts[1]
    assert counts[0][0] > 0


# Models within others


@pytest.fixture
def process_group():
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def data_of(config):
    return next(iter(Runner.build_dataloader(config.test_dataloader)))


def test_distributed(tiny, tmp_path, process_group):
    config = read(tiny, 'LeanEncoderDecoder', tmp_path)
    model = MODELS.build(config.model).eval()
    wrapped = MMDistributedDataParallel(model)
    with torch.no_grad():
        [expected] = model.test_step(data_of(config))
        for step in (wrapped.test_step, wrapped.val_step):
            [sample] = step(data_of(config))
            assert sample.pred_sem_seg.data.dtype == torch.uint8
            assert torch.equal(
                sample.pred_sem_seg.data, expected.pred_sem_seg.data
            )
