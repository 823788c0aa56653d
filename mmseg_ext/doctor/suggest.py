"""Write a config that inherits another, and mends what was found there."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS

from mmseg_ext.doctor.child_configs import (
    IMPORTS,
    Base,
    Key,
    base_of,
    child_text,
)
from mmseg_ext.doctor.examine import Diagnosis, examine
from mmseg_ext.doctor.findings import Finding, Level
from mmseg_ext.launch.configs import check_output, load_config
from mmseg_ext.launch.errors import entries, one_line
from mmseg_ext.registry import SCOPE
from mmseg_ext.utils.arguments import require
from mmseg_ext.utils.files import atomic_path, open_file
from mmseg_ext.utils.text import listing, printable

__all__ = ['MARK', 'Suggestion', 'check_suggest', 'write_suggestion']

#: The first line of what is written, by which it is known again.
MARK = '# Written by the doctor of mmseg_ext, which may write it anew.'

#: A round for each level, and one more for each further finding that changes
#: the same list, since its change was made of what was there before.
_ROUNDS = 8


class Suggestion(NamedTuple):
    """What became of a config that was to be mended.

    Attributes:
        path: The config that was written; None where no finding can be
            mended by one.
        mended: What was found, and is not found there any more.
        diagnosis: What the doctor says of the config that was written; of
            the given one where none was.
    """

    path: Path | None
    mended: tuple[Finding, ...]
    diagnosis: Diagnosis

    @property
    def left(self) -> list[Finding]:
        """What is still wrong, the worst first: it is mended by hand."""
        return [f for f in self.diagnosis.findings if f.level > Level.NOTE]

    @property
    def passes(self) -> bool:
        """Whether no error is left."""
        return not self.diagnosis.number_of(Level.ERROR)

    def lines(self) -> Iterator[str]:
        """Yield what became of it, for a terminal."""
        if self.path is None:
            found = self.diagnosis.findings
            reason = 'no config can mend what' if found else 'nothing'
            yield f'{reason} was found: nothing is written'
            return
        name = printable(self.path)
        yield f'{name} mends {_counts(self.mended)}'
        if self.left:
            yield f'left to be mended by hand: {_counts(self.left)}'
        yield f'{name} {"has no error" if self.passes else "still has errors"}'


def _counts(findings: Iterable[Finding]) -> str:
    """Return the codes of findings, and how often each comes."""
    counts = Counter(finding.code for finding in findings)
    return (
        ', '.join(f'{code} ({n})' for code, n in counts.items()) or 'nothing'
    )


def check_suggest(path: Path, cfg: Config) -> None:
    """Check that a config can be written, before it is needed.

    Args:
        path: The config to be written.
        cfg: The config that it is to inherit.

    Raises:
        ValueError: It is no Python file, or it is ``cfg`` or one of its
            bases, or it is there and the doctor did not write it, or ``cfg``
            cannot be inherited.
    """
    name = str(path)
    require('suggest', name, path.suffix == '.py', 'a name that ends in .py')
    check_output('suggest', name, folder=False)
    base_of(Path(cfg.filename), path)
    if not os.path.lexists(path):
        return
    # A config has the paths of those that it inherits, each above its text.
    bases = [line for line in cfg.text.splitlines() if line.endswith('.py')]
    if any(_is_same(other, path) for other in (cfg.filename, *bases)):
        raise ValueError(
            f'suggest={name!r} is {cfg.filename}, or inherited by it: '
            'expected another file'
        )
    with open_file(path) as file:
        first = file.readline(len(MARK) + 2)
    if first.rstrip() != MARK.encode():
        raise ValueError(
            f'suggest={name!r} is there, and the doctor did not write it: '
            'expected another name'
        )


def _is_same(name: str, file: Path) -> bool:
    return os.path.exists(name) and os.path.samefile(name, file)


def write_suggestion(
    diagnosis: Diagnosis,
    path: Path,
    cfg_options: Mapping[str, Any],
    **options: Any,
) -> Suggestion:
    """Write a config that inherits another, and mends what was found there.

    The worst is mended first. What comes out is examined, and mended again,
    until nothing is left that a config can mend.

    Args:
        diagnosis: What was found in the other config.
        path: The config to be written; it is there when it is complete.
        cfg_options: The entries that were changed when it was examined; they
            are written as well.
        **options: The other arguments of
            :func:`~mmseg_ext.doctor.examine.examine`, as they were.

    Raises:
        OSError: The file or the cache cannot be written.
        ValueError: As of :func:`check_suggest`; or a value that is to be
            written can only be computed.
    """
    cfg = diagnosis.case.cfg
    check_suggest(path, cfg)
    base = base_of(Path(cfg.filename), path)
    given = _given(base, cfg_options)
    seen = [given]
    applied: list[Finding] = []
    # Notes are mended where they are all that is left to ask for.
    worse = any(f.change and f.level > Level.NOTE for f in diagnosis.findings)
    least = Level.WARNING if worse else Level.NOTE
    more = _mend_worst(seen, diagnosis.findings, base, least)
    if not more:
        return Suggestion(None, (), diagnosis)
    tried: list[tuple[str, Diagnosis]] = []
    with atomic_path(path) as temporary:
        while more and len(tried) < _ROUNDS:
            applied += more
            comments = _comments(given, seen[-1], base, applied)
            text = f'{MARK}\n{child_text(base, seen[-1], comments)}'
            temporary.write_text(text, 'utf-8')
            diagnosis = _renamed(
                examine(str(temporary), **options), str(temporary), str(path)
            )
            tried.append((text, diagnosis))
            more = _mend_worst(seen, diagnosis.findings, base, least)
        # What mends a trifle may do harm: of equals the last.
        text, diagnosis = min(tried[::-1], key=_number_of_errors)
        temporary.write_text(text, 'utf-8')
    left = {_identity(finding) for finding in diagnosis.findings}
    mended = tuple(each for each in applied if _identity(each) not in left)
    return Suggestion(path, mended, diagnosis)


def _number_of_errors(tried: tuple[str, Diagnosis]) -> int:
    return tried[1].number_of(Level.ERROR)


def _given(base: Base, cfg_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config as it was examined."""
    given = load_config(str(base.cfg.filename), None, dict(cfg_options))
    whole = given.to_dict()
    # Set where none is given.
    if 'work_dir' not in base.cfg and 'work_dir' not in cfg_options:
        del whole['work_dir']
    return whole


def _identity(finding: Finding) -> tuple[str | None, ...]:
    return finding.code, finding.split, finding.file, finding.text


def _renamed(diagnosis: Diagnosis, old: str, new: str) -> Diagnosis:
    """Return what was found in a config under the name that it will have."""
    diagnosis.case.path = new
    return diagnosis._replace(
        findings=[
            each._replace(
                text=each.text.replace(old, new),
                file=new if each.file == old else each.file,
            )
            for each in diagnosis.findings
        ]
    )


def _mend_worst(
    seen: list[dict[str, Any]],
    findings: Sequence[Finding],
    base: Base,
    least: Level,
) -> list[Finding]:
    """Append a config in which the worst that can be mended is.

    What is less bad may come of it, and is gone next time.

    Args:
        seen: The configs so far, to which none comes back.
        findings: What was found in the last one.
        base: What it inherits.
        least: What is less bad stays as it is.

    Returns:
        What is mended; nothing if there is no such config.
    """
    for level in sorted(set(Level) - set(range(least)), reverse=True):
        these = [finding for finding in findings if finding.level == level]
        cfg, mended = _mend(seen[-1], these, base)
        if cfg not in seen:
            seen.append(cfg)
            return mended
    return []


def _mend(
    cfg: dict[str, Any], findings: Iterable[Finding], base: Base
) -> tuple[dict[str, Any], list[Finding]]:
    """Return a config in which findings are mended, and these.

    Of findings that change the same entry to different values the first
    counts: the others are made anew of what then is there.
    """
    cfg, mended = _plain(cfg), []
    taken: dict[str, Any] = {}
    for finding in findings:
        change = {k: _plain(v) for k, v in finding.change.items()}
        if not change or any(_clash(taken, *pair) for pair in change.items()):
            continue
        # Thousands of files may have the same.
        if not change.keys() <= taken.keys():
            _change(cfg, finding)
        taken |= change
        mended.append(finding)
    _use_ours(cfg, taken, base.lazy)
    return cfg, mended


def _plain(value: Any) -> Any:
    """Return a copy of a value, as it is written: classes by name."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        inner = [_plain(each) for each in value]
        return inner if isinstance(value, list) else tuple(inner)
    if isinstance(value, type):
        return f'{value.__module__}.{value.__qualname__}'
    return value


def _clash(taken: Mapping[str, Any], key: str, value: Any) -> bool:
    """Return whether an entry, one in it or one around it is set already."""
    if key in taken:
        return bool(taken[key] != value)
    return any(
        one.startswith(f'{other}.')
        for known in taken
        for one, other in ((key, known), (known, key))
    )


def _change(cfg: dict[str, Any], finding: Finding) -> None:
    """Set what a finding changes.

    Raises:
        ValueError: The config has no place for it.
    """
    for key, value in finding.change.items():
        try:
            _set(cfg, key.split('.'), _plain(value))
        # A check of a user's own may name any key.
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f'{finding.code} changes {key}, which cannot be set in the '
                f'config: {one_line(error)}'
            ) from error


def _set(node: Any, key: Sequence[str], value: Any) -> None:
    """Set an entry of a config, and make the dicts that lead to it."""
    for part in key[:-1]:
        if isinstance(node, list):
            node = node[int(part)]
        else:
            node = node.setdefault(part, {})
    if isinstance(node, list):
        node[int(key[-1])] = value
    else:
        node[key[-1]] = value


def _use_ours(
    cfg: dict[str, Any], changes: Mapping[str, Any], lazy: bool
) -> None:
    """Let a config find the classes of this package that changes need."""
    ours = [
        (place, found)
        for place, kind in entries(changes)
        if place.rpartition('.')[2] == 'type' and (found := _our_class(kind))
    ]
    for place, kind in ours if lazy else ():
        # Configs of the new style import what they name.
        _set(cfg, place.split('.'), _plain(kind))
    given = cfg.get(IMPORTS) or {}
    names = given.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    known = {name.partition('.')[0] for name in names}
    if ours and not lazy and SCOPE not in known:
        names.append(SCOPE)
        whole = {'imports': names, 'allow_failed_imports': False}
        cfg[IMPORTS] = {**whole, **given, 'imports': names}


def _our_class(name: Any) -> Any:
    """Return the class of this package of a name; None without one."""
    for root in (DATASETS, METRICS, MODELS, TRANSFORMS):
        for registry in root.children.values():
            found = registry.module_dict.get(name)
            if str(getattr(found, '__module__', '')).startswith(f'{SCOPE}.'):
                return found
    return None


def _comments(
    given: Mapping[str, Any],
    wanted: Mapping[str, Any],
    base: Base,
    mended: Iterable[Finding],
) -> dict[Key, list[str]]:
    """Return what is said in a config of each of its changes."""
    before = base.cfg.to_dict()
    said: dict[Key, list[str]] = {
        (key,): ['as cfg_options gave it']
        for key, value in given.items()
        if key != IMPORTS and value != before.get(key)
    }
    if wanted.get(IMPORTS) != given.get(IMPORTS):
        said[IMPORTS,] = [f'for classes of {SCOPE}']
    alike: dict[tuple[Key, str], list[Finding]] = {}
    for finding in mended:
        for place in _places(finding.change):
            alike.setdefault((place, finding.code), []).append(finding)
    for (place, code), findings in alike.items():
        said.setdefault(place, []).append(f'{code}: {_reason(findings)}')
    return said


def _places(keys: Iterable[str]) -> list[Key]:
    """Return what keys have in common, of each entry at the top."""
    common: dict[str, Key] = {}
    for key in keys:
        parts = tuple(key.split('.'))
        known = common.get(parts[0], parts)
        pairs = zip(known, parts, strict=False)
        same = takewhile(lambda pair: pair[0] == pair[1], pairs)
        common[parts[0]] = tuple(part for part, _ in same)
    return list(common.values())


def _reason(findings: Sequence[Finding]) -> str:
    """Return what was found at a place, of findings of one code."""
    text = findings[0].text
    files = {os.path.basename(f.file): None for f in findings if f.file}
    more = len({finding.text for finding in findings}) - 1
    if files:
        text += f' ({listing(list(files), 1)})'
    elif more:
        text += f' (and {more} more)'
    return printable(text)
