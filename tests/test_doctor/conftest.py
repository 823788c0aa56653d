"""Healthy data with a config, for tests of the doctor."""

import gc

import pytest

from helpers.doctor import moved, write_shapes, write_street


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    """Mmengine collects garbage with each data set: most of the time here."""
    monkeypatch.setattr(gc, 'collect', lambda *generation: 0)


@pytest.fixture(scope='session')
def _street(tmp_path_factory):
    return write_street(tmp_path_factory.mktemp('street') / 'data')


@pytest.fixture(scope='session')
def _shapes(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp('shapes') / 'data')


@pytest.fixture
def street(_street, tmp_path):
    """Six and three street scenes with index masks, and a config of MMSeg."""
    return moved(_street, tmp_path / 'street')


@pytest.fixture
def shapes(_shapes, tmp_path):
    """Six and three images with two instances each, a config of MMDet."""
    return moved(_shapes, tmp_path / 'shapes')
