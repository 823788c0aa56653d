"""What code that is not ours may raise."""

__all__ = ['FAULTS']

#: Data sets, transforms, models and checks of users may end the process, which
#: would look like a clean bill. Ctrl-C is none.
FAULTS = (Exception, SystemExit)
