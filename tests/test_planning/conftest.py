"""What all tests of plans have in common."""

from functools import cache

import pytest
from mmengine.config import config


@pytest.fixture(autouse=True, scope='session')
def _names_of_configs_are_found_once():
    """Mmengine reads all metafiles of a package for each: most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        find = config._get_external_cfg_path
        patch.setattr(config, '_get_external_cfg_path', cache(find))
        yield
