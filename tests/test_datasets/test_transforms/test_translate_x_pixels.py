import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from mmseg_ext.datasets.transforms.translate_x_pixels import TranslateXPixels

pytestmark = pytest.mark.usefixtures('mmdet_scope')

FILL = (104, 116, 124)


def make_results(width=64, height=8, instances=6):
    """Return an image of noise, with boxes, masks of noise and a label map."""
    rng = np.random.default_rng(width)
    shape = height, width
    boxes = torch.tensor([[10.0, 1.0, 20.0, 5.0]] * instances)
    masks = rng.integers(0, 2, (instances, *shape), np.uint8)
    return {
        'img': rng.integers(0, 256, (*shape, 3), np.uint8),
        'img_shape': shape,
        'gt_bboxes': HorizontalBoxes(boxes),
        'gt_masks': BitmapMasks(masks, *shape),
        'gt_seg_map': rng.integers(0, 5, shape, np.uint8),
    }


def move(array, offset, fill):
    """Move columns naively."""
    result = np.empty_like(array)
    result[:] = fill
    width = array.shape[1]
    for column in range(width):
        if 0 <= column + offset < width:
            result[:, column + offset] = array[:, column]
    return result


@pytest.mark.parametrize('width', [64, 173, 800, 2048])
@pytest.mark.parametrize(
    ('offset', 'left'), [(0, 0), (1, 0), (49, 1), (63, 0), (125, 1), (125, 0)]
)
def test_moves_everything_by_so_many_pixels(width, offset, left):
    before, results = make_results(width), make_results(width)
    transform = TranslateXPixels(
        offset, reversal_prob=float(left), img_border_value=FILL
    )
    results = transform(results)
    moved = -offset if left else offset
    assert (results['img'] == move(before['img'], moved, FILL)).all()
    for one, other in zip(
        results['gt_masks'].masks, before['gt_masks'].masks, strict=True
    ):
        assert (one == move(other, moved, 0)).all()
    seg_map = move(before['gt_seg_map'], moved, 255)
    assert (results['gt_seg_map'] == seg_map).all()
    left_side, right_side = np.clip((10 + moved, 20 + moved), 0, width)
    expected = torch.tensor([[left_side, 1.0, right_side, 5.0]] * 6)
    assert torch.equal(results['gt_bboxes'].tensor, expected.float())
    assert results['homography_matrix'][0].tolist() == [1, 0, moved]


def test_upstream_cannot_move_by_125():
    upstream = TRANSFORMS.build({'type': 'TranslateX', 'level': 5})
    share = abs(upstream._get_mag())
    assert int(2048 * share) == 204


def test_each_way_and_not_at_all_with_its_probability():
    transform = TRANSFORMS.build(
        {
            'type': 'TranslateXPixels',
            'offset': 5,
            'prob': 0.5,
            'reversal_prob': 0.2,
        }
    )
    np.random.seed(0)
    moves = []
    for _ in range(2000):
        results = transform(
            {'img': np.zeros((2, 16, 3)), 'img_shape': (2, 16)}
        )
        matrix = results.get('homography_matrix', np.eye(3))
        moves.append(int(matrix[0, 2]))
    assert moves.count(0) / 2000 == pytest.approx(0.5, abs=0.04)
    assert moves.count(-5) / 2000 == pytest.approx(0.1, abs=0.03)
    assert moves.count(5) / 2000 == pytest.approx(0.4, abs=0.04)


@pytest.mark.parametrize('offset', [-1, 12.5, '125'])
def test_wrong_offset(offset):
    with pytest.raises(ValueError, match='offset: expected a whole number'):
        TranslateXPixels(offset)


def test_repr_tells_the_offset():
    assert repr(TranslateXPixels(125, prob=0.5)).startswith(
        'TranslateXPixels(offset=125, prob=0.5, '
    )
