"""Evaluations that are kept as a package's local evidence, `$VEDETTE_HOME/evidence`.

One place for shipped and installed packages: replacing or removing a package leaves it alone, and
each record names the sha256 of the network that it speaks of. File names are not kept.
"""

import hashlib
import os
import re
import secrets
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from shared.evaluation.measure import FORMAT, Evaluation

_EVALUATION = TypeAdapter(Evaluation)
_MAX_RECORD_BYTES = 16 * 1024 * 1024
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*@[0-9A-Za-z][0-9A-Za-z._+-]*")


def to_json(evaluation: Evaluation) -> bytes:
    """The evaluation as indented JSON."""
    return _EVALUATION.dump_json(evaluation, indent=2) + b"\n"


def from_json(text: bytes) -> Evaluation:
    """An evaluation from its JSON.

    Raises:
        ValueError: it is none, or of another format.
    """
    try:
        evaluation = _EVALUATION.validate_json(text)
    except ValidationError as error:
        raise ValueError(f"no evaluation: {error.error_count()} faults") from error
    if evaluation.format != FORMAT:
        raise ValueError(f"an evaluation of the format {evaluation.format!r}, not {FORMAT!r}")
    return evaluation


def store_evidence(home: Path, evaluation: Evaluation) -> Path:
    """Keep an evaluation, without the names of files; the same one again changes nothing."""
    record = to_json(replace(evaluation, excluded=()))
    folder = _folder(home, evaluation.model.name)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{hashlib.sha256(record).hexdigest()}.json"
    partial = folder / f".{secrets.token_hex(8)}"
    try:
        with partial.open("wb") as file:
            file.write(record)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def local_evidence(home: Path, package_name: str) -> tuple[Evaluation, ...]:
    """What was measured here with a package, the newest first.

    Args:
        home: `VEDETTE_HOME`.
        package_name: `id@version`.

    Returns:
        The kept evaluations. A record whose content is not what its name says, or that is of
        another format, is passed over.
    """
    found = []
    for path in sorted(_folder(home, package_name).glob("[0-9a-f]*.json")):
        record = path.read_bytes() if path.stat().st_size <= _MAX_RECORD_BYTES else b""
        if hashlib.sha256(record).hexdigest() != path.stem:
            continue
        try:
            found.append(from_json(record))
        except ValueError:
            continue
    return tuple(sorted(found, key=lambda each: each.evaluated_at, reverse=True))


def _folder(home: Path, package_name: str) -> Path:
    if _PACKAGE_NAME.fullmatch(package_name) is None:
        raise ValueError(f"{package_name!r} is no id@version")
    return home / "evidence" / package_name
