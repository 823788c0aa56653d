import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def _scope(request):
    """Build what configs name as a runner would, whatever ran before."""
    segmentors = request.path.parent.name == 'test_segmentors'
    scope = 'mmseg' if segmentors else 'mmdet'
    with DefaultScope.overwrite_default_scope(scope):
        yield
