"""A segmentor that a CPU runs in no time, as config and checkpoint."""

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from test_tools.tiny_runs import SEGMENTATION

PALETTE = ((0, 0, 255), (255, 0, 0), (0, 255, 0))

#: What a training notes in its checkpoints.
META = {'classes': ('sky', 'wall', 'road'), 'palette': PALETTE}


def write_segmentor(folder, **changes):
    """Write a config with changes, and random weights that find all classes.

    Args:
        folder: Gets ``config.py`` and ``weights.pth``.
        **changes: Keys of the config, with two underscores for each dot.
    """
    config = Config.fromstring(
        SEGMENTATION.replace('{root!r}', repr(str(folder))), '.py'
    )
    options = {key.replace('__', '.'): v for key, v in changes.items()}
    config.merge_from_dict(options)
    folder.mkdir(parents=True, exist_ok=True)
    config.dump(folder / 'config.py')
    model = build_upstream(config)
    torch.manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith('conv_seg.weight'):
            value.normal_(std=20)
        elif name.endswith('weight') and value.ndim > 1:
            value.normal_(std=0.2)
    weights = folder / 'weights.pth'
    meta = {'dataset_meta': META}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, weights)
    return folder / 'config.py', weights


def build_upstream(config):
    """Build the model of a config as MMSeg does."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(config.model).eval()


def labels_of_upstream(config, weights, path):
    """Return the label map of an image that MMSeg's model predicts.

    Args:
        config: A ``Config`` with a plain ``EncoderDecoder``.
        weights: The checkpoint.
        path: The image.
    """
    model = build_upstream(config)
    model.load_state_dict(torch.load(weights)['state_dict'])
    with DefaultScope.overwrite_default_scope('mmseg'):
        pipeline = Compose(
            [
                step
                for step in config.test_dataloader.dataset.pipeline
                if step.type != 'LoadAnnotations'
            ]
        )
    batch = pseudo_collate([pipeline({'img_path': str(path)})])
    with torch.no_grad():
        [sample] = model.test_step(batch)
    return sample.pred_sem_seg.data[0].numpy()
