"""What pipelines make of a few samples."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmseg_ext.doctor.pipeline_runs import (
    IMAGES,
    ROUNDS,
    right_order,
    run_pipelines,
)

_MIXED = """\
inner = dict(
    **dataset, pipeline=train_pipeline[:2],
    data_prefix=dict(img_path='train', seg_map_path='train_labels'))
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='MultiImageMixDataset', dataset=inner,
        pipeline=[
            dict(type='RandomMosaic', prob=1.0, img_scale=(72, 96)),
            *train_pipeline[2:]]))
"""


def test_runs_of_a_training(street):
    runs = street.examine(splits=['train']).case.splits['train'].runs
    assert len(runs) == IMAGES * ROUNDS
    images = [run.image for run in runs]
    assert len(set(images)) == IMAGES
    assert set(images) < {str(path) for path in street.files('train')}
    for run in runs:
        names = [step.name for step in run.plan]
        assert names == [
            'LoadImageFromFile',
            'LoadAnnotations',
            'RandomResize',
            'RandomCrop',
            'RandomFlip',
            'PackSegInputs',
        ]
        assert [made.step for made in run.made] == list(run.plan)
        sizes = [made.size for made in run.made]
        assert sizes[:2] == [(96, 72)] * 2
        assert 96 <= sizes[2][0] <= 144
        assert sizes[3:] == [(64, 64)] * 3
        assert (run.size, run.label_size) == ((64, 64), (64, 64))
        assert run.original == (96, 72)
        name = run.image.rpartition('/')[2]
        label = street.label(street.root / 'train_labels' / name)
        values, counts = np.unique(label, return_counts=True)
        assert run.loaded == dict(
            zip(values.tolist(), counts.tolist(), strict=True)
        )
        assert sum(run.label.values()) == 64 * 64
        assert set(run.label) <= set(run.loaded)
        assert (run.packed, run.dtype, run.fault) == (True, 'uint8', None)
        assert (run.mixed, run.dropped, run.padding) == (False, False, 0)
    # At random, and the same the next time.
    assert len({run.made[2].digest for run in runs}) > IMAGES
    again = street.examine(splits=['train']).case.splits['train'].runs
    assert again == runs


def test_input_is_that_of_the_model(street):
    case = street.examine(splits=['val']).case
    run = case.splits['val'].runs[0]
    inputs = case.splits['val'].dataset[0]['inputs'].numpy()
    assert run.image == str(street.files('val')[0])
    part = inputs[:, ::4, ::4]
    assert np.allclose(run.mean, part.mean((1, 2)))
    assert np.allclose(run.deviation, part.std((1, 2)))


def test_random_numbers_and_transforms_stay(street):
    split = street.examine(splits=['train']).case.splits['train']
    transforms = list(split.dataset.pipeline.transforms)
    states = [random.getstate(), np.random.get_state()[1].tolist()]
    torch_state = torch.random.get_rng_state()
    run_pipelines(split.dataset, split.parts)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert split.dataset.pipeline.transforms == transforms


def test_padding_is_measured(street):
    street.change(
        "    dict(type='RandomFlip', prob=0.5),\n",
        "    dict(type='Pad', size=(128, 64)),\n",
    )
    runs = street.examine(splits=['train']).case.splits['train'].runs
    assert {run.padding for run in runs} == {0.5}
    assert {run.size for run in runs} == {(128, 64)}


def test_mosaics_are_run_as_a_whole(street):
    with street.config.open('a') as file:
        file.write(_MIXED)
    diagnosis = street.examine(splits=['train'])
    runs = diagnosis.case.splits['train'].runs
    assert len(runs) == IMAGES * ROUNDS
    for run in runs:
        assert run.mixed
        assert run.fault is None
        keys = {step.name: step.key for step in run.plan}
        inner = 'train_dataloader.dataset.dataset.pipeline'
        assert keys['LoadAnnotations'] == inner
        assert keys['RandomMosaic'] == 'train_dataloader.dataset.pipeline'
        loads = [m for m in run.made if m.step.kind == 'label']
        # The image, and three beside it.
        assert len(loads) == 4
        assert sum(run.loaded.values()) == 4 * 96 * 72
    assert diagnosis.findings == []


def test_repeated_and_joined_data_sets(street):
    with street.config.open('a') as file:
        file.write(
            'part = train_dataloader["dataset"]\n'
            'train_dataloader["dataset"] = dict(\n'
            "    type='RepeatDataset', times=3, dataset=dict(\n"
            "        type='ConcatDataset', datasets=[part, dict(\n"
            '            part, pipeline=train_pipeline[:2])]))\n'
        )
    runs = street.examine(splits=['train']).case.splits['train'].runs
    assert len(runs) == 2 * IMAGES * ROUNDS
    key = 'train_dataloader.dataset.dataset.datasets'
    packed = {run.key: run.packed for run in runs}
    assert packed == {f'{key}.0': True, f'{key}.1': False}


def test_boxes_before_and_after(shapes):
    shapes.change('scale=(96, 72)', 'scale=(48, 36)')
    coco = shapes.coco('train')
    for annotation in coco['annotations']:
        annotation['iscrowd'] = int(annotation['category_id'] == 2)
    shapes.write_coco('train', coco)
    runs = shapes.examine(splits=['train']).case.splits['train'].runs
    assert len(runs) == IMAGES * ROUNDS
    for run in runs:
        assert run.boxes_before == ((28.0, 28.0),)
        assert run.boxes_after == ((14.0, 14.0),)
        assert run.size == (48, 36)


def test_transforms_that_cannot_be_copied(street):
    split = street.examine(splits=['val']).case.splits['val']

    class Stubborn:
        def __call__(self, results):
            return results

        def __deepcopy__(self, memo):
            raise TypeError

    split.dataset.pipeline.transforms.insert(1, Stubborn())
    runs = run_pipelines(split.dataset, split.parts)
    assert runs[0].plan[1].name == 'Stubborn'
    assert {run.fault for run in runs} == {None}


def test_nothing_without_data_sets():
    part = SimpleNamespace(dataset=None, key='', split='train', samples=())
    assert run_pipelines(None, [part]) == ()
    assert run_pipelines(None, []) == ()


@pytest.mark.parametrize(
    ('kinds', 'evaluated', 'order'),
    [
        ('pack move label image', False, 'image label move pack'),
        ('pack label move image other', True, 'image move other label pack'),
        ('label move pack', False, 'label move pack'),
    ],
)
def test_right_order(kinds, evaluated, order):
    kinds = kinds.split()
    places = right_order(kinds, evaluated)
    assert [kinds[place] for place in places] == order.split()
