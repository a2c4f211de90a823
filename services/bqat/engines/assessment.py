"""What an assessment of one biometric sample says."""

from collections.abc import Mapping
from dataclasses import dataclass

Value = float | int | str | bool | None
Profile = dict[str, Value]


class Unassessable(Exception):
    """The sample cannot be read at all; the text says why and quotes nothing of the file."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """The quality profile of one sample.

    Attributes:
        profile: measures by name, in the order of the old wire, without the file's name. A measure
            that could not be taken is absent or None, never invented. `approx` names, separated by
            commas, the measures for which a stand-in of the standard's method was used.
        evidence: `rules` where nothing learned took part, else the weakest level of the networks
            that did.
        errors: what went wrong or was decided on the way, each `<step>: <what>`; the old wire
            calls them `log` and wants `{step: what}`.
    """

    profile: Profile
    evidence: str
    errors: tuple[str, ...] = ()


def rounded(values: Mapping[str, float | int], digits: int = 6) -> dict[str, float | int]:
    """`values` with floats that a person can read; whole numbers stay whole."""
    return {
        name: value if isinstance(value, int) else round(float(value), digits)
        for name, value in values.items()
    }
