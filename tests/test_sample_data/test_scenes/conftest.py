import pytest

from mmseg_ext.sample_data import render_scene


@pytest.fixture(scope='session')
def scenes():
    return [render_scene((240, 180), seed=0, index=i) for i in range(12)]
