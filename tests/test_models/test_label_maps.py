import json
import math
from itertools import chain

import pytest
import torch
from mmseg.models.utils import resize
from torch.profiler import ProfilerActivity, profile

from mmseg_ext.models import label_maps
from mmseg_ext.models.label_maps import label_map

LAST = torch.channels_last
NAN, INF = math.nan, math.inf

DEVICES = [
    'cpu',
    pytest.param(
        'cuda',
        marks=pytest.mark.skipif(
            not torch.cuda.is_available(), reason='needs a GPU'
        ),
    ),
]

#: What leads from logits to the image: sizes to resize to, what is cut off at
#: the bottom and at the right, and dimensions to flip. Up to a height + width
#: of 128 PyTorch resizes on the CPU in another way than above.
WAYS = {
    'nothing': [],
    'equal': [(11, 17)],
    'large': [(70, 90)],
    'small': [(60, 68)],
    'one pixel': [(1, 1)],
    'lower, wider': [(5, 140)],
    'two': [(40, 100), (81, 190)],
    'small, large': [(22, 34), (81, 190)],
    'large, small': [(81, 190), (22, 34)],
    'padded': [(40, 100), 'cut', (81, 90)],
    'flipped': [(40, 100), 'cut', 3, (81, 90)],
    'upside down': [(22, 34), 2, (81, 90)],
}


def make_finish(steps, align_corners=False):
    """Return what MMSeg does with logits, as a function."""

    def finish(maps):
        for step in steps:
            if step == 'cut':
                maps = maps[:, :, :-3, :-5]
            elif isinstance(step, int):
                maps = maps.flip(dims=(step,))
            else:
                maps = resize(
                    maps,
                    size=step,
                    mode='bilinear',
                    align_corners=align_corners,
                    warning=False,
                )
        return maps

    return finish


def make_logits(classes, size=(11, 17)):
    """Make logits in which every third class is the same map.

    That map is high: how it is rounded decides which class wins. Where the
    others win, all is as usual.
    """
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(1, classes, *size, generator=generator)
    logits[:, ::3] = logits[:, :1] + 2
    return logits


def check(logits, finish):
    """Compare with the labels of all classes at once, and return them."""
    expected = finish(logits)[0].argmax(0, keepdim=True)
    found = label_map(logits, finish)
    assert torch.equal(found.long(), expected)
    assert found.device == logits.device
    return found


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('align_corners', [False, True])
def test_labels_are_those_of_all_at_once(align_corners, device):
    for classes in (2, 3, 19, 67, 150):
        logits = make_logits(classes).to(device)
        for name, steps in WAYS.items():
            labels = check(logits, make_finish(steps, align_corners))
            assert labels.dtype == torch.uint8
            assert labels.max() >= classes / 2 or name == 'one pixel'


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(
    ('classes', 'dtype'),
    [(255, torch.uint8), (256, torch.int64), (300, torch.int64)],
)
def test_numbers_above_a_byte(classes, dtype, device):
    logits = make_logits(classes).to(device)
    logits[:, -1] += 1
    for name in ('large', 'small, large'):
        labels = check(logits, make_finish(WAYS[name]))
        assert labels.dtype == dtype
        assert labels.max() == classes - 1


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype, device):
    for classes in (2, 3, 19, 68):
        logits = make_logits(classes).to(device, dtype)
        for name in ('nothing', 'large', 'small, large'):
            finish = make_finish(WAYS[name])
            check(logits, finish)
            with torch.autocast(device, dtype=dtype):
                check(logits, finish)
                check(logits.float(), finish)


def last(logits):
    return logits.contiguous(memory_format=LAST)


def of_batch(logits):
    return torch.cat([-logits, logits, -logits])[1:2]


def cut_out(logits, order=torch.contiguous_format):
    large = torch.nn.functional.pad(logits, (1, 2, 3, 4))
    return large.contiguous(memory_format=order)[:, :, 3:-4, 1:-2]


#: Ways in which the same logits may lie in memory.
LAYOUTS = {
    'plain': lambda logits: logits,
    'image of a batch': of_batch,
    'cut out': cut_out,
    'channels last': last,
    'image of a batch, channels last': lambda x: of_batch(last(x)),
    'cut out, channels last': lambda x: cut_out(x, LAST),
    'half of the channels': lambda x: x.repeat_interleave(2, 1)[:, ::2],
    'columns first': lambda x: x.mT.contiguous().mT,
    'one map for all': lambda x: x[:, :1].expand(x.shape),
}


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_each_class_is_rounded_as_among_all(layout, device):
    for classes, size in (
        *((3, (11, 17)), (19, (11, 17)), (67, (11, 17)), (130, (11, 17))),
        *((19, (1, 1)), (19, (1, 9)), (19, (70, 1))),
    ):
        logits = LAYOUTS[layout](make_logits(classes, size).to(device))
        for name in ('nothing', 'small', 'two', 'small, large'):
            finish = make_finish(WAYS[name])
            blocks = []

            def noted(maps, blocks=blocks, finish=finish):
                blocks.append(finish(maps))
                return blocks[-1]

            check(logits, finish)
            label_map(logits, noted)
            while sum(maps.shape[1] for maps in blocks) > classes:
                del blocks[0]  # a look at the sizes on the way
            assert torch.equal(torch.cat(blocks, 1), finish(logits))


def test_the_first_of_equal_classes_wins():
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 19, 70):
        size = (1, classes, 11, 17)
        whole = torch.randint(-1, 2, size, generator=generator).float()
        for name in ('nothing', 'large', 'small, large'):
            finish = make_finish(WAYS[name])
            check(whole, finish)
            check(whole * 0.0, finish)  # 0 and -0
            for value in (0.1, INF, -INF):
                check(torch.full(size, value), finish)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('values', [[NAN], [INF], [-INF], [NAN, INF, -INF]])
def test_nan_and_infinity(values, device):
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 3, 19):
        for places in (slice(1, 2), slice(0, None, 3), slice(None)):
            for share in (0.002, 0.1, 1):
                logits = make_logits(classes)
                part = logits[:, places]
                chosen = torch.rand(part.shape, generator=generator) < share
                which = torch.arange(part.numel()).view(part.shape)
                strange = torch.tensor(values)[which % len(values)]
                logits[:, places] = torch.where(chosen, strange, part)
                for name in ('nothing', 'large', 'small, large'):
                    check(logits.to(device), make_finish(WAYS[name]))


def test_nan_in_the_last_class_alone():
    logits = make_logits(19)
    logits[:, -1] = NAN
    assert (check(logits, make_finish(WAYS['two'])) == 18).all()


def test_overflow_between_two_resizes():
    """Finite logits may give infinity, and that NaN in the next resize."""
    logits = torch.full((1, 5, 3, 3), 6e4, dtype=torch.float16)

    def finish(maps):
        large = make_finish([(90, 60)])(maps * 2 ** (maps.sum() > 0).int())
        return make_finish([(90, 60)])(large)

    logits[:, 3, :, 1:] = -6e4
    assert finish(logits).isnan().any()
    check(logits, finish)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_one_class_is_judged_by_the_threshold(dtype, device):
    logits = make_logits(1).to(device, dtype) - 2
    logits[:, :, 1, 2] = NAN
    for name in ('nothing', 'two', 'small, large', 'flipped'):
        finish = make_finish(WAYS[name])
        for threshold in (0.0, 0.3, 0.5, 1.0):
            found = label_map(logits, finish, threshold)
            expected = finish(logits)[0].sigmoid() > threshold
            assert torch.equal(found, expected.to(torch.uint8))


def test_one_class_needs_a_threshold():
    with pytest.raises(ValueError, match=r'threshold=None: expected a number'):
        label_map(torch.zeros(1, 1, 2, 2), make_finish([]))


def test_a_threshold_is_no_matter_for_more_classes():
    logits = make_logits(5)
    finish = make_finish(WAYS['two'])
    found = label_map(logits, finish, threshold=0.3)
    assert torch.equal(found, label_map(logits, finish))


@pytest.mark.parametrize('size', [(0, 17), (11, 0), (0, 0)])
def test_nothing_left_of_the_image(size):
    finish = lambda maps: maps[:, :, : size[0], : size[1]]  # noqa: E731
    assert check(make_logits(5), finish).shape == (1, *size)


def test_logits_stay_as_they_are():
    """Also where they are the last size, and want gradients."""
    logits = make_logits(7).requires_grad_()
    before = logits.detach().clone()
    labels = check(logits, make_finish([]))
    assert torch.equal(logits, before)
    assert not labels.requires_grad


@pytest.mark.parametrize('classes', [2, 19, 150, 300])
def test_blocks(classes):
    for size in (1, 4, 64):
        blocks = label_maps._blocks(classes, size)
        numbers = [list(range(classes)[block]) for block in blocks]
        assert [*chain(*numbers)] == [*range(classes)]
        assert all(len(part) == size for part in numbers[:-1])
        assert len(numbers[-1]) < 2 * size


# Memory.


def peak_of(call, path):
    """Return the most bytes that the tensors of a call took at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as p:
        call()
    p.export_chrome_trace(str(path))
    events = json.loads(path.read_bytes())['traceEvents']
    taken = [event for event in events if event['name'] == '[memory]']
    peak = now = 0
    for event in sorted(taken, key=lambda event: event['ts']):
        now += event['args']['Bytes']
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize('classes', [19, 150])
def test_memory_is_a_fifth_or_less(classes, tmp_path):
    logits = make_logits(classes)
    finish = make_finish([(64, 128), (128, 256)])
    ours = peak_of(lambda: label_map(logits, finish), tmp_path / 'ours.json')
    all_at_once = peak_of(
        lambda: finish(logits)[0].argmax(0, keepdim=True),
        tmp_path / 'all.json',
    )
    map_bytes = 128 * 256 * 4
    assert all_at_once > classes * map_bytes
    assert ours <= 4 * map_bytes
    assert ours <= all_at_once / 5


def test_memory_of_channels_last_is_that_of_a_block():
    logits = last(make_logits(150))
    most = []

    def finish(maps):
        most.append(maps.shape[1])
        return make_finish(WAYS['two'])(maps)

    label_map(logits, finish)
    assert most == [64, 86]
