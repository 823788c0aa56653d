"""A user's own step, that turns channels around."""

from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Turned(BaseTransform):
    """Make RGB of BGR."""

    def transform(self, results: dict) -> dict:
        """Turn the channels of the image around."""
        results['img'] = results['img'][..., ::-1].copy()
        return results
