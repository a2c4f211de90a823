"""The rules of the fleet, without anything around them."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.fleet.domain import (
    DEFAULT_SEVERITY,
    TRANSITIONS,
    AlertId,
    Behavior,
    Mark,
    Role,
    Severity,
    State,
    TruckId,
    UserId,
    Viewer,
    date,
    default_severity,
    is_behavior,
    media_type_of,
    new_id,
    read_old_time,
    role_from,
)
from services.fleet.incidents import Group, Span, group

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVERYTHING = frozenset({"fleet:read", "fleet:write", "fleet:admin"})
TRUCK = TruckId(UUID(int=1))


def test_every_behavior_has_a_severity() -> None:
    assert set(DEFAULT_SEVERITY) == set(Behavior)
    assert default_severity("Microsleep") is Severity.HIGH
    assert default_severity("other:phone on the dashboard") is Severity.MEDIUM


@pytest.mark.parametrize(
    ("text", "is_known"),
    [
        ("Eating/Drinking", True),
        ("PanicButton", True),
        ("other:dog in the cab", True),
        ("other:", False),
        ("other: blank first", False),
        ("other:" + "x" * 65, False),
        ("other:line\nbreak", False),
        ("safe", False),
        ("", False),
    ],
)
def test_a_behavior_is_in_the_list_or_a_short_text(text: str, is_known: bool) -> None:
    assert is_behavior(text) is is_known


@pytest.mark.parametrize(
    ("stated", "sent", "at", "marks"),
    [
        (timedelta(0), None, timedelta(0), set()),
        (timedelta(minutes=-3), None, timedelta(minutes=-3), {Mark.LATE}),
        (timedelta(hours=2), None, timedelta(hours=2), set()),
        (timedelta(days=2), None, timedelta(days=2), {Mark.FUTURE}),
        # The clock is an hour ahead, which `sent_at` tells: the time is corrected.
        (timedelta(hours=1), timedelta(hours=1), timedelta(0), {Mark.CLOCK_SKEW}),
        # An hour behind, and sent after an outage of ten minutes.
        (
            timedelta(hours=-1, minutes=-10),
            timedelta(hours=-1),
            timedelta(minutes=-10),
            {Mark.CLOCK_SKEW, Mark.LATE},
        ),
        (timedelta(seconds=-1), timedelta(seconds=-1), timedelta(seconds=-1), set()),
    ],
)
def test_times_are_kept_corrected_and_marked(
    stated: timedelta, sent: timedelta | None, at: timedelta, marks: set[Mark]
) -> None:
    dated = date(NOW + stated, None if sent is None else NOW + sent, NOW)

    assert dated.at == NOW + at
    assert dated.stated_at == NOW + stated
    assert dated.marks == marks


def test_old_times_have_one_form_and_a_zone_that_is_set() -> None:
    here = ZoneInfo("America/Santiago")

    assert read_old_time("2026-03-01 12:00:00", UTC) == NOW
    assert read_old_time("2026-03-01 09:00:00", here) == NOW


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-3-1 12:00:00",
        "2026-03-01T12:00:00",
        "2026-02-30 12:00:00",
        "1960-01-01 00:00:00",
        "٢٠٢٦-03-01 12:00:00",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # which one is the parser's affair
        read_old_time(text, UTC)


def test_an_alert_moves_from_state_to_state_and_back_only_by_opening_it() -> None:
    assert State.OPEN in TRANSITIONS[State.CLOSED]
    assert State.ACKNOWLEDGED not in TRANSITIONS[State.CLOSED]
    assert State.CLOSED in TRANSITIONS[State.OPEN]
    assert State.OPEN not in TRANSITIONS[State.ACKNOWLEDGED]


@pytest.mark.parametrize(
    ("role", "reads", "handles", "administers", "sees"),
    [
        (Role.ADMIN, True, True, True, True),
        (Role.FULL, True, True, False, True),
        (Role.LIMITED, True, False, False, False),
        (Role.UNAUTHORIZED, False, False, False, False),
    ],
)
def test_a_role_says_what_somebody_may_do(
    role: Role, reads: bool, handles: bool, administers: bool, sees: bool
) -> None:
    viewer = Viewer(UserId(UUID(int=2)), "anna", role, EVERYTHING)
    granted = Viewer(UserId(UUID(int=2)), "anna", role, EVERYTHING, frozenset({TRUCK}))
    without_scopes = Viewer(UserId(UUID(int=2)), "anna", role, frozenset())

    assert (viewer.may_read, viewer.may_handle, viewer.may_administer) == (
        reads, handles, administers,
    )  # fmt: skip
    assert viewer.sees(TRUCK) is sees
    assert granted.sees(TRUCK) is reads
    assert not without_scopes.may_read
    assert not without_scopes.may_handle


def test_who_has_no_role_here_has_what_the_account_allows() -> None:
    assert role_from(EVERYTHING) is Role.ADMIN
    assert role_from({"fleet:read"}) is Role.FULL
    assert role_from({"chexray:read"}) is Role.UNAUTHORIZED


def test_pictures_are_known_by_their_first_bytes() -> None:
    assert media_type_of(b"\xff\xd8\xff\xe0") == "image/jpeg"
    assert media_type_of(b"RIFF\x00\x00\x00\x00WEBPVP8 ") == "image/webp"
    assert media_type_of(b"<svg onload=alert(1)>") is None


def test_identifiers_sort_by_time() -> None:
    assert new_id(1.0) < new_id(1.002) < new_id(2.0)


# Incidents.

SECONDS = some.integers(0, 7200)
SPANS = some.lists(some.tuples(SECONDS, some.one_of(some.none(), SECONDS)), max_size=12)
GAP = timedelta(seconds=60)


def spans_of(times: list[tuple[int, int | None]]) -> list[Span]:
    """Alerts that begin at a second and last for some, or have no end yet."""
    return [
        Span(
            AlertId(UUID(int=number)),
            None,
            Severity(number % 5),
            NOW + timedelta(seconds=start),
            None if lasts is None else NOW + timedelta(seconds=start + lasts),
        )
        for number, (start, lasts) in enumerate(times)
    ]


def members(groups: list[Group]) -> set[frozenset[AlertId]]:
    """Which alerts are together."""
    return {frozenset(span.alert_id for span in found.spans) for found in groups}


@given(SPANS, some.randoms())
def test_grouping_does_not_depend_on_the_order(
    times: list[tuple[int, int | None]], dice: some.DrawFn
) -> None:
    spans = spans_of(times)
    shuffled = list(spans)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]  # a `random.Random`

    assert members(group(spans, GAP)) == members(group(shuffled, GAP))


@given(SPANS)
def test_groups_are_apart_and_nothing_inside_one_is(times: list[tuple[int, int | None]]) -> None:
    groups = group(spans_of(times), GAP)

    assert sum(len(found.spans) for found in groups) == len(times)
    for earlier, later in pairwise(groups):
        ends = max(span.counts_until for span in earlier.spans)
        assert later.started_at > ends + GAP


def test_an_incident_is_as_grave_as_its_gravest_alert_and_open_while_one_is() -> None:
    [found] = group(spans_of([(0, 10), (5, None), (8, 2)]), GAP)

    assert found.severity is Severity.MEDIUM
    assert found.ended_at is None
    assert found.started_at == NOW
