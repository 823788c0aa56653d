"""MMCV's compiled ops on the CPU: the build that the install makes is right.

Where a Python wrapper of MMCV does its work, the op is called through it.
"""

import importlib
import itertools
import operator
import re
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv import ops
from mmcv.ops.psa_mask import psa_mask
from torch.nn import functional

from references import mmcv_ops as reference

REFERENCES = Path(__file__).parent / 'references'
#: The ops that have a kernel for the CPU.
ON_CPU = {
    *(
        f'{op}_{direction}'
        for op in (
            'active_rotated_filter',
            'bezier_align',
            'modulated_deform_conv',
            'psamask',
            'roi_align',
            'roi_align_rotated',
            'rotated_feature_align',
        )
        for direction in ('forward', 'backward')
    ),
    'bbox_overlaps',
    'box_iou_quadri',
    'box_iou_rotated',
    'contour_expand',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'dynamic_voxelize_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'hard_voxelize_forward',
    'nms',
    'nms_match',
    'nms_quadri',
    'nms_rotated',
    'pixel_group',
    'points_in_boxes_cpu_forward',
    'softnms',
}
#: Arguments of the others, a letter each: see ``argument``.
WITHOUT_CPU = dict(
    line.split()
    for line in (REFERENCES / 'mmcv_ops_without_cpu.txt')
    .read_text()
    .splitlines()
)

FLOATS = pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float64], ids=['float32', 'float64']
)
TOLERANCES = {
    torch.float32: {'rtol': 1e-4, 'atol': 1e-4},
    torch.float64: {'rtol': 1e-9, 'atol': 1e-9},
}


def names():
    return {name for name in dir(extension()) if not name.startswith('__')}


def extension():
    return importlib.import_module('mmcv._ext')


def uniform(shape, low=-1.0, high=1.0, seed=0):
    """Numbers of float32 as float64; this generator's stream is frozen."""
    numbers = np.random.RandomState(seed).uniform(low, high, shape)
    return torch.from_numpy(numbers.astype(np.float32)).double()


def assert_close(actual, expected, dtype):
    torch.testing.assert_close(actual.double(), expected, **TOLERANCES[dtype])


def assert_same(op, expected, leaves, dtype):
    """Check values and gradients of a function of tensors on another."""
    results = []
    for function, kind in ((op, dtype), (expected, torch.float64)):
        inputs = [leaf.to(kind, copy=True).requires_grad_() for leaf in leaves]
        values = function(*inputs)
        weights = uniform(tuple(values.shape), seed=9).to(kind)
        gradients = torch.autograd.grad((values * weights).sum(), inputs)
        results.append([values, *gradients])
    for actual, wanted in zip(*results, strict=True):
        assert_close(actual, wanted, dtype)


# The names.


def expected_names():
    """Names in the extension of a plain build of what is installed."""
    (name,) = set(metadata.packages_distributions()['mmcv'])
    name = name.lower().replace('_', '-')
    version = metadata.version(name).partition('+')[0]
    path = REFERENCES / 'mmcv_ext_names' / f'{name}-{version}.txt'
    if not path.exists():
        pytest.fail(
            f'{path} is missing: write the names that '
            f'mmcv/ops/csrc/pytorch/pybind.cpp of {name} {version} defines, '
            'one a line'
        )
    return path.read_text().split()


def test_names_are_those_of_a_plain_build():
    assert sorted(names()) == expected_names()


def test_every_name_is_callable():
    assert [n for n in names() if not callable(getattr(extension(), n))] == []


def test_every_op_is_one_with_or_without_a_kernel_for_the_cpu():
    assert names() - ON_CPU - {*WITHOUT_CPU} == set()
    assert ON_CPU - names() == set()


def argument(letter):
    return {
        'T': torch.zeros(1, 1, 1, 1, 1),
        'i': 1,
        'f': 1.0,
        'b': False,
        'l': [1, 1],
        's': 'max',
    }[letter]


def test_ops_without_a_kernel_for_the_cpu_say_so():
    silent = {}
    for name in sorted(names() & {*WITHOUT_CPU}):
        try:
            getattr(extension(), name)(*map(argument, WITHOUT_CPU[name]))
            silent[name] = 'no error'
        except RuntimeError as error:
            if not re.search(
                'device cpu not found|on CPU|must be a CUDA tensor', str(error)
            ):
                silent[name] = str(error)
    assert silent == {}


def test_versions_of_compilers():
    assert re.fullmatch(r'(GCC|clang|MSVC) [\d.]+', ops.get_compiler_version())
    assert re.fullmatch(
        r'not available|[\d.]+', ops.get_compiling_cuda_version()
    )


# What samples maps: ops of several files share names, not borders.

ROWS, COLUMNS = 4, 5
#: Rows begin with 1, 11, 21, 31.
RAMP = (1 + 10 * torch.arange(ROWS)[:, None] + torch.arange(COLUMNS)).double()
#: (y, x), what a border that is held gives there, what one that fades.
SAMPLES = [
    (-1.25, 1, 0, 0),
    (-1, 1, 2, 0),
    (-0.75, 1, 2, 0.5),
    (0, 1, 2, 2),
    (0.25, 1, 4.5, 4.5),
    (3, 1, 32, 32),
    (3.5, 1, 32, 16),
    (4, 1, 32, 0),
    (4.25, 1, 0, 0),
    (1, -1.25, 0, 0),
    (1, -1, 11, 0),
    (1, -0.75, 11, 2.75),
    (1, 4.5, 15, 7.5),
    (1, 5, 15, 0),
    (1, 5.25, 0, 0),
    (-0.5, -0.5, 1, 0.25),
    (3.5, 4.5, 35, 8.75),
    (-0.5, 4.75, 5, 0.625),
    (1.5, 2.25, 18.25, 18.25),
]


def roi_align_at(maps, y, x):
    roi = maps.new_tensor([[0, x, y, x + 1, y + 1]])
    return ops.roi_align(maps, roi, 1, 1.0, 1, 'avg', True)


def roi_align_max_at(maps, y, x):
    roi = maps.new_tensor([[0, x - 0.5, y - 0.5, x + 0.5, y + 0.5]])
    return ops.roi_align(maps, roi, 1, 1.0, 1, 'max', False)


def roi_align_rotated_at(maps, y, x):
    roi = maps.new_tensor([[0, x + 0.5, y + 0.5, 1, 1, 0]])
    return ops.roi_align_rotated(maps, roi, 1, 1.0, 1, True, False)


def bezier_align_at(maps, y, x):
    upper = [x, y, x, y, x + 1, y, x + 1, y]
    lower = [x + 1, y + 1, x + 1, y + 1, x, y + 1, x, y + 1]
    roi = maps.new_tensor([[0, *upper, *lower]])
    return ops.bezier_align(maps, roi, 1, 1.0, 1, False)


def rotated_feature_align_at(maps, y, x):
    boxes = maps.new_tensor([y, x, 1, 1, 0]).expand(1, ROWS, COLUMNS, 5)
    added = ops.rotated_feature_align(maps, boxes.contiguous(), 1.0, 1)
    return (added - maps)[..., 0, 0]


def deform_conv2d_at(maps, y, x):
    offset = maps.new_zeros(1, 2, ROWS, COLUMNS)
    offset[0, :, 0, 0] = maps.new_tensor([y, x])
    one = maps.new_ones(1, 1, 1, 1)
    return ops.deform_conv2d(maps, offset, one)[..., 0, 0]


def modulated_deform_conv2d_at(maps, y, x):
    offset = maps.new_zeros(1, 2, ROWS, COLUMNS)
    offset[0, :, 0, 0] = maps.new_tensor([y, x])
    one = maps.new_ones(1, 1, 1, 1)
    mask = one.expand(1, 1, ROWS, COLUMNS)
    out = ops.modulated_deform_conv2d(maps, offset, mask.contiguous(), one)
    return out[..., 0, 0]


@FLOATS
@pytest.mark.parametrize(
    ('op', 'fades'),
    [
        pytest.param(roi_align_at, False, id='roi_align'),
        pytest.param(roi_align_max_at, False, id='roi_align, max'),
        pytest.param(roi_align_rotated_at, False, id='roi_align_rotated'),
        pytest.param(bezier_align_at, False, id='bezier_align'),
        pytest.param(
            rotated_feature_align_at, False, id='rotated_feature_align'
        ),
        pytest.param(deform_conv2d_at, True, id='deform_conv'),
        pytest.param(
            modulated_deform_conv2d_at, True, id='modulated_deform_conv'
        ),
    ],
)
def test_samples_at_borders(op, fades, dtype):
    for y, x, held, fading in SAMPLES:
        expected = fading if fades else held
        maps = RAMP.to(dtype)[None, None].clone().requires_grad_()

        value = op(maps, y, x)
        value.sum().backward()

        assert value.item() == expected, (y, x)
        # A sample is linear in the map. Of maxima at y = -1 MMCV drops the
        # gradient, which is the mark of no maximum.
        if op is not roi_align_max_at or y != -1:
            assert (maps.grad * RAMP).sum() == expected, (y, x)


#: Of two images: in it, over each border, far outside, small, all of it.
BOXES = [
    [0, 4.0, 6.5, 21.0, 27.25],
    [1, -9.0, 3.0, 6.5, 17.0],
    [1, 20.0, -7.5, 41.0, 5.0],
    [0, 25.0, 21.0, 50.0, 44.0],
    [1, 90.0, 90.0, 99.0, 99.0],
    [0, 10.0, 9.0, 11.5, 9.5],
    [1, 0.0, 0.0, 36.0, 28.0],
]


@FLOATS
@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_equals_reference(aligned, ratio, mode, dtype):
    options = (3, 2), 0.25, ratio, mode, aligned
    rois = torch.tensor(BOXES, dtype=torch.float64)
    assert_same(
        lambda maps: ops.roi_align(maps, rois.to(dtype), *options),
        lambda maps: reference.roi_align(maps, rois, *options),
        [uniform((2, 3, 7, 9))],
        dtype,
    )


@FLOATS
def test_roi_align_of_a_box_without_area_is_zero(dtype):
    rois = torch.tensor([[0, 2, 2, 2, 6], [0, 2, 2, 6, 2]], dtype=dtype)
    maps = torch.ones(1, 1, 8, 8, dtype=dtype, requires_grad=True)

    out = ops.roi_align(maps, rois, 2, 1.0, 0, 'avg', True)
    out.sum().backward()

    assert not out.any()
    assert not maps.grad.any()


@FLOATS
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('clockwise', [True, False])
def test_roi_align_rotated_equals_reference(clockwise, aligned, ratio, dtype):
    options = (3, 2), 0.25, ratio, aligned, clockwise
    angles = [0.3, -0.7, 1.9, 2.6, 0.1, -2.2, 0.0]
    rois = torch.tensor(
        [
            [image, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angle]
            for (image, x1, y1, x2, y2), angle in zip(
                BOXES, angles, strict=True
            )
        ],
        dtype=torch.float64,
    )
    assert_same(
        lambda maps: ops.roi_align_rotated(maps, rois.to(dtype), *options),
        lambda maps: reference.roi_align_rotated(maps, rois, *options),
        [uniform((2, 3, 7, 9))],
        dtype,
    )


def test_roi_align_rotated_by_a_quarter_turns_the_bins():
    maps = uniform((1, 2, 6, 6))
    upright = maps.new_tensor([[0, 1, 1, 5, 5]])
    turned = maps.new_tensor([[0, 3, 3, 4, 4, np.pi / 2]])

    expected = ops.roi_align(maps, upright, 4, 1.0, 2, 'avg', True)
    out = ops.roi_align_rotated(maps, turned, 4, 1.0, 2, True, True)

    # Right in the box is down in the image, down in the box is left.
    torch.testing.assert_close(out, expected.transpose(2, 3).flip(2))


@FLOATS
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_bezier_align_equals_reference(aligned, ratio, dtype):
    options = (3, 4), 0.5, ratio, aligned
    upper = [2, 3, 7, -1.5, 12, 6.5, 17, 2]
    lower = [18, 9, 11, 14.5, 8, 8, 1, 11]
    shifted = [number + 7 for number in upper + lower]
    rois = torch.tensor([[0, *upper, *lower], [1, *shifted]]).double()
    assert_same(
        lambda maps: ops.bezier_align(maps, rois.to(dtype), *options),
        lambda maps: reference.bezier_align(maps, rois, *options),
        [uniform((2, 3, 7, 9))],
        dtype,
    )


@FLOATS
@pytest.mark.parametrize('points', [1, 5])
def test_rotated_feature_align_equals_reference(points, dtype, monkeypatch):
    # Its angles are turned in float32, whatever the maps are.
    monkeypatch.setitem(TOLERANCES, torch.float64, {'rtol': 0, 'atol': 1e-5})
    boxes = torch.cat(
        [
            uniform((2, 5, 6, 2), -6, 28, seed=1),
            uniform((2, 5, 6, 2), 0, 16, seed=2),
            uniform((2, 5, 6, 1), -3, 3, seed=3),
        ],
        dim=-1,
    )
    assert_same(
        lambda maps: ops.rotated_feature_align(
            maps, boxes.to(dtype), 0.25, points
        ),
        lambda maps: reference.rotated_feature_align(
            maps, boxes, 0.25, points
        ),
        [uniform((2, 3, 5, 6))],
        dtype,
    )


# Deformable convolution.

CONVOLUTIONS = [
    pytest.param({'kernel': (3, 3), 'padding': (1, 1)}, id='plain'),
    pytest.param(
        {
            'kernel': (3, 2),
            'stride': (2, 1),
            'padding': (0, 2),
            'dilation': (1, 2),
        },
        id='unequal',
    ),
    pytest.param(
        {
            'kernel': (2, 3),
            'padding': (1, 1),
            'groups': 2,
            'offset_groups': 2,
        },
        id='groups',
    ),
    pytest.param({'kernel': (1, 1), 'offset_groups': 4}, id='offset groups'),
]


def convolution(kernel, images=2, reach=1.7, **given):
    """Maps, offsets, weight, mask and bias, and all options."""
    options = {
        'stride': (1, 1),
        'padding': (0, 0),
        'dilation': (1, 1),
        'groups': 1,
        'offset_groups': 1,
    }
    options.update(given)
    maps = uniform((images, 4, 6, 7), seed=1)
    weight = uniform((6, 4 // options['groups'], *kernel), seed=2)
    out = [
        (size + 2 * padding - step * (taps - 1) - 1) // stride + 1
        for size, padding, step, taps, stride in zip(
            maps.shape[2:],
            options['padding'],
            options['dilation'],
            kernel,
            options['stride'],
            strict=True,
        )
    ]
    taps = options['offset_groups'] * kernel[0] * kernel[1]
    offsets = uniform((images, 2 * taps, *out), -reach, reach, seed=3)
    mask = uniform((images, taps, *out), 0, 1, seed=4)
    return maps, offsets, weight, mask, uniform(6, seed=5), options


@FLOATS
@pytest.mark.parametrize('given', CONVOLUTIONS)
def test_deform_conv_equals_reference(given, dtype):
    *leaves, _, _, options = convolution(**given)
    assert_same(
        lambda *inputs: ops.deform_conv2d(*inputs, *options.values()),
        lambda *inputs: reference.deform_conv2d(*inputs, **options),
        leaves,
        dtype,
    )


@FLOATS
@pytest.mark.parametrize('given', CONVOLUTIONS)
@pytest.mark.parametrize('with_bias', [True, False])
def test_modulated_deform_conv_equals_reference(with_bias, given, dtype):
    *leaves, options = convolution(**given)
    leaves = leaves if with_bias else leaves[:-1]

    def op(maps, offsets, weight, mask, bias=None):
        return ops.modulated_deform_conv2d(
            maps, offsets, mask, weight, bias, *options.values()
        )

    assert_same(
        op,
        lambda *inputs: reference.deform_conv2d(*inputs, **options),
        leaves,
        dtype,
    )


@FLOATS
@pytest.mark.parametrize('given', CONVOLUTIONS)
def test_without_offsets_both_are_torchs_convolution(given, dtype):
    maps, offsets, weight, mask, bias, options = convolution(**given)
    plain = [options[k] for k in ('stride', 'padding', 'dilation', 'groups')]
    zeros = torch.zeros_like(offsets).to(dtype)
    ones = torch.ones_like(mask).to(dtype)
    options = options.values()

    assert_same(
        lambda maps, weight: ops.deform_conv2d(maps, zeros, weight, *options),
        lambda maps, weight: functional.conv2d(maps, weight, None, *plain),
        [maps, weight],
        dtype,
    )
    assert_same(
        lambda maps, weight, bias: ops.modulated_deform_conv2d(
            maps, zeros, ones, weight, bias, *options
        ),
        lambda *inputs: functional.conv2d(*inputs, *plain),
        [maps, weight, bias],
        dtype,
    )


@FLOATS
@pytest.mark.parametrize(('down', 'right'), [(1, 0), (0, -1), (-2, 3), (0, 9)])
def test_whole_offsets_shift_the_map(down, right, dtype):
    maps, offsets, weight, mask, *_ = convolution((3, 3), padding=(1, 1))
    shift = torch.tensor([down, right] * 9, dtype=dtype)[:, None, None]
    offsets = shift.expand(offsets.shape).contiguous()
    ones = torch.ones_like(mask).to(dtype)

    def shifted(maps, weight):
        wide = functional.pad(maps, (10, 10, 10, 10))
        height, width = maps.shape[2:]
        # One cell around the map for the padding of the op.
        top, left = 9 + down, 9 + right
        view = wide[:, :, top : top + height + 2, left : left + width + 2]
        return functional.conv2d(view, weight)

    assert_same(
        lambda maps, weight: ops.deform_conv2d(maps, offsets, weight, 1, 1),
        shifted,
        [maps, weight],
        dtype,
    )
    assert_same(
        lambda maps, weight: ops.modulated_deform_conv2d(
            maps, offsets, ones, weight, None, 1, 1
        ),
        shifted,
        [maps, weight],
        dtype,
    )


@pytest.mark.parametrize('step', [1, 2])
def test_deform_conv_takes_images_in_steps(step):
    *leaves, _, _, options = convolution((3, 2), images=4)
    assert_same(
        lambda *inputs: ops.deform_conv2d(
            *inputs, *options.values(), False, step
        ),
        lambda *inputs: reference.deform_conv2d(*inputs, **options),
        leaves,
        torch.float64,
    )


def test_packs_begin_as_convolutions():
    maps = uniform((2, 4, 6, 7)).float()
    plain = ops.DeformConv2dPack(4, 6, 3, padding=1)
    modulated = ops.ModulatedDeformConv2dPack(4, 6, 3, padding=1)
    modulated.bias.data = uniform(6, seed=1).float()

    expected = functional.conv2d(maps, plain.weight, padding=1)
    torch.testing.assert_close(plain(maps), expected)
    # The sigmoid of 0 is a half.
    expected = functional.conv2d(
        maps, modulated.weight / 2, modulated.bias, padding=1
    )
    torch.testing.assert_close(modulated(maps), expected)


# Masks and filters.


@FLOATS
@pytest.mark.parametrize('distribute', [False, True])
@pytest.mark.parametrize(
    'size',
    [
        pytest.param((3, 5), id='smaller than the map'),
        pytest.param((7, 9), id='all that reaches'),
        pytest.param((11, 13), id='larger'),
        pytest.param((4, 2), id='even'),
        pytest.param((1, 1), id='one'),
    ],
)
def test_psa_mask_equals_reference(size, distribute, dtype):
    assert_same(
        lambda masks: psa_mask(masks, int(distribute), size),
        lambda masks: reference.psa_mask(masks, size, distribute),
        [uniform((2, size[0] * size[1], 4, 5))],
        dtype,
    )


@FLOATS
def test_active_rotated_filter_equals_reference(dtype):
    orientations, rotations = 4, 8
    entries = orientations * 3 * 3
    random = np.random.RandomState(0)
    indices = np.stack(
        [random.permutation(entries) + 1 for _ in range(rotations)], axis=-1
    ).reshape(orientations, 3, 3, rotations)
    indices = torch.from_numpy(indices.astype(np.int32))
    assert_same(
        lambda weight: ops.active_rotated_filter(weight, indices),
        lambda weight: reference.active_rotated_filter(weight, indices),
        [uniform((3, 2, orientations, 3, 3))],
        dtype,
    )


# Boxes.


def make_boxes(count, seed=0):
    """Boxes with whole corners, so that overlaps are exact, and scores."""
    random = np.random.RandomState(seed)
    corners = random.randint(0, 20, (count, 2))
    boxes = np.hstack([corners, corners + random.randint(1, 12, (count, 2))])
    scores = random.uniform(0.01, 1, count)
    return torch.tensor(boxes).float(), torch.tensor(scores).float()


def overlaps_of(boxes, offset=0):
    return reference.matrix(
        lambda one, other: reference.overlap_of_boxes(
            one, other, offset=offset
        ),
        boxes.tolist(),
    )


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('offset', [0, 1])
def test_bbox_overlaps_equals_reference(offset, mode):
    boxes, others = make_boxes(9)[0], make_boxes(7, seed=1)[0]
    expected = reference.matrix(
        lambda *pair: reference.overlap_of_boxes(*pair, mode, offset),
        boxes.tolist(),
        others.tolist(),
    )
    expected = torch.tensor(expected)

    out = ops.bbox_overlaps(boxes, others, mode, False, offset)
    aligned = ops.bbox_overlaps(boxes[:7], others, mode, True, offset)

    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(aligned, expected.diagonal())


def test_bbox_overlaps_by_hand():
    boxes = torch.tensor([[0.0, 0, 2, 2], [5, 5, 6, 6]])
    others = torch.tensor([[1.0, 1, 3, 5]])

    out = ops.bbox_overlaps(boxes, others)
    inside = ops.bbox_overlaps(boxes, others, 'iof', offset=1)

    torch.testing.assert_close(out, torch.tensor([[1 / 11], [0]]))
    # 2 x 2 of 3 x 3 pixels.
    torch.testing.assert_close(inside, torch.tensor([[4 / 9], [0]]))
    assert ops.bbox_overlaps(boxes[:0], others).shape == (0, 1)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.5])
def test_nms_equals_reference(threshold, offset):
    boxes, scores = make_boxes(60)
    kept = reference.nms(overlaps_of(boxes, offset), scores, threshold)
    assert 5 < len(kept) < 55

    detections, indices = ops.nms(boxes, scores, threshold, offset)

    assert indices.tolist() == kept
    expected = torch.cat([boxes, scores[:, None]], dim=1)[kept]
    torch.testing.assert_close(detections, expected)


def test_nms_with_limits_and_of_arrays():
    boxes, scores = make_boxes(60)
    kept = reference.nms(overlaps_of(boxes), scores, 0.3)
    kept = [index for index in kept if scores[index] > 0.6][:4]
    assert len(kept) == 4

    _, indices = ops.nms(
        boxes.numpy(), scores.numpy(), 0.3, score_threshold=0.6, max_num=4
    )

    assert isinstance(indices, np.ndarray)
    assert indices.tolist() == kept
    assert len(ops.nms(boxes[:0], scores[:0], 0.3)[1]) == 0


def test_overlaps_of_just_the_threshold():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1]])
    scores = torch.tensor([0.9, 0.8])
    detections = torch.cat([boxes, scores[:, None]], dim=1)

    assert ops.nms(boxes, scores, 0.5)[1].tolist() == [0, 1]
    assert ops.soft_nms(boxes, scores, 0.5, method='naive')[1].tolist() == [0]
    assert [g.tolist() for g in ops.nms_match(detections, 0.5)] == [[0, 1]]


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('min_score', [1e-3, 0.2])
def test_soft_nms_equals_reference(min_score, offset, method):
    boxes, scores = make_boxes(40)
    kept, lowered = reference.soft_nms(
        overlaps_of(boxes, offset),
        scores.tolist(),
        method,
        0.3,
        0.5,
        min_score,
    )

    detections, indices = ops.soft_nms(
        boxes, scores, 0.3, 0.5, min_score, method, offset
    )

    assert indices.tolist() == kept
    torch.testing.assert_close(detections[:, :4], boxes[kept])
    torch.testing.assert_close(
        detections[:, 4], torch.tensor(lowered), rtol=1e-4, atol=1e-6
    )
    if method != 'naive':
        assert (detections[:, 4] < scores[kept]).any()


def test_nms_match_equals_reference():
    boxes, scores = make_boxes(50)
    groups = reference.nms_match(overlaps_of(boxes), scores, 0.3)
    assert 5 < len(groups) < 45

    matched = ops.nms_match(torch.cat([boxes, scores[:, None]], dim=1), 0.3)

    assert [group.tolist() for group in matched] == groups


def nms_by_class(boxes, scores, labels, threshold):
    """What NMS keeps of each class, together, best first."""
    overlaps, kept = overlaps_of(boxes), []
    for label in labels.unique():
        (own,) = torch.where(labels == label)
        of_class = [[overlaps[i][j] for j in own] for i in own]
        kept += own[reference.nms(of_class, scores[own], threshold)].tolist()
    return sorted(kept, key=lambda index: -scores[index])


@pytest.mark.parametrize(
    'split',
    [
        pytest.param({}, id='moved apart'),
        pytest.param({'split_thr': 9}, id='split'),
    ],
)
def test_batched_nms_keeps_classes_apart(split):
    boxes, scores = make_boxes(60)
    labels = torch.arange(60) % 3
    kept = nms_by_class(boxes, scores, labels, 0.3)
    together = reference.nms(overlaps_of(boxes), scores, 0.3)
    assert kept != together

    options = {'type': 'nms', 'iou_threshold': 0.3, **split}
    detections, indices = ops.batched_nms(boxes, scores, labels, options)
    assert indices.tolist() == kept
    expected = torch.cat([boxes, scores[:, None]], dim=1)
    torch.testing.assert_close(detections, expected[kept])

    options['max_num'] = 7
    _, indices = ops.batched_nms(boxes, scores, labels, options)
    assert indices.tolist() == kept[:7]


def test_batched_nms_of_all_classes_at_once_or_none():
    boxes, scores = make_boxes(60)
    labels = torch.arange(60) % 3
    together = reference.nms(overlaps_of(boxes), scores, 0.3)

    _, indices = ops.batched_nms(
        boxes, scores, labels, {'iou_threshold': 0.3}, class_agnostic=True
    )
    assert indices.tolist() == together

    detections, indices = ops.batched_nms(boxes, scores, labels, None)
    assert indices.tolist() == reference.by_score(scores)
    torch.testing.assert_close(detections[:, :4], boxes[indices])


def test_batched_soft_nms_lowers_scores_by_class():
    boxes, scores = make_boxes(40)
    labels = torch.arange(40) % 2
    expected = {}
    for label in (0, 1):
        own = list(range(label, 40, 2))
        kept, lowered = reference.soft_nms(
            overlaps_of(boxes[own]),
            scores[own].tolist(),
            'linear',
            0.3,
            0.5,
            0.05,
        )
        expected.update(
            {own[i]: s for i, s in zip(kept, lowered, strict=True)}
        )

    detections, indices = ops.batched_nms(
        boxes,
        scores,
        labels,
        {'type': 'soft_nms', 'iou_threshold': 0.3, 'min_score': 0.05},
    )

    order = sorted(expected, key=lambda index: -expected[index])
    assert indices.tolist() == order
    torch.testing.assert_close(
        detections[:, 4], torch.tensor([expected[index] for index in order])
    )


# Rotated boxes and quadrilaterals.


def make_rotated(count, seed=0):
    """Rotated boxes, some of which overlap, and scores."""
    random = np.random.RandomState(seed)
    boxes = np.hstack(
        [
            random.uniform(0, 20, (count, 2)),
            random.uniform(2, 12, (count, 2)),
            random.uniform(-4, 4, (count, 1)),
        ]
    )
    scores = random.uniform(0.01, 1, count)
    return torch.tensor(boxes).float(), torch.tensor(scores).float()


def corners_of(boxes, clockwise=True):
    return [reference.corners_of(box, clockwise) for box in boxes.tolist()]


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('clockwise', [True, False])
def test_box_iou_rotated_equals_reference(clockwise, mode):
    boxes, others = make_rotated(12)[0], make_rotated(10, seed=1)[0]
    expected = torch.tensor(
        reference.matrix(
            lambda *pair: reference.overlap_of_polygons(*pair, mode),
            corners_of(boxes, clockwise),
            corners_of(others, clockwise),
        )
    )
    assert (expected > 0).sum() > 30

    out = ops.box_iou_rotated(boxes, others, mode, False, clockwise)
    aligned = ops.box_iou_rotated(boxes[:10], others, mode, True, clockwise)

    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        aligned, expected.diagonal(), rtol=1e-4, atol=1e-5
    )


#: Boxes whose overlap with a square of side 2 around (3, 3) is known.
KNOWN = [
    pytest.param([3, 3, 2, 2, 0], 1, id='itself'),
    # An octagon: the union has four triangles more than each square.
    pytest.param([3, 3, 2, 2, np.pi / 4], 0.5**0.5, id='an eighth turned'),
    pytest.param([4, 3, 2, 2, 0], 1 / 3, id='beside'),
    pytest.param([3, 3, 4, 1, np.pi / 2], 2 / 6, id='across'),
    pytest.param([3, 3, 1, 1, 0.7], 1 / 4, id='inside'),
    pytest.param([6, 3, 2, 2, 0.2], 0, id='apart'),
]


@pytest.mark.parametrize(('box', 'expected'), KNOWN)
def test_known_overlaps_of_rotated_boxes(box, expected):
    square, box = torch.tensor([[3.0, 3, 2, 2, 0]]), torch.tensor([box])
    expected = torch.tensor([[float(expected)]])

    out = ops.box_iou_rotated(square, box.float())

    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@FLOATS
@pytest.mark.parametrize('clockwise', [True, False])
def test_nms_rotated_equals_reference(clockwise, dtype):
    boxes, scores = make_rotated(40)
    overlaps = reference.matrix(
        reference.overlap_of_polygons, corners_of(boxes, clockwise)
    )
    # No overlap lies so near that rounding decides.
    threshold = 0.25
    assert all(
        abs(overlap - threshold) > 1e-4
        for overlap in itertools.chain(*overlaps)
    )
    kept = reference.nms(overlaps, scores, threshold, operator.ge)
    assert 5 < len(kept) < 35

    detections, indices = ops.nms_rotated(
        boxes.to(dtype), scores.to(dtype), threshold, clockwise=clockwise
    )

    assert indices.tolist() == kept
    expected = torch.cat([boxes, scores[:, None]], dim=1)[kept]
    torch.testing.assert_close(detections, expected.to(dtype))


def test_batched_nms_of_rotated_boxes():
    boxes, scores = make_rotated(40)
    labels = torch.arange(40) % 2
    kept = []
    for label in (0, 1):
        own = list(range(label, 40, 2))
        overlaps = reference.matrix(
            reference.overlap_of_polygons, corners_of(boxes[own])
        )
        of_class = reference.nms(overlaps, scores[own], 0.25, operator.ge)
        kept += [own[index] for index in of_class]
    kept.sort(key=lambda index: -scores[index])

    _, indices = ops.batched_nms(
        boxes, scores, labels, {'type': 'nms_rotated', 'iou_threshold': 0.25}
    )

    assert indices.tolist() == kept


def make_quadrilaterals(count, seed=0):
    """Corners of rectangles from any of them and either way round.

    MMCV looks for corners in the other quadrilateral as if it had right
    angles: of others, what it gives is no overlap.
    """
    boxes, scores = make_rotated(count, seed)
    corners = [
        (own[turn % 4 :] + own[: turn % 4])[:: (-1) ** turn]
        for turn, own in enumerate(corners_of(boxes))
    ]
    return corners, torch.tensor(corners).view(count, 8), scores


@pytest.mark.parametrize('mode', ['iou', 'iof'])
def test_box_iou_quadri_equals_reference(mode):
    corners, boxes, _ = make_quadrilaterals(12)
    other_corners, others, _ = make_quadrilaterals(10, seed=1)
    expected = torch.tensor(
        reference.matrix(
            lambda *pair: reference.overlap_of_polygons(*pair, mode),
            corners,
            other_corners,
        )
    )

    out = ops.box_iou_quadri(boxes, others, mode)
    aligned = ops.box_iou_quadri(boxes[:10], others, mode, True)

    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        aligned, expected.diagonal(), rtol=1e-4, atol=1e-5
    )


@FLOATS
def test_nms_quadri_equals_reference(dtype):
    corners, boxes, scores = make_quadrilaterals(40)
    overlaps = reference.matrix(reference.overlap_of_polygons, corners)
    kept = reference.nms(overlaps, scores, 0.25, operator.ge)
    assert 5 < len(kept) < 35

    detections, indices = ops.nms_quadri(
        boxes.to(dtype), scores.to(dtype), 0.25
    )

    assert indices.tolist() == kept
    expected = torch.cat([boxes, scores[:, None]], dim=1)[kept]
    torch.testing.assert_close(detections, expected.to(dtype))


# Pixels of text.


def drawn(*rows):
    """Digits of text as an array, dots as zeros."""
    return np.array([[int(c) for c in row.replace('.', '0')] for row in rows])


def test_contour_expand_by_hand():
    labels = drawn('1....2', '......', '3.44..')
    # The last argument is the number of labels, the background's included.
    kernel = drawn('111111', '1.....', '1.1111')
    kernels = np.stack([kernel, labels > 0]).astype(np.uint8)

    grown = ops.contour_expand(kernels, labels.astype(np.int32), 1, 5)
    large = ops.contour_expand(kernels, labels.astype(np.int32), 2, 5)

    # 1 and 3 are as far from the cell between them; 1 comes first.
    assert grown == drawn('111222', '1.....', '3.4444').tolist()
    assert large == drawn('......', '......', '..4444').tolist()


@pytest.mark.parametrize('min_area', [1, 2])
def test_contour_expand_equals_reference(min_area):
    # With more than two kernels MMCV grows over the largest at once, so that
    # who comes first may be another than the paper's: two are compared.
    random = np.random.RandomState(0)
    kernel = random.uniform(size=(24, 31)) < 0.7
    seeds = kernel & (random.uniform(size=kernel.shape) < 0.06)
    labels = seeds * random.randint(1, 30, kernel.shape)
    kernels = np.stack([kernel, seeds]).astype(np.uint8)
    expected = reference.contour_expand(
        kernels.tolist(), labels.tolist(), min_area
    )

    grown = ops.contour_expand(
        torch.from_numpy(kernels),
        torch.from_numpy(labels.astype(np.int32)),
        min_area,
        30,
    )

    assert grown == expected
    assert np.unique(grown).size > 5


def test_contour_expand_over_three_kernels():
    labels = drawn('.1....', '......', '...2..', '......')
    middle = drawn('111...', '......', '..111.', '......')
    largest = drawn('1111..', '......', '.11111', '..1...')
    kernels = np.stack([largest, middle, labels > 0]).astype(np.uint8)

    grown = ops.contour_expand(kernels, labels.astype(np.int32), 1, 3)

    assert grown == drawn('1111..', '......', '.22222', '..2...').tolist()
    assert grown == reference.contour_expand(
        kernels.tolist(), labels.tolist(), 1
    )


def test_pixel_group_equals_reference():
    random = np.random.RandomState(0)
    shape = 12, 17
    labels = np.zeros(shape, dtype=np.int32)
    labels[2:4, 2:5], labels[8:10, 3:6], labels[5:8, 11:14] = 1, 2, 3
    # Without a contour, 3 does not grow.
    contour = ((labels > 0) & (labels < 3)).astype(np.uint8)
    mask = (random.uniform(size=shape) < 0.9) | (labels > 0)
    scores = random.uniform(size=shape).astype(np.float32)
    embedding = random.uniform(size=(*shape, 4)).astype(np.float32)
    arguments = scores, mask, embedding, labels, contour

    areas = []
    for limit in (0.5, 0.7, 9.0):
        groups = ops.pixel_group(*arguments, 4, limit)
        expected = reference.pixel_group(
            *(array.tolist() for array in arguments), 4, limit
        )
        for group, wanted in zip(groups, expected, strict=True):
            assert group == pytest.approx(wanted, rel=1e-4)
        areas.append([area for _, area, *_ in groups])

    near, middle, far = areas
    assert [near[0], near[3]] == [0, 9]
    assert 12 < sum(near[1:3]) < sum(middle[1:3]) < sum(far[1:3])


# Points in space.

POINTS_RANGE = [0, -4, -2, 8, 4, 2]
VOXEL = [0.5, 1, 2]


def make_points():
    """Points, some of which lie outside and two on the bounds."""
    points = uniform((300, 4), -5, 9).float()
    points[0, :3] = torch.tensor([0.0, -4, -2])
    points[1, :3] = torch.tensor([8.0, 0, 0])
    return points


def test_dynamic_voxelization_equals_reference():
    points = make_points()
    expected = [
        reference.voxel_of(point, VOXEL, POINTS_RANGE) or [-1, -1, -1]
        for point in points.tolist()
    ]

    voxels = ops.voxelization(points, VOXEL, POINTS_RANGE, -1, -1)

    assert voxels.tolist() == expected
    assert voxels[:2].tolist() == [[0, 0, 0], [-1, -1, -1]]


@pytest.mark.parametrize(
    ('max_points', 'max_voxels'),
    [
        pytest.param(35, 1000, id='no limit reached'),
        pytest.param(1, 1000, id='points'),
        pytest.param(35, 20, id='voxels'),
    ],
)
def test_hard_voxelization_equals_reference(max_points, max_voxels):
    points = torch.cat([make_points(), make_points() + 0.125])
    expected = reference.voxels_of(
        points.tolist(), VOXEL, POINTS_RANGE, max_points, max_voxels
    )

    voxels, places, counts = ops.voxelization(
        points, VOXEL, POINTS_RANGE, max_points, max_voxels
    )

    assert [tuple(place) for place in places.tolist()] == list(expected)
    assert counts.tolist() == [len(own) for own in expected.values()]
    for voxel, count, own in zip(
        voxels, counts, expected.values(), strict=True
    ):
        assert voxel[:count].tolist() == own
        assert not voxel[count:].any()


def test_hard_voxelization_on_the_cpu_is_deterministic_only():
    with pytest.raises(RuntimeError, match='device cpu not found'):
        ops.voxelization(make_points(), VOXEL, POINTS_RANGE, 5, 20, False)


def test_points_in_boxes_equals_reference():
    points = uniform((2, 200, 3), -4, 4)
    boxes = torch.cat(
        [
            uniform((2, 6, 3), -3, 1, seed=1),
            uniform((2, 6, 3), 2, 5, seed=2),
            uniform((2, 6, 1), -4, 4, seed=3),
        ],
        dim=-1,
    )
    expected = [
        [[int(reference.in_box_3d(p, b)) for b in own] for p in cloud]
        for cloud, own in zip(points.tolist(), boxes.tolist(), strict=True)
    ]

    inside = ops.points_in_boxes_cpu(points.float(), boxes.float())

    assert inside.tolist() == expected
    assert 100 < inside.sum() < 2000
