"""What training steps take, in processes of their own."""

import json
import os
import textwrap

import cv2
import numpy as np
import pytest

from mmseg_ext.planning import step_memory
from mmseg_ext.planning.machine import Machine
from mmseg_ext.planning.plan import TOO_MUCH
from mmseg_ext.planning.step_memory import StepMemory

MB = 2**20
MACHINE = Machine('cpu', 64 * 2**30, 1)

#: A model that writes what it gets, and ends as a batch size says.
MODULE = """
    import json
    import os
    import signal
    from pathlib import Path

    from mmseg.models import EncoderDecoder
    from mmseg.registry import MODELS

    @MODELS.register_module(force=True)
    class Fragile(EncoderDecoder):
        def loss(self, inputs, data_samples):
            if len(inputs) == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            if len(inputs) == 6:
                os.abort()
            if len(inputs) == 5:
                raise RuntimeError("Allocator: can't allocate memory")
            if len(inputs) == 3:
                raise RuntimeError('three is odd')
            labels = [each.gt_sem_seg.data for each in data_samples]
            row = dict(
                inputs=list(inputs.shape),
                labels=[list(each.shape) for each in labels],
                classes=[each.unique().tolist() for each in labels],
                training=[
                    part.training
                    for part in self.modules()
                    if 'BatchNorm' in type(part).__name__
                ],
                states=str(self.decode_head.conv_seg.weight.sum().item()),
            )
            with Path(__file__).with_name('seen.jsonl').open('a') as file:
                file.write(json.dumps(row) + '\\n')
            return super().loss(inputs, data_samples)
"""

#: Its weights are nowhere, and a hook that is not there would weigh classes.
CONFIG = """
    _base_ = 'mmseg_ext::own_data/semantic.py'
    custom_imports = dict(imports=['mmseg_ext', '{module}'])
    classes = ('a', 'b', 'c')
    model = dict(
        type='Fragile',
        backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='no.pth')),
        decode_head=dict(num_classes=3),
    )
    optim_wrapper = dict(accumulative_counts=4)
    train_pipeline = _base_.train_pipeline
    train_pipeline[3].crop_size = (96, 160)
    data = dict(data_root='{root}', metainfo=dict(classes=classes))
    train_dataloader = dict(
        num_workers={workers},
        persistent_workers=False,
        dataset=dict(**data, pipeline=train_pipeline),
    )
    val_dataloader = dict(num_workers=0, persistent_workers=False)
"""


def write_config(folder, workers=0):
    module = f'fragile_{folder.name}'.replace('-', '_')
    (folder / f'{module}.py').write_text(textwrap.dedent(MODULE))
    text = CONFIG.format(module=module, root=folder, workers=workers)
    path = folder / 'mine.py'
    path.write_text(textwrap.dedent(text))
    return path


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('steps')


@pytest.fixture(scope='module')
def measure(folder):
    with StepMemory(write_config(folder), MACHINE) as found:
        yield found


@pytest.fixture
def other(measure):
    """Return a function that measures by other configs in that process."""

    def start(config, objects=0):
        found = StepMemory(config, MACHINE, objects)
        found._process = measure._process or step_memory._started()
        measure._process = found._process
        return found

    return start


def seen(folder):
    """Return what the last two steps of the model have seen."""
    lines = (folder / 'seen.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines[-2:]]


def test_two_steps_on_images_of_the_crop(measure, folder):
    # PyTorch itself takes more than the maps of a few small images.
    assert 100 * MB < measure(2) < 2000 * MB
    first, second = seen(folder)
    assert first['inputs'] == [2, 3, 96, 160]
    assert first['labels'] == [[1, 96, 160]] * 2
    assert first['classes'] == [[0, 1, 2]] * 2
    assert any(first['training'])
    # Between them the optimizer has stepped, whatever is accumulated.
    assert first['states'] != second['states']


def test_one_image_keeps_the_means_of_batch_norms(measure, folder):
    assert measure(1) > 0
    first, second = seen(folder)
    assert first['inputs'] == [1, 3, 96, 160]
    trains = first['training'] + second['training']
    assert trains
    assert not any(trains)


def test_bytes_grow_with_the_batch(measure):
    many, few = measure(12), measure(2)
    # What a larger one took is given back.
    assert many - few > 40 * MB


def test_steps_that_do_not_fit(measure):
    assert measure(5) == TOO_MUCH
    process = measure._process
    # Killed by the system, but for the process that serves.
    assert measure(7) == TOO_MUCH
    assert measure._process is process


@pytest.mark.parametrize(
    ('batch', 'reason'),
    [(3, 'RuntimeError: three is odd'), (6, 'ended by SIGABRT')],
)
def test_other_errors_are_named(measure, batch, reason):
    match = f'mine.py: a training step with batch size {batch} cannot be .*'
    with pytest.raises(ValueError, match=match + reason):
        measure(batch)


def test_killed_server_does_not_fit(folder):
    with StepMemory(folder / 'none.py', MACHINE) as measure:
        with pytest.raises(ValueError, match=r'there is no config .*none\.py'):
            measure(1)
        os.kill(measure._process.pid, 9)
        assert measure(1) == TOO_MUCH
        # Another one takes its place, and ends.
        with pytest.raises(ValueError, match=r'there is no config'):
            measure(1)
        process = measure._process
        assert process.poll() is None
    assert process.poll() is not None


def test_processes_that_load_images_count(measure, other, tmp_path):
    for name in ('train', 'train_labels'):
        (tmp_path / name).mkdir()
        cv2.imwrite(
            str(tmp_path / name / 'a.png'), np.zeros((120, 200), np.uint8)
        )
    alone = measure(1)
    measured = other(write_config(tmp_path, workers=3))
    assert measured(1) - alone > 3 * 20 * MB
    (tmp_path / 'train/a.png').write_bytes(b'no image')
    broken = tmp_path / 'broken.py'
    broken.write_text((tmp_path / 'mine.py').read_text())
    with pytest.raises(ValueError, match='cannot be measured: '):
        other(broken)(1)


def test_models_that_cannot_be_built_are_named(other, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        "_base_ = 'mmseg_ext::own_data/semantic.py'\n"
        'model = dict(neck=dict(typo=1))\n'
    )
    match = r"model\.neck \(FPN\) cannot be built: .* argument 'typo'"
    with pytest.raises(ValueError, match=match):
        other(path)(1)


#: A head that writes how many masks it is to tell.
COUNTING = """
    from pathlib import Path

    from mmdet.models import FCNMaskHead
    from mmdet.registry import MODELS

    @MODELS.register_module(force=True)
    class Counting(FCNMaskHead):
        def forward(self, x):
            with Path(__file__).with_name('seen.txt').open('a') as file:
                print(len(x), file=file)
            return super().forward(x)
"""


def test_detectors(other, tmp_path):
    module = f'counting_{tmp_path.name}'.replace('-', '_')
    (tmp_path / f'{module}.py').write_text(textwrap.dedent(COUNTING))
    path = tmp_path / 'mine.py'
    loader = 'dict(num_workers=0, persistent_workers=False)'
    path.write_text(
        "_base_ = 'mmseg_ext::own_data/instance.py'\n"
        f"custom_imports = dict(imports=['mmseg_ext', '{module}'])\n"
        "model = dict(roi_head=dict(mask_head=dict(type='Counting')))\n"
        f'train_dataloader = {loader}\nval_dataloader = {loader}\n'
        'train_pipeline = _base_.train_pipeline\n'
        'train_pipeline[3].crop_size = (128, 96)\n'
        'train_dataloader["dataset"] = dict(pipeline=train_pipeline)\n'
    )
    measure = other(path, objects=3)
    one, three = measure(1), measure(3)
    assert 100 * MB < one < three < TOO_MUCH
    # A quarter of the proposals that the sampler takes, as of a trained net,
    # though there are three objects and this one has learned nothing.
    quarter = 64 // 4
    steps = (tmp_path / 'seen.txt').read_text().split()
    assert [int(step) for step in steps] == [quarter] * 2 + [3 * quarter] * 2
