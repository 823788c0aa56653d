"""The examples in docstrings run and print what they say."""

import doctest
import inspect

import pytest
from mmengine.registry import DefaultScope

from helpers.modules import import_modules

MODULES = import_modules()

#: The fixture that the examples of a module need.
NEEDED = {'mmseg_ext.models.segmentors.mm_deeplabv3': 'torchvision'}


def find_examples(module):
    tests = doctest.DocTestFinder(exclude_empty=True).find(module)
    return [test for test in tests if test.examples]


EXAMPLES = {
    name: examples
    for name, module in MODULES.items()
    if (examples := find_examples(module))
}


def test_all_are_found():
    assert EXAMPLES.keys() == {
        name
        for name, module in MODULES.items()
        if '>>> ' in inspect.getsource(module)
    }


@pytest.mark.parametrize('name', EXAMPLES)
def test_examples(name, request):
    if name in NEEDED:
        request.getfixturevalue(NEEDED[name])
    told = []
    runner = doctest.DocTestRunner(verbose=False)
    # Runners of other tests leave theirs behind.
    with DefaultScope.overwrite_default_scope('mmseg'):
        failed = [runner.run(test, out=told.append) for test in EXAMPLES[name]]
    assert not any(result.failed for result in failed), ''.join(told)
