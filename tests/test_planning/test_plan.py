"""Choices against those of the recipes, and against sums by hand."""

import dataclasses

import pytest
from mmengine.config import Config
from msgspec.structs import replace

from mmseg_ext.launch.configs import find_config, scope_of
from mmseg_ext.planning.fingerprint import ClassFacts, Fingerprint
from mmseg_ext.planning.machine import Machine
from mmseg_ext.planning.plan import (
    MODELS,
    TOO_MUCH,
    Choice,
    fit,
    make_plan,
)

GB = 2**30
CPU = Machine('cpu', 8 * GB, 2)
GPU = Machine('cuda', 24 * GB, 16)

#: The real CamVid, by the 41 images that its recipe trains with.
STREETS = Fingerprint(
    task='semantic',
    format='color-masks',
    images={'train': 41, 'val': 17},
    sizes={'480x360': 58},
    width=480,
    height=360,
    largest=(480, 360),
    gray=0,
    mean=(110.1, 108.2, 105.0),
    deviation=(78.3, 79.5, 78.7),
    ignored=0.035,
    classes=[
        ClassFacts('Road', 41, 2188281, 0.32),
        ClassFacts('Pole', 41, 70518, 0.0103),
        ClassFacts('Bicyclist', 20, 20348, 0.003),
        ClassFacts('Tram', 0, 0, 0.0),
    ],
    imbalance=107.5,
)

#: The real nails.
NAILS = replace(
    STREETS,
    task='instance',
    format='index-masks',
    images={'train': 21, 'val': 5},
    width=512,
    height=584,
    largest=(1079, 607),
    classes=[ClassFacts('nail', 21, 190000, 1.0, 117)],
    imbalance=1.0,
    object_sides=(16.2, 37.5, 80.6),
    objects_per_image=(5.6, 10),
)

#: Objects that are large, of one class.
PLAIN = replace(
    STREETS,
    classes=[
        ClassFacts('sky', 41, 4_000_000, 0.6),
        ClassFacts('sea', 41, 3_000_000, 0.4),
    ],
    imbalance=4 / 3,
)


def test_the_recipe_of_camvid():
    """Where there is one by hand, the plan is the same."""
    plan = make_plan(STREETS, CPU)
    recipe = Config.fromfile(
        find_config('fpn_lite0_1xb2-1500_camvid11-360x480')
    )
    assert plan.base.value == 'mmseg_ext::own_data/semantic.py'
    assert plan.scale.value == recipe.scale
    # The multiples of 32 that are nearest to 360x480.
    assert plan.crop_size.value == (352, 480)
    assert plan.batch_size.value == recipe.train_dataloader.batch_size
    assert plan.max_iters.value == recipe.max_iters
    assert plan.val_interval.value == 300
    (weighing, _) = recipe.model.decode_head.loss_decode
    assert plan.class_weight.value == weighing.class_weight
    assert plan.mean_std.value is None
    assert plan.num_workers.value == recipe.train_dataloader.num_workers
    assert not plan.amp.value
    assert plan.batch_norm.value
    assert plan.accumulate.value == 1


def test_the_recipe_of_nails():
    plan = make_plan(NAILS, CPU)
    recipe = Config.fromfile(
        find_config('mask-rcnn_lite0_fpn_1xb2-800_nail-320')
    )
    assert plan.base.value == 'mmseg_ext::own_data/instance.py'
    # A small nail has 16 pixels: as large as a CPU bears, 584 * 640 / 584.
    assert plan.scale.value == (561, 640)
    # 320x320 pixels in the shape of 561x640 are 300x342.
    assert plan.crop_size.value == (352, 288)
    assert plan.max_iters.value == recipe.max_iters
    assert plan.class_weight.value is None


def test_reasons_have_the_numbers():
    plan = make_plan(STREETS, CPU)
    assert plan.scale.reason == (
        'median image 480x360, enlarged 1.5 times: Bicyclist has 1017 pixels '
        'an image'
    )
    assert plan.max_iters.reason == '41 images, each 73.2 times'
    assert plan.class_weight.reason == (
        'the commonest class is 108 times the rarest'
    )
    for field in dataclasses.fields(plan)[1:]:
        reason = getattr(plan, field.name).reason
        # There is nothing to do for batch norm, and all sizes are equal.
        assert reason or field.name in ('batch_norm', 'scale_factor')
        assert '\n' not in reason
        assert len(reason) < 100


@pytest.mark.parametrize(
    ('size', 'machine', 'scale', 'crop'),
    [
        # Large things in images that fit stay as they are.
        pytest.param((480, 360), CPU, (480, 360), (352, 480), id='kept'),
        pytest.param((1440, 720), CPU, (720, 360), (288, 576), id='shrunk'),
        pytest.param((720, 1440), CPU, (360, 720), (576, 288), id='upright'),
        pytest.param((1440, 720), GPU, (1440, 720), (512, 1024), id='gpu'),
        pytest.param((8192, 4096), GPU, (2048, 1024), (512, 1024), id='huge'),
        pytest.param((200, 100), CPU, (200, 100), (96, 192), id='small'),
        # The coarsest map of 32x32 pixels has one.
        pytest.param((32, 32), CPU, (64, 64), (64, 64), id='tiny'),
        # No more than the long side allows: 60 * 720 / 3000 are 14.4.
        pytest.param((3000, 60), CPU, (720, 14), (32, 704), id='strip'),
    ],
)
def test_sizes(size, machine, scale, crop):
    width, height = size
    plan = make_plan(replace(PLAIN, width=width, height=height), machine)
    assert plan.scale.value == scale
    assert plan.crop_size.value == crop


def test_images_are_enlarged_only_where_they_are_said_to_be():
    strips = make_plan(replace(PLAIN, width=3000, height=60), CPU)
    assert strips.scale.reason == (
        'median image 3000x60, its long side within 720'
    )
    tiny = make_plan(replace(PLAIN, width=32, height=32), CPU)
    assert tiny.scale.reason.endswith('enlarged 2 times, as it is tiny')


def test_images_of_several_sizes_keep_theirs():
    several = replace(
        PLAIN,
        width=480,
        height=360,
        sizes={'480x360': 5, '1280x720': 1},
        largest=(1280, 720),
    )
    plan = make_plan(several, CPU)
    assert plan.scale_factor == Choice(
        1.0,
        'of each image, as sizes differ; median image 480x360, its long side '
        'within 720',
    )
    # By the crop of the median image, which is named once.
    assert plan.crop_size.value == (352, 480)
    titles = [line.split('  ')[0] for line in plan.lines()]
    assert titles.count('image size') == 1
    # All are shrunk alike.
    large = replace(several, width=1440, height=720, largest=(2880, 1440))
    plan = make_plan(large, CPU)
    assert plan.scale_factor.value == 0.5
    assert plan.scale.value == (720, 360)
    # One would be 1441 pixels long, more than twice the limit.
    longer = replace(large, largest=(2882, 1440))
    plan = make_plan(longer, CPU)
    assert plan.scale_factor == Choice(None, '')
    assert (
        plan.scale.reason == 'median image 1440x720, its long side within 720'
    )
    # Boxes have anchors, whose sizes are given.
    nails = replace(NAILS, sizes={'584x512': 2, '194x259': 1})
    assert make_plan(nails, CPU).scale_factor.value is None


def with_class(pixels, images=41, width=1280, height=720):
    rare = ClassFacts('wire', images, pixels * images, 0.001)
    return replace(
        PLAIN, width=width, height=height, classes=[*PLAIN.classes, rare]
    )


@pytest.mark.parametrize(
    ('data', 'scale'),
    [
        # Squares of 60 pixels are 34 at 720: wanted 64, within 1080.
        pytest.param(with_class(3600), (1080, 608), id='less shrunk'),
        # Those of 80 get 64 by 0.8.
        pytest.param(with_class(6400), (1024, 576), id='as needed'),
        pytest.param(with_class(200**2), (720, 405), id='large enough'),
        # Two of 41 images do not decide for all.
        pytest.param(with_class(400, 2), (720, 405), id='hardly anywhere'),
        # 1.25 of 51.2 are 64.
        pytest.param(
            with_class(51.2**2, width=400, height=400), (500, 500), id='1.25'
        ),
        pytest.param(
            with_class(100, width=640, height=640), (720, 720), id='the limit'
        ),
    ],
)
def test_small_classes_want_larger_images(data, scale):
    assert make_plan(data, CPU).scale.value == scale


def test_small_objects_want_larger_images():
    data = replace(NAILS, width=1000, height=500)
    large = replace(data, object_sides=(64.0, 100.0, 200.0))
    # 64 at 640 of 1000 are 41: large enough for the smallest anchors.
    assert make_plan(large, CPU).scale.value == (640, 320)
    # 40 get 32 by 0.8.
    small = replace(data, object_sides=(40.0, 100.0, 200.0))
    assert make_plan(small, CPU).scale.value == (800, 400)
    assert 'below 40x40 pixels' in make_plan(small, CPU).scale.reason
    smaller = replace(data, object_sides=(0.0, 100.0, 200.0))
    assert make_plan(smaller, CPU).scale.value == (960, 480)


@pytest.mark.parametrize('machine', [CPU, GPU], ids=['cpu', 'gpu'])
@pytest.mark.parametrize(
    'data', [STREETS, NAILS], ids=['semantic', 'instance']
)
@pytest.mark.parametrize('size', [(1, 1), (31, 4000), (97, 65), (5000, 3000)])
def test_crops_are_within_images(data, machine, size):
    width, height = size
    plan = make_plan(replace(data, width=width, height=height), machine)
    for side, whole in zip(
        plan.crop_size.value, plan.scale.value[::-1], strict=True
    ):
        assert side % 32 == 0
        assert 32 <= side <= max(32, whole)


@pytest.mark.parametrize(
    ('images', 'machine', 'iters', 'end'),
    [
        (1, CPU, 400, ', the least'),
        (11, CPU, 450, '1 images, each 81.8 times'),  # 401.5, rounded up
        (367, CPU, 1500, '367 images, each 8.17 times, the most for a CPU'),
        (41, GPU, 1000, ', the least'),
        (1000, GPU, 9150, '1000 images, each 73.2 times'),  # 9125
        (100_000, GPU, 80_000, ', the most for a GPU'),
    ],
)
def test_iterations(images, machine, iters, end):
    plan = make_plan(replace(STREETS, images={'train': images}), machine)
    assert plan.max_iters.value == iters
    assert plan.max_iters.reason.endswith(end)
    assert plan.val_interval.value == iters // 5


@pytest.mark.parametrize(
    ('imbalance', 'rule'), [(20.0, None), (20.5, 'sqrt_median_frequency')]
)
def test_weights_of_classes(imbalance, rule):
    plan = make_plan(replace(STREETS, imbalance=imbalance), CPU)
    assert plan.class_weight.value == rule
    instances = make_plan(replace(NAILS, imbalance=imbalance), CPU)
    assert instances.class_weight.value is None


@pytest.mark.parametrize(
    ('mean', 'deviation', 'value', 'reason'),
    [
        # Red is 57.0 of 58.395 from 123.675.
        ((66.7, 116, 103), (58, 57, 57), None, 'means are 0.98 deviations'),
        (
            (60.0, 116.0, 103.0),
            (58.0, 57.0, 57.0),
            ((60.0, 116.0, 103.0), (58.0, 57.0, 57.0)),
            'means are 1.1 deviations from those of ImageNet',
        ),
        # Fog: the least is 20 of 57.375.
        (
            (120.0, 116.0, 103.0),
            (25.0, 25.0, 20.0),
            ((120.0, 116.0, 103.0), (25.0, 25.0, 20.0)),
            'deviations are 0.35 times those of ImageNet',
        ),
        # All are of one color: nothing to divide by.
        (
            (0.0, 0.0, 0.0),
            (0.0, 0.0, 0.0),
            ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
            'means are 2.1 deviations from those of ImageNet',
        ),
    ],
)
def test_colors(mean, deviation, value, reason):
    data = replace(STREETS, mean=mean, deviation=deviation)
    choice = make_plan(data, CPU).mean_std
    assert choice.value == value
    assert reason in choice.reason


@pytest.mark.parametrize(
    'data', [STREETS, NAILS], ids=['semantic', 'instance']
)
def test_models(data):
    def chosen(machine, model=None):
        return make_plan(data, machine, model).base

    fast, accurate = (MODELS[w, data.task] for w in ('fast', 'accurate'))
    assert chosen(CPU).value == fast
    assert 'ImageNet that pip installs' in chosen(CPU).reason
    assert chosen(GPU).value == accurate
    assert 'downloads' in chosen(GPU).reason
    assert chosen(GPU._replace(memory=5 * GB)).value == fast
    assert chosen(CPU, 'accurate').value == accurate
    assert chosen(GPU, 'fast').value == fast
    assert chosen(GPU, 'my/own.py').value == 'my/own.py'
    assert make_plan(data, GPU).amp.value
    assert make_plan(data, GPU).batch_size.value == 8
    assert make_plan(data, GPU).num_workers.value == 8
    assert make_plan(data, GPU._replace(cores=3)).num_workers.value == 3


def test_all_models_are_there():
    for (_, task), name in MODELS.items():
        cfg = Config.fromfile(
            find_config(name.removeprefix('mmseg_ext::')),
            import_custom_modules=False,
        )
        expected = {'semantic': 'mmseg', 'instance': 'mmdet'}[task]
        assert scope_of(cfg) == expected, name


def test_what_the_accurate_detector_starts_from():
    """As the recipe for nails has it, but for its threshold."""
    ours = Config.fromfile(find_config('instance_r50'))
    recipe = Config.fromfile(
        find_config('mask-rcnn_r50-caffe_fpn_1xb8-amp-500_nail-512')
    )
    assert ours.load_from == recipe.load_from
    ours.model.test_cfg.rcnn.nms.iou_threshold = 0.3
    # Defaults, as upstream writes them.
    ours.model.backbone.update(num_stages=4, out_indices=(0, 1, 2, 3))
    for part in (ours.model.neck, ours.model.roi_head.mask_head):
        assert part.pop('norm_cfg') is None
    assert ours.model.to_dict() == recipe.model.to_dict()


def measured(per_image, fixed=GB):
    """Return a measure, and the batch sizes that it was asked for."""
    asked = []

    def measure(batch):
        asked.append(batch)
        return fixed + batch * per_image

    return measure, asked


def test_all_images_fit():
    plan = make_plan(STREETS, GPU)
    measure, asked = measured(GB)
    found = fit(plan, measure, 9 * GB)
    assert asked == [8]
    assert found.batch_size == (8, 'a step takes 9.0 of 9.0 GB')
    assert dataclasses.replace(found, batch_size=plan.batch_size) == plan


@pytest.mark.parametrize(
    ('memory', 'batch', 'times'), [(8, 4, 2), (4, 2, 4), (2, 1, 8)]
)
def test_what_does_not_fit_is_accumulated(memory, batch, times):
    plan = make_plan(STREETS, GPU)
    measure, asked = measured(GB)
    found = fit(plan, measure, memory * GB)
    assert found.batch_size.value == batch
    assert found.accumulate.value == times
    assert asked == [8, 4, 2, 1][: asked.index(batch) + 1]
    # Each image is seen as often as before, and validated as often.
    assert found.max_iters.value == times * plan.max_iters.value
    assert found.val_interval.value == times * plan.val_interval.value
    assert found.batch_norm.value == (batch > 1)
    assert found.accumulate.reason == f'{batch} of 8 images fit the memory'


def test_other_batches_than_powers_of_two():
    plan = make_plan(STREETS, GPU)
    plan = dataclasses.replace(
        plan, batch_size=plan.batch_size._replace(value=5)
    )
    found = fit(plan, measured(GB)[0], 4 * GB)
    assert (found.batch_size.value, found.accumulate.value) == (2, 3)


def test_not_even_one_image_fits():
    plan = make_plan(STREETS, GPU)
    match = (
        r'segformer_mit-b2.* one crop of 512x704 takes 2\.00 GB, and 1\.50 GB '
        r'are there: .* --memory, or take a light net with --model fast$'
    )
    with pytest.raises(ValueError, match=match):
        fit(plan, measured(GB)[0], int(1.5 * GB))
    light = make_plan(STREETS, CPU)
    with pytest.raises(ValueError, match=r'takes more, and .* --memory$'):
        fit(light, lambda batch: TOO_MUCH, GB)


def test_lines():
    lines = list(make_plan(STREETS, CPU, 'a.py').lines())
    assert len(lines) == 11
    assert lines[0] == 'model            a.py     as --model says'
    assert lines[3] == (
        'batch size       2        as the recipes for a CPU have it'
    )
    assert lines[7].startswith('class weights    sqrt_median_frequency  the c')
    assert lines[8].startswith('mean and std              those of the weigh')
    foggy = replace(STREETS, mean=(12.0, 12.5, 13.0))
    (row,) = (
        line
        for line in make_plan(foggy, CPU).lines()
        if line.startswith('mean and std')
    )
    assert '12/12.5/13, 78.3/79.5/78.7  ' in row
