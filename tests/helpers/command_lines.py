"""What a tool says of what the user can mend."""

import pytest


def error_of(capsys, main, *argv):
    """Run a tool that has to stop; return its line without its own name."""
    with pytest.raises(SystemExit) as caught:
        main(*argv)
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert 'Traceback' not in text
    _, separator, message = text.splitlines()[-1].partition(': error: ')
    assert separator, text
    return message
