"""Fixtures that several folders of tests use."""

import gc
import importlib
import re
import signal
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from mmseg_ext_cli import wait_passively

# OpenMP reads its settings once, when torch is imported, and so do the
# processes that tests start.
wait_passively()

import pytest
import torch
from mmengine.config import config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from helpers.browser import PROGRAMS, Browser, find_browser
from helpers.garbage import collect_garbage

# Shells start what runs in the background with Ctrl-C ignored, and all that it
# starts in turn. Tests of stopped tools want it as in the foreground.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session', autouse=True)
def _one_thread():
    """Networks this small run many times slower on contending threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope='module', autouse=True)
def _no_old_garbage():
    """Keep what is there out of collections, which mmengine has many of.

    It collects with each data set, through all modules and tests. What the
    file before left behind ends here, with its processes that load images.
    """
    collect_garbage()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def _entries_are_formatted_once():
    """Mmengine formats a config three times a run: half of a short one.

    No entry of it depends on another, and most are as in the last test.
    """
    upstream = config.FormatCode

    @cache
    def format_entry(entry, style, options):
        return upstream(entry, style_config=dict(style), **dict(options))

    def format_code(text, style_config, **options):
        style = tuple(style_config.items())
        parts = [
            format_entry(entry, style, tuple(options.items()))
            for entry in re.split(r'^(?=\w+=)', text, flags=re.MULTILINE)
            if entry
        ]
        return ''.join(part for part, _ in parts), any(c for _, c in parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, 'FormatCode', format_code)
        yield


@pytest.fixture(scope='session')
def torchvision():
    """The real torchvision, also where its compiled operators do not load.

    Registries carry torchvision for CUDA. Beside a torch for CPU its import
    fails where it describes its operators to torch, which the segmentation
    networks do not use. There it lies in ``<sys.prefix>/torchvision``, where
    nothing else finds it, and is imported with that description left out.
    """
    try:
        return importlib.import_module('torchvision')
    except (ImportError, RuntimeError):
        folder = Path(sys.prefix, 'torchvision')
        sys.path.append(str(folder))
        description = 'torchvision._meta_registrations'
        sys.modules[description] = ModuleType(description)
    try:
        return importlib.import_module('torchvision')
    except (ImportError, RuntimeError) as error:
        minor = int(torch.__version__.split('.')[1]) + 15
        pytest.fail(
            f'no torchvision for torch {torch.__version__} ({error}): run '
            f'pip install --no-deps --target {folder} '
            f"'torchvision==0.{minor}.*'"
        )


@pytest.fixture
def mmdet_scope():
    """Build what configs name as a runner of MMDet would."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def mmlog(caplog):
    """What mmengine's logger says; it does not propagate to the root."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(scope='session')
def browser(tmp_path_factory):
    """A headless Chromium, which finds no network."""
    program = find_browser()
    if program is None:
        pytest.skip(
            'web pages are not opened: there is no '
            f"{' or '.join(PROGRAMS)}; install Debian's package chromium"
        )
    browser = Browser(program, tmp_path_factory.mktemp('browser'))
    yield browser
    browser.close()
