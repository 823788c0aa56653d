"""What all tests of plans have in common."""

from functools import cache

import pytest
from mmengine.config import utils


@pytest.fixture(autouse=True, scope='session')
def _metafiles_are_read_once():
    """Mmengine reads all of a package to find a config: most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, 'load', cache(utils.load))
        yield
