"""Which alerts belong together: those of one truck that overlap, or nearly."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.fleet.domain import AlertId, IncidentId, Severity

#: An alert that has not ended counts as lasting this long, so that a lost ending joins no days.
OPEN_COUNTS_FOR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Span:
    """What grouping has to know of an alert."""

    alert_id: AlertId
    incident_id: IncidentId | None
    severity: Severity
    started_at: datetime
    ended_at: datetime | None

    @property
    def counts_until(self) -> datetime:
        """Where it ends for grouping."""
        return self.started_at + OPEN_COUNTS_FOR if self.ended_at is None else self.ended_at


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts that make one incident."""

    spans: tuple[Span, ...]

    @property
    def started_at(self) -> datetime:
        """The first beginning."""
        return min(span.started_at for span in self.spans)

    @property
    def ended_at(self) -> datetime | None:
        """The last end; None while one goes on."""
        ends = [span.ended_at for span in self.spans]
        return None if None in ends else max(end for end in ends if end is not None)

    @property
    def severity(self) -> Severity:
        """The gravest."""
        return max(span.severity for span in self.spans)


def group(spans: Iterable[Span], gap: timedelta) -> list[Group]:
    """The connected components of what overlaps or is at most `gap` apart.

    The result depends on the spans alone, not on the order in which they became known.
    """
    groups: list[Group] = []
    members: list[Span] = []
    until: datetime | None = None
    for span in sorted(spans, key=lambda span: (span.started_at, span.alert_id)):
        if until is not None and span.started_at > until + gap:
            groups.append(Group(tuple(members)))
            members, until = [], None
        members.append(span)
        until = span.counts_until if until is None else max(until, span.counts_until)
    if members:
        groups.append(Group(tuple(members)))
    return groups
