"""Detectors of configs, cut down to what a CPU trains in a second."""

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from helpers.configs import read_config

#: Height and width of the images, no multiples of anything.
SIZE = (61, 95)
CHANNELS = 16


def small_detector(path):
    """Build the detector of a config with few channels and few RoIs."""
    config = read_config(path)
    model = config.model
    model.backbone.update(
        depth=18, base_channels=8, frozen_stages=-1, init_cfg=None
    )
    model.backbone.norm_cfg.requires_grad = True
    model.data_preprocessor.pad_size_divisor = 1
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=CHANNELS)
    if 'roi_head' in model:
        _make_two_stage_small(model)
    else:
        _make_one_stage_small(model)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(model)


def _make_two_stage_small(model):
    model.rpn_head.update(in_channels=CHANNELS, feat_channels=CHANNELS)
    head = model.roi_head
    for name in ('bbox_roi_extractor', 'mask_roi_extractor'):
        if name in head:
            head[name].out_channels = CHANNELS
    head.bbox_head.update(in_channels=CHANNELS, fc_out_channels=32)
    if 'mask_head' in head:
        head.mask_head.update(in_channels=CHANNELS, conv_out_channels=CHANNELS)
    model.train_cfg.rpn_proposal.max_per_img = 40
    model.train_cfg.rcnn.sampler.num = 32
    model.test_cfg.rpn.max_per_img = 40
    # Untrained, no class gets a higher score.
    model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=10)


def _make_one_stage_small(model):
    model.bbox_head.update(
        in_channels=CHANNELS,
        feat_channels=CHANNELS,
        norm_cfg=None,
        auxiliary_bbox_head={'fc_out_channels': 32},
    )
    model.test_cfg.update(score_thr=0.0, nms_pre=20, max_per_img=10)


def make_batch(images=2, seed=0):
    """Make images as the data preprocessor takes them, two objects each."""
    generator = torch.Generator().manual_seed(seed)
    inputs, samples = [], []
    for _ in range(images):
        image = torch.rand(3, *SIZE, generator=generator) * 255
        inputs.append(image.byte())
        masks = torch.zeros(2, *SIZE, dtype=torch.uint8)
        masks[0, 4:40, 3:40] = 1
        masks[1, 20:60, 45:90] = 1
        sample = DetDataSample(
            metainfo={
                'img_shape': SIZE,
                'ori_shape': SIZE,
                'scale_factor': (1.0, 1.0),
            }
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[3.0, 4, 40, 40], [45, 20, 90, 60]]),
            labels=torch.tensor([5, 70]),
            masks=BitmapMasks(masks.numpy(), *SIZE),
        )
        samples.append(sample)
    return {'inputs': inputs, 'data_samples': samples}


def train_step(model, detector, batch, seed=0):
    """Compute losses and gradients.

    Args:
        model: The detector, or what wraps it.
        detector: The detector.
        batch: What :func:`make_batch` gave.
        seed: Of the RoIs that are sampled.
    """
    data = detector.data_preprocessor(batch, training=True)
    detector.train()
    torch.manual_seed(seed)
    losses = model(**data, mode='loss')
    total, logged = detector.parse_losses(losses)
    total.backward()
    return logged


def predict(detector, batch):
    """Predict boxes in evaluation mode."""
    data = detector.data_preprocessor(batch)
    detector.eval()
    with torch.no_grad():
        return [
            sample.pred_instances
            for sample in detector(**data, mode='predict')
        ]


def gradients(detector):
    """Return all gradients by name; None where there is none."""
    return {name: p.grad for name, p in detector.named_parameters()}


def train_rank(rank, folder, path):
    """Take a step as one of two processes; importable, to be spawned."""
    # Imported to register their classes.
    import mmseg_ext.models.necks
    import mmseg_ext.models.roi_extractors
    import mmseg_ext.models.roi_heads  # noqa: F401

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
    )
    detector = small_detector(path)
    model = MMDistributedDataParallel(detector)
    train_step(model, detector, make_batch(1, seed=rank), seed=rank)
    torch.save(gradients(detector), folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()
