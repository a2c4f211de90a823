"""Keeps decoders from turning a stranger's broken file into our warnings and log lines."""

import logging
import threading
import warnings

_PYDICOM = logging.getLogger("pydicom")
_rule_added = threading.Lock()


def quieten_decoders() -> None:
    """Ignore Python warnings that Pillow and pydicom raise about what they read.

    `warnings.catch_warnings` swaps process-wide state and so is unsafe where several threads
    decode. This adds one permanent rule instead, for the decoders' own modules only, under a lock
    and only where it is missing: calling it before each decode is cheap, and it holds inside a
    test that has put stricter rules in front.
    """
    with _rule_added:
        if not any(_is_ours(rule) for rule in warnings.filters[:4]):
            warnings.filterwarnings("ignore", module=_DECODER_MODULES)
    # pydicom also logs each of them, with the offending value: that may name a patient.
    # Setting a level makes every logger forget what it knew of its own, so it is set once.
    if _PYDICOM.level != logging.CRITICAL:
        _PYDICOM.setLevel(logging.CRITICAL)


_DECODER_MODULES = r"(PIL|pydicom|openjpeg|libjpeg|pylibjpeg)(\.|$)"


def _is_ours(rule: tuple[object, ...]) -> bool:
    pattern = getattr(rule[3], "pattern", None)
    return rule[0] == "ignore" and pattern == _DECODER_MODULES
