"""Check that a wheel holds the whole package and asks for the right things.

python .ci/check_wheel.py dist/mmseg_ext-0.1.0-py3-none-any.whl
"""

import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]

#: Where each part of the tree is in the wheel.
PARTS = {
    'mmseg_ext': 'mmseg_ext',
    'mmseg_ext_cli.py': 'mmseg_ext_cli.py',
    'configs': 'mmseg_ext/.mim/configs',
    'tools': 'mmseg_ext/.mim/tools',
    'model-index.yml': 'mmseg_ext/.mim/model-index.yml',
}

#: The command that pip makes.
SCRIPT = 'mmseg-ext = mmseg_ext_cli:main'

#: pip would fetch or build these wrongly, or put those of one stack over the
#: other's, see docs/install.md.
NEVER_REQUIRED = {
    *('torch', 'torchvision', 'mmcv', 'mmdet', 'mmengine', 'mmsegmentation'),
    *('onedl-mmcv', 'onedl-mmdetection', 'onedl-mmengine'),
    *('onedl-mmsegmentation', 'onedl-mim', 'openmim', 'setuptools'),
}


def expected_files() -> set[str]:
    """List the files of the tree by their names in the wheel."""
    names = set()
    for part, target in PARTS.items():
        path = ROOT / part
        files = path.rglob('*') if path.is_dir() else [path]
        names |= {
            str(Path(target, file.relative_to(path)))
            for file in files
            if file.is_file() and '__pycache__' not in file.parts
        }
    return names


def find_faults(wheel: Path) -> list[str]:
    """Compare a wheel with the tree.

    Args:
        wheel: Path of the wheel.

    Returns:
        One line for each fault.
    """
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = next(name for name in names if name.endswith('/METADATA'))
        metadata = Parser().parsestr(archive.read(info).decode())
        info = info.removesuffix('METADATA')
        scripts = f'{info}entry_points.txt'
        made = archive.read(scripts).decode() if scripts in names else ''
    own = {name for name in names if not name.startswith(info)}
    expected = expected_files()
    faults = [f'missing: {name}' for name in sorted(expected - own)]
    faults += [f'unexpected: {name}' for name in sorted(own - expected)]
    if f'{info}licenses/LICENSE' not in names:
        faults.append('missing: LICENSE')
    if SCRIPT not in made.splitlines():
        faults.append(f'missing: the command {SCRIPT}')
    requirements = map(Requirement, metadata.get_all('Requires-Dist'))
    faults += [
        f'required without an extra: {needed}'
        for needed in requirements
        if needed.name in NEVER_REQUIRED and not needed.marker
    ]
    return faults


def main() -> None:
    """Check the wheel that the command line names."""
    wheel = Path(sys.argv[1])
    faults = find_faults(wheel)
    if faults:
        sys.exit(f'{wheel} is wrong:\n' + '\n'.join(faults))
    print(f'{wheel} is whole')


if __name__ == '__main__':
    main()
