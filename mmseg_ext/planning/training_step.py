"""Training steps on random images, in a process that tells what they take.

:class:`mmseg_ext.planning.step_memory.StepMemory` starts it. On a CPU each
batch size has a process of its own, a copy of this one: so PyTorch is imported
once, no batch leaves anything to the next, and where the system kills one for
its memory, the others go on.
"""

import gc
import json
import math
import os
import random
import re
import resource
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_ext.doctor.built_model import build_model, without_weights
from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.launch.configs import load_config, scope_of
from mmseg_ext.launch.errors import entries, one_line, why_not_built

__all__ = ['serve']

#: Steps that are taken: from the second on the optimizer has its state.
_STEPS = 2

#: Images that are loaded to see what that takes.
_LOADED = 8

#: Words of errors for want of memory, of PyTorch, CUDA and NumPy.
_TOO_MUCH = (
    *('out of memory', 'allocate memory', 'unable to allocate'),
    *('bad_alloc', 'alloc_failed'),
)

#: Sides of the boxes of random objects, as shares of the image.
_BOXES = (0.05, 0.5)

#: Overlap from which a proposal counts as an object. That of a trained net
#: fills a step with objects, each of which has a mask, that of a net that has
#: learned nothing does so only where little is asked.
_OVERLAP = 0.01


class _ToldError(ValueError):
    """What a config lacks, in words."""


def serve() -> None:
    """Answer each line of the input with one of the output, both JSON.

    A request has ``config``, a path; ``device``; ``memory``, the bytes that
    there are; ``batch_size`` and ``objects``, those of an image. The answer is
    one of ``bytes``; ``too_much``, true; ``signal``, which ended the step; and
    ``fault``, why it fails.
    """
    answers = os.fdopen(os.dup(1), 'w')
    # What others print is no answer.
    os.dup2(2, 1)
    threads = torch.get_num_threads()
    # Copies of a process with threads of OpenMP would wait for these.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    config = None
    for line in sys.stdin:
        request = json.loads(line)
        if request['config'] != config:
            config, ready = request['config'], _prepared(request)
        answer = ready
        if 'value' in ready:
            cfg, classes, loading = ready['value']
            # CUDA bears no copies, and tells of want of memory by itself.
            call = _answer if request['device'] == 'cuda' else _in_copy
            answer = call(_step, cfg, request, classes, threads)
        if 'value' in answer:
            answer = dict(bytes=answer['value'] + loading)
        print(json.dumps(answer), file=answers, flush=True)


def _prepared(request: dict[str, Any]) -> dict[str, Any]:
    """Return, as an answer, what all batch sizes have in common.

    These are the config, its number of classes, and the bytes that the
    processes take that load images.
    """
    try:
        cfg = load_config(request['config'])
        init_default_scope(scope_of(cfg))
    except ValueError as error:
        return dict(fault=str(error))
    # Anything may come out of what a config imports.
    except FAULTS as error:
        return dict(fault=one_line(error))
    classes = _in_copy(_classes, cfg)
    loading = dict(value=0)
    workers = sum(
        (cfg.get(f'{split}_dataloader') or {}).get('num_workers') or 0
        for split in ('train', 'val')
    )
    # What a GPU has is not theirs.
    if workers and request['device'] != 'cuda':
        loading = _in_copy(_load, cfg)
    for answer in (classes, loading):
        if 'value' not in answer:
            return answer
    return dict(value=(cfg, classes['value'], workers * loading['value']))


def _in_copy(function: Callable[..., int], *args: Any) -> dict[str, Any]:
    """Call a function in a copy of this process, and return the answer."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = _answer(function, *args)
            os.write(theirs, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, 'rb') as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return dict(signal=os.WTERMSIG(status))
    return json.loads(text or b'{"fault": "it ended without a word"}')


def _answer(function: Callable[..., int], *args: Any) -> dict[str, Any]:
    """Return what a function gives, or with what it fails."""
    # When memory gets scarce, it is this process that goes, and no other.
    with suppress(OSError):
        Path('/proc/self/oom_score_adj').write_text('1000')
    try:
        return dict(value=function(*args))
    except _ToldError as error:
        return dict(fault=str(error))
    # Anything may come out of a user's class.
    except FAULTS as error:
        words = str(error).lower()
        if isinstance(error, MemoryError) or any(
            word in words for word in _TOO_MUCH
        ):
            return dict(too_much=True)
        return dict(fault=why_not_built(args[0], error) or one_line(error))


def _step(
    cfg: Config, request: dict[str, Any], classes: int, threads: int
) -> int:
    """Return the bytes that a training step takes, without its images."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device, batch = torch.device(request['device']), request['batch_size']
    if device.type == 'cuda':
        # What the last one left.
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        _, total = torch.cuda.mem_get_info()
        share = min(1.0, request['memory'] / total)
        torch.cuda.set_per_process_memory_fraction(share)
        env = cfg.get('env_cfg') or {}
        torch.backends.cudnn.benchmark = bool(env.get('cudnn_benchmark'))
    model = _model(cfg).to(device).train()
    if batch == 1:
        # The means of one image are none; a plan has other norms then.
        for part in model.modules():
            if isinstance(part, _BatchNorm):
                part.eval()
    wrapper = dict(cfg.optim_wrapper)
    # Else none of the few steps would be one of the optimizer.
    wrapper.pop('accumulative_counts', None)
    optimizer = build_optim_wrapper(model, Config(wrapper)._cfg_dict)
    size, of_labels = _size(cfg), scope_of(cfg) != 'mmdet'
    for _ in range(_STEPS):
        samples = [
            _labels(size, classes)
            if of_labels
            else _instances(size, classes, request['objects'])
            for _ in range(batch)
        ]
        images = [
            torch.randint(256, (3, *size), dtype=torch.uint8) for _ in samples
        ]
        data = dict(inputs=images, data_samples=samples)
        model.train_step(data, optim_wrapper=optimizer)
    if device.type == 'cuda':
        return torch.cuda.max_memory_reserved()
    return _peak()


def _model(cfg: Config) -> Any:
    """Return the model of a config, which loads nothing."""
    plain = without_weights(cfg.model)
    # As the runner has it.
    if cfg.get('data_preprocessor') is not None:
        plain.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = revert_sync_batchnorm(MODELS.build(plain))
    for part in model.modules():
        # Weights that a hook makes of the data.
        if getattr(part, 'class_weight_rule', None) is not None:
            part.class_weight_rule = None
        if hasattr(part, 'bbox_roi_extractor'):
            _fill(part)
    return model


def _fill(roi_head: Any) -> None:
    """Let a head have as many objects in a step as it may."""
    found = getattr(roi_head, 'bbox_assigner', None)
    for assigner in found if isinstance(found, list) else [found]:
        for name in ('pos_iou_thr', 'neg_iou_thr', 'min_pos_iou'):
            if isinstance(getattr(assigner, name, None), float):
                setattr(assigner, name, _OVERLAP)


def _classes(cfg: Config) -> int:
    """Return how many classes the heads tell apart."""
    found = build_model(cfg)
    if found is None:
        raise _ToldError('the config has no model')
    if found.fault is not None:
        raise _ToldError(found.fault)
    counts = [head.num_classes for head in found.heads]
    if not counts:
        raise _ToldError('no head of the model has a number of classes')
    return min(counts)


def _size(cfg: Config) -> tuple[int, int]:
    """Return the height and width of a training image."""
    found = dict(entries(cfg.train_dataloader))
    crops = [v for key, v in found.items() if key.endswith('.crop_size')]
    scales = [v for key, v in found.items() if key.endswith('.scale')]
    model = cfg.model.get('data_preprocessor') or {}
    for size in (*crops, model.get('size'), *(s[::-1] for s in scales)):
        if isinstance(size, list | tuple) and len(size) == 2:
            return int(size[0]), int(size[1])
    raise _ToldError(
        'no step of the training pipeline has a crop_size: expected (height, '
        'width)'
    )


def _labels(size: tuple[int, int], classes: int) -> SegDataSample:
    """Return a random label map."""
    sample = SegDataSample(metainfo=_meta(size))
    labels = torch.randint(classes, (1, *size))
    sample.gt_sem_seg = PixelData(data=labels)
    return sample


def _instances(size: tuple[int, int], classes: int, objects: int) -> Any:
    """Return random objects, whose masks are their boxes."""
    # Only where it is installed.
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    sides = torch.tensor([size[1], size[0]])
    least, most = _BOXES
    extent = (torch.rand(objects, 2) * (most - least) + least) * sides
    corner = torch.rand(objects, 2) * (sides - extent)
    boxes = torch.cat([corner, corner + extent], dim=1)
    masks = np.zeros((objects, *size), np.uint8)
    for mask, box in zip(masks, boxes.tolist(), strict=True):
        left, top, right, bottom = map(math.ceil, box)
        mask[top:bottom, left:right] = 1
    sample = DetDataSample(metainfo=_meta(size))
    sample.gt_instances = InstanceData(
        bboxes=boxes,
        labels=torch.randint(classes, (objects,)),
        masks=BitmapMasks(masks, *size),
    )
    return sample


def _meta(size: tuple[int, int]) -> dict[str, Any]:
    """Return what pipelines say of an image."""
    return dict(
        img_shape=size,
        ori_shape=size,
        pad_shape=size,
        scale_factor=(1.0, 1.0),
        flip=False,
        flip_direction=None,
        img_path='random',
        img_id=0,
    )


def _load(cfg: Config) -> int:
    """Return the bytes that a process takes to load training images."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    random.seed(0)
    np.random.seed(0)
    count = len(dataset)
    for index in range(_LOADED if count else 0):
        dataset[index * count // _LOADED]
    found = _memory()
    # What it has of its own, more than what it shares with those it is a copy
    # of; and what it had on the way.
    return (
        found['Private_Clean']
        + found['Private_Dirty']
        + max(0, _peak() - found['Rss'])
    )


def _memory() -> Counter[str]:
    """Return bytes of memory of this process by kind; none is known, 0."""
    text = ''
    with suppress(OSError):
        text = Path('/proc/self/smaps_rollup').read_text()
    found = re.findall(r'(\w+): *(\d+) kB', text)
    return Counter({key: int(value) * 2**10 for key, value in found})


def _peak() -> int:
    """Return the most memory that this process has had."""
    unit = 1 if sys.platform == 'darwin' else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
