"""A build backend that runs nothing of the sdist.

Before ``pip download`` hands over an sdist, it asks the sdist's own build
backend for its metadata, even under ``--no-deps``: it runs the ``setup.py``,
which may fail, as MMCV's does on Python 3.13. With this folder on
``PYTHONPATH`` pip is answered from the ``PKG-INFO`` that each sdist carries.
"""

import shutil
import sys
from email.parser import HeaderParser
from pathlib import Path

__all__ = ['get_requires_for_build_wheel', 'prepare_metadata_for_build_wheel']

#: What an sdist without pyproject.toml is built with.
__legacy__ = sys.modules[__name__]


def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
    """Return what pip would have to install first: nothing."""
    return []


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: object = None
) -> str:
    """Write the metadata of the sdist in the working folder.

    Args:
        metadata_directory: Where to.
        config_settings: Ignored.

    Returns:
        Name of the ``.dist-info`` folder.
    """
    head = HeaderParser().parsestr(Path('PKG-INFO').read_text('utf-8'))
    name = '{}-{}.dist-info'.format(
        head['Name'].replace('-', '_'), head['Version']
    )
    folder = Path(metadata_directory, name)
    folder.mkdir()
    shutil.copyfile('PKG-INFO', folder / 'METADATA')
    return name
