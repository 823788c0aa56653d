"""A terminal that remembers its lines."""

import io


class Terminal(io.StringIO):
    """What takes ``\\r`` as a terminal does."""

    def isatty(self):
        return True

    def screen(self):
        """Return the lines that a user sees."""
        lines = []
        for written in self.getvalue().split('\n'):
            line = ''
            for part in written.split('\r'):
                line = part + line[len(part) :]
            lines.append(line.rstrip())
        return lines
