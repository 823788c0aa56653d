import numpy as np
import pytest
import torch
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets import FastPackSegInputs

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (13, 17, 3), np.uint8)
IMAGES = {
    'BGR': IMAGE,
    'flipped': IMAGE[:, ::-1],
    'crop': IMAGE[2:9, 3:11],
    'gray': IMAGE[..., 0],
    'one channel': IMAGE[..., :1],
    'four channels': RNG.integers(0, 256, (13, 17, 4), np.uint8),
    'seven channels': RNG.integers(0, 256, (13, 17, 7), np.uint8),
    'float32': IMAGE.astype(np.float32) / 3,
    'uint16': IMAGE.astype(np.int32) * 200,
}


@pytest.mark.parametrize('kind', [*IMAGES, 'no image'])
def test_same_as_upstream(kind):
    label = RNG.integers(0, 256, (13, 17), np.uint8)
    results = {'gt_seg_map': label[:, ::-1], 'img_path': 'a', 'flip': True}
    if kind in IMAGES:
        results['img'] = IMAGES[kind]
    before = dict(results)
    ours, theirs = (
        cls()(dict(results)) for cls in (FastPackSegInputs, PackSegInputs)
    )
    assert ours.keys() == theirs.keys()
    if kind in IMAGES:
        assert ours['inputs'].dtype == theirs['inputs'].dtype
        assert ours['inputs'].is_contiguous()
        torch.testing.assert_close(
            ours['inputs'], theirs['inputs'], rtol=0, atol=0
        )
    samples = ours['data_samples'], theirs['data_samples']
    labels = [sample.gt_sem_seg.data for sample in samples]
    assert labels[0].dtype == labels[1].dtype
    assert torch.equal(*labels)
    assert samples[0].metainfo == samples[1].metainfo
    assert all(results[key] is before[key] for key in before)


def test_built_by_name():
    pack = TRANSFORMS.build(
        {'type': 'FastPackSegInputs', 'meta_keys': ('img_path',)}
    )
    packed = pack({'img': IMAGE, 'img_path': 'a', 'flip': True})
    assert packed['data_samples'].metainfo == {'img_path': 'a'}
