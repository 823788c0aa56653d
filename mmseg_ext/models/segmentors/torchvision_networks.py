"""Segmentation networks of torchvision, which may be absent."""

import pickle
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmseg_ext.environment import torchvision_for
from mmseg_ext.utils.text import listing

__all__ = [
    'PooledBatchNorm2d',
    'find_builder',
    'load_backbone',
    'replace_pooled_norms',
]

#: What an image classifier's weights hold beside the backbone's.
_CLASSIFIER_PREFIXES = ('fc.', 'classifier.')


def find_builder(name: str) -> Callable[..., Any]:
    """Return the function that builds a network of torchvision.

    Args:
        name: Name of a network in ``torchvision.models.segmentation``.

    Returns:
        Takes ``weights``, ``weights_backbone``, ``num_classes`` and
        ``aux_loss``, and returns a module with ``backbone``, ``classifier``
        and perhaps ``aux_classifier``.

    Raises:
        ImportError: torchvision is absent or goes with another torch.
        ValueError: torchvision has no such network.
    """
    models = _import_torchvision().models
    names = models.list_models(module=models.segmentation)
    if name not in names:
        raise ValueError(
            f'torchvision has no segmentation network {name!r}: choose one '
            f'of {", ".join(names)}'
        )
    return models.get_model_builder(name)


class PooledBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization that also trains on one value for each channel.

    Statistics cannot be computed from a single value, and torch raises an
    error. Here the running statistics are used instead, and stay as they are.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalize ``inputs``, (N, C, H, W)."""
        if not self.training or inputs.numel() > inputs.shape[1]:
            return super().forward(inputs)
        warnings.warn(
            'a training batch of one image: the pooling branch of ASPP is '
            'normalized with its running statistics; give the training data '
            'loader drop_last=True or a larger batch_size to train it on '
            'batch statistics alone',
            stacklevel=2,
        )
        return F.batch_norm(
            inputs,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            eps=self.eps,
        )


def replace_pooled_norms(network: nn.Module) -> None:
    """Let ASPP's pooling branch train on a batch of one image.

    Args:
        network: A network of torchvision; its batch normalizations there are
            replaced by :class:`PooledBatchNorm2d`, in place.
    """
    from torchvision.models.segmentation.deeplabv3 import ASPPPooling

    for module in network.modules():
        if isinstance(module, ASPPPooling):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    norm = PooledBatchNorm2d(
                        child.num_features, child.eps, child.momentum
                    )
                    setattr(module, name, norm)


def _import_torchvision() -> ModuleType:
    """Import torchvision, or say which one to install."""
    try:
        import torchvision
    except ModuleNotFoundError as error:
        if error.name != 'torchvision':
            raise
        raise ImportError(
            'MMDeeplabV3 needs torchvision, the optional extra "torchvision" '
            f'of mmseg-ext. For torch {torch.__version__} install it with\n'
            f'    {_install_command()}'
        ) from error
    # Beside another torch, torchvision fails on its first import with a
    # RuntimeError about its operators, and with others after that.
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise ImportError(
            'the installed torchvision was built for another torch than '
            f'{torch.__version__} and cannot be imported ({error}). Replace '
            f'it with\n    {_install_command()}'
        ) from error
    return torchvision


def _install_command() -> str:
    """Return the command that installs the torchvision for this torch."""
    needed = torchvision_for(torch.__version__)
    command = f"pip install --no-deps '{needed}'"
    if torch.version.cuda is None and torch.version.hip is None:
        command += ' --index-url https://download.pytorch.org/whl/cpu'
    return command


def load_backbone(backbone: nn.Module, source: str) -> None:
    """Load weights that must cover a backbone and fit it exactly.

    Args:
        backbone: Of a network of torchvision.
        source: A name such as ``'torchvision://resnet50'``, a URL or a file
            of weights, those of an image classifier or of its backbone.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The weights cannot be loaded or do not fit.
    """
    weights = {}
    for key, value in _read_state_dict(source).items():
        key = key.removeprefix('module.')
        if not key.startswith(_CLASSIFIER_PREFIXES):
            # MobileNetV3 keeps its backbone as "features".
            weights[key.removeprefix('features.')] = value
    expected = backbone.state_dict()
    # Weights of old releases lack the counters, which nothing here uses.
    missing = [
        key
        for key in expected
        if key not in weights and not key.endswith('num_batches_tracked')
    ]
    unknown = [key for key in weights if key not in expected]
    misshaped = [
        f'{key} {tuple(weights[key].shape)} for {tuple(value.shape)}'
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    problems = [
        f'{len(keys)} {what} ({listing(keys)})'
        for what, keys in (
            ('missing', missing),
            ('unknown', unknown),
            ('of another shape', misshaped),
        )
        if keys
    ]
    if problems:
        raise ValueError(
            f'backbone_init={source!r} does not fit the backbone: '
            f'{"; ".join(problems)}. Give the weights of the image '
            'classifier that the network is built on'
        )
    backbone.load_state_dict(weights, strict=False)
    print_log(
        f'Loaded {len(weights)} tensors of the backbone from {source}',
        logger='current',
    )


def _read_state_dict(source: str) -> dict[str, Tensor]:
    """Load a state dict through mmengine, refusing all but weights."""
    try:
        # Its loaders are guarded: mmseg_ext/checkpoint.py.
        loaded = CheckpointLoader.load_checkpoint(source, 'cpu', 'current')
    except KeyError as error:
        raise ValueError(
            f'backbone_init={source!r}: mmengine knows no weights of the '
            f'name {error}'
        ) from error
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(
            f'backbone_init={source!r} cannot be loaded: {error}'
        ) from error
    state_dict = loaded
    if isinstance(loaded, dict):
        state_dict = loaded.get('state_dict', loaded)
    if not isinstance(state_dict, dict) or not all(
        isinstance(value, Tensor) for value in state_dict.values()
    ):
        raise ValueError(
            f'backbone_init={source!r} is no state dict: expected tensors '
            'under the names of their layers'
        )
    return state_dict
