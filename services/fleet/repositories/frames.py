"""Frames: written many at a time, read one page at a time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import BigInteger, Boolean, DateTime, Integer, Text, Uuid

from services.fleet.domain import AlertId, Frame, Mark, NewFrame, Pack, StoredFrame, TruckId
from services.fleet.repositories.events import FRAMES_CHANNEL

_FRAME: Final = """
    SELECT f.number, f.alert_id, a.number AS alert_number, f.truck_id, t.number AS truck_number,
        f.taken_at, f.stated_at, f.received_at, f.frame_index, f.seq, f.sha256, f.pack_sha256,
        f.pack_offset, f.size_bytes,
        f.marks
    FROM fleet.frames f JOIN fleet.trucks t ON t.id = f.truck_id
    LEFT JOIN fleet.alerts a ON a.id = f.alert_id
"""

# One statement stores what it may and tells for each frame why the others are not stored. A frame
# is for an alert of its own device, or for its own device's truck, and for nothing else.
_STORE: Final = text(
    """
    WITH sent AS (
        SELECT * FROM unnest(:places, :devices, :alert_numbers, :alert_ids, :truck_numbers,
            :open_only, :taken, :stated, :indexes, :seqs, :sha256s, :packs, :offsets, :sizes,
            :marks, :dedupes)
            AS s(place, device_id, alert_number, alert_id, truck_number, open_only, taken_at,
                stated_at, frame_index, seq, sha256, pack_sha256, pack_offset, size_bytes, marks,
                dedupe)
    ), known AS (
        SELECT s.*, d.truck_id AS own_truck, coalesce(a.id, b.id) AS known_alert,
            coalesce(s.seq < d.last_seq, false) AS is_behind,
            CASE
                WHEN d.id IS NULL THEN 'device'
                WHEN s.alert_number IS NULL AND s.alert_id IS NULL AND s.truck_number IS NOT NULL
                    AND s.truck_number IS DISTINCT FROM t.number THEN 'truck'
                WHEN s.alert_number IS NULL AND s.alert_id IS NULL THEN ''
                WHEN a.id IS NULL AND b.id IS NULL THEN 'alert'
                WHEN coalesce(a.device_id, b.device_id) IS DISTINCT FROM d.id THEN 'foreign'
                WHEN s.open_only AND coalesce(a.ended_at, b.ended_at) IS NOT NULL THEN 'over'
                ELSE ''
            END AS refusal
        FROM sent s
        LEFT JOIN fleet.devices d ON d.id = s.device_id AND NOT d.is_disabled
        LEFT JOIN fleet.trucks t ON t.id = d.truck_id
        LEFT JOIN fleet.alerts a ON a.number = s.alert_number
        LEFT JOIN fleet.alerts b ON b.id = s.alert_id
    ), stored AS (
        INSERT INTO fleet.frames (alert_id, truck_id, device_id, taken_at, stated_at, frame_index,
            seq, sha256, pack_sha256, pack_offset, size_bytes, marks, dedupe)
        SELECT known_alert, own_truck, device_id, taken_at, stated_at, frame_index, seq, sha256,
            pack_sha256, pack_offset, size_bytes, string_to_array(nullif(marks, ''), ',')
                || CASE WHEN is_behind THEN ARRAY['out_of_order'] ELSE '{}' END, dedupe
        FROM known WHERE refusal = '' ORDER BY place
        ON CONFLICT (dedupe) DO NOTHING
        RETURNING number, dedupe
    ), seen AS (
        UPDATE fleet.devices d
        SET last_seen_at = now(), last_seq = greatest(d.last_seq, highest.seq)
        FROM (
            SELECT device_id, max(seq) AS seq FROM known WHERE refusal = '' GROUP BY device_id
        ) AS highest
        WHERE d.id = highest.device_id
            AND (d.last_seen_at IS NULL OR d.last_seen_at < now() - interval '5 seconds'
                OR highest.seq > coalesce(d.last_seq, -1))
    ), told AS (
        SELECT pg_notify(:channel, string_agg(DISTINCT own_truck::text, ','))
        FROM known WHERE refusal = '' HAVING count(*) > 0
    )
    SELECT k.place, k.refusal, k.own_truck, k.known_alert, k.sha256, s.number, o.number AS earlier,
        o.sha256 AS earlier_sha256, o.alert_id AS earlier_alert, (SELECT count(*) FROM told) AS told
    FROM known k
    LEFT JOIN stored s ON s.dedupe = k.dedupe
    LEFT JOIN fleet.frames o ON o.dedupe = k.dedupe
    ORDER BY k.place
    """
).bindparams(
    bindparam("places", type_=ARRAY(Integer)),
    bindparam("devices", type_=ARRAY(Uuid)),
    bindparam("alert_numbers", type_=ARRAY(BigInteger)),
    bindparam("alert_ids", type_=ARRAY(Uuid)),
    bindparam("truck_numbers", type_=ARRAY(BigInteger)),
    bindparam("open_only", type_=ARRAY(Boolean)),
    bindparam("taken", type_=ARRAY(DateTime(timezone=True))),
    bindparam("stated", type_=ARRAY(DateTime(timezone=True))),
    bindparam("indexes", type_=ARRAY(Integer)),
    bindparam("seqs", type_=ARRAY(BigInteger)),
    bindparam("sha256s", type_=ARRAY(Text)),
    bindparam("packs", type_=ARRAY(Text)),
    bindparam("offsets", type_=ARRAY(Integer)),
    bindparam("sizes", type_=ARRAY(Integer)),
    bindparam("marks", type_=ARRAY(Text)),
    bindparam("dedupes", type_=ARRAY(Uuid)),
)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a frame was not stored: `device`, `truck`, `alert`, `foreign`, `over` or `reused`."""

    reason: str


class FrameRepository:
    """Finds and keeps frames."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def store(self, frames: Sequence[tuple[NewFrame, Pack]]) -> list[StoredFrame | Refused]:
        """Keep frames, whose pictures are in the store at the place beside each.

        A frame that was stored before, by the same key, is told with its earlier number.
        """
        columns: dict[str, list[Any]] = {
            "places": list(range(len(frames))),
            "devices": [frame.device_id for frame, _ in frames],
            "alert_numbers": [frame.alert_number for frame, _ in frames],
            "alert_ids": [frame.alert_id for frame, _ in frames],
            "truck_numbers": [frame.truck_number for frame, _ in frames],
            "open_only": [frame.needs_open_alert for frame, _ in frames],
            "taken": [frame.dated.at for frame, _ in frames],
            "stated": [frame.dated.stated_at for frame, _ in frames],
            "indexes": [frame.index for frame, _ in frames],
            "seqs": [frame.seq for frame, _ in frames],
            "sha256s": [frame.sha256 for frame, _ in frames],
            "packs": [pack.sha256 for _, pack in frames],
            "offsets": [pack.offset for _, pack in frames],
            "sizes": [len(frame.content) for frame, _ in frames],
            "marks": [",".join(sorted(frame.marks | frame.dated.marks)) for frame, _ in frames],
            "dedupes": [frame.dedupe for frame, _ in frames],
        }
        found = await self._session.execute(_STORE, {**columns, "channel": FRAMES_CHANNEL})
        return [_outcome(row) for row in found.mappings()]

    async def find(self, number: int) -> Frame | None:
        """The frame of this number, whoever asks."""
        if not 0 < number < 2**63:
            return None
        found = await self._session.execute(
            text(f"{_FRAME} WHERE f.number = :number"), {"number": number}
        )
        row = found.mappings().one_or_none()
        return None if row is None else _to_frame(row)

    async def of_alert(
        self,
        alert_id: AlertId,
        *,
        conditions: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        limit: int = 5,
        offset: int = 0,
    ) -> Sequence[Frame]:
        """Frames of an alert, newest first; conditions are constants."""
        where = " AND ".join(("f.alert_id = :alert_id", *conditions))
        found = await self._session.execute(
            text(f"{_FRAME} WHERE {where} ORDER BY f.number DESC LIMIT :limit OFFSET :offset"),
            {**(parameters or {}), "alert_id": alert_id, "limit": limit, "offset": offset},
        )
        return [_to_frame(row) for row in found.mappings()]

    async def last_of(self, truck_id: TruckId) -> Frame | None:
        """The newest frame of a truck; what is dated a day ahead does not hide the others."""
        found = await self._session.execute(
            text(
                f"{_FRAME} WHERE f.truck_id = :truck_id AND f.taken_at < now() + interval '1 day'"
                " ORDER BY f.taken_at DESC, f.number DESC LIMIT 1"
            ),
            {"truck_id": truck_id},
        )
        row = found.mappings().one_or_none()
        return None if row is None else _to_frame(row)

    async def referenced(self, sha256s: Sequence[str]) -> set[str]:
        """Which of these objects hold the picture of a frame."""
        found = await self._session.execute(
            text(
                "SELECT DISTINCT pack_sha256 FROM fleet.frames WHERE pack_sha256 = ANY(:names)"
            ).bindparams(bindparam("names", type_=ARRAY(Text))),
            {"names": list(sha256s)},
        )
        return {row.pack_sha256 for row in found}

    async def note_camera(
        self, truck_id: TruckId, faults: Collection[str], frame_number: int,
        brightness: float, contrast: float, sharpness: float,
    ) -> bool:  # fmt: skip
        """Keep what a truck's picture looks like; tells whether its faults are others than before.

        Processes that judge the same truck take turns, so that a change is told once.
        """
        await self._session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 1))"),
            {"name": str(truck_id)},
        )
        before = await self._session.scalar(
            text("SELECT faults FROM fleet.cameras WHERE truck_id = :id"), {"id": truck_id}
        )
        await self._session.execute(
            text(
                """
                INSERT INTO fleet.cameras AS c (truck_id, faults, since, checked_at, frame_number,
                    brightness, contrast, sharpness)
                VALUES (:id, :faults, now(), now(), :number, :brightness, :contrast, :sharpness)
                ON CONFLICT (truck_id) DO UPDATE SET faults = excluded.faults,
                    since = CASE WHEN c.faults = excluded.faults THEN c.since ELSE now() END,
                    checked_at = now(), frame_number = excluded.frame_number,
                    brightness = excluded.brightness, contrast = excluded.contrast,
                    sharpness = excluded.sharpness
                """
            ),
            {
                "id": truck_id, "faults": sorted(faults), "number": frame_number,
                "brightness": brightness, "contrast": contrast, "sharpness": sharpness,
            },
        )  # fmt: skip
        return (before or []) != sorted(faults)

    async def camera_of(self, truck_id: TruckId) -> RowMapping | None:
        """What a truck's picture looked like last."""
        found = await self._session.execute(
            text(
                "SELECT faults, since, checked_at, frame_number, brightness, contrast, sharpness"
                " FROM fleet.cameras WHERE truck_id = :id"
            ),
            {"id": truck_id},
        )
        return found.mappings().one_or_none()

    async def forget_before(self, safe: datetime, of_alerts: datetime, limit: int) -> int:
        """Delete some of the frames that are too old, unless something holds them."""
        found = await self._session.execute(
            text(
                """
                DELETE FROM fleet.frames WHERE number IN (
                    SELECT f.number FROM fleet.frames f JOIN fleet.trucks t ON t.id = f.truck_id
                    LEFT JOIN fleet.alerts a ON a.id = f.alert_id
                    WHERE NOT t.legal_hold AND NOT coalesce(a.legal_hold, false)
                        AND f.received_at
                            < CASE WHEN f.alert_id IS NULL THEN CAST(:safe AS timestamptz)
                                ELSE CAST(:of_alerts AS timestamptz) END
                    ORDER BY f.received_at LIMIT :limit
                ) RETURNING number
                """
            ),
            {"safe": safe, "of_alerts": of_alerts, "limit": limit},
        )
        return len(found.all())


def _outcome(row: RowMapping) -> StoredFrame | Refused:
    if row["refusal"]:
        return Refused(row["refusal"])
    if row["number"] is not None:
        return StoredFrame(row["number"], row["own_truck"], row["known_alert"])
    if row["earlier"] is None:
        # Another transaction holds the same key and has committed since this one began to read.
        return Refused("again")
    if row["earlier_sha256"] != row["sha256"] or row["earlier_alert"] != row["known_alert"]:
        return Refused("reused")
    return StoredFrame(row["earlier"], row["own_truck"], row["known_alert"], is_repeated=True)


def _to_frame(row: RowMapping) -> Frame:
    return Frame(
        number=row["number"],
        alert_id=row["alert_id"],
        alert_number=row["alert_number"],
        truck_id=row["truck_id"],
        truck_number=row["truck_number"],
        taken_at=row["taken_at"],
        stated_at=row["stated_at"],
        received_at=row["received_at"],
        index=row["frame_index"],
        seq=row["seq"],
        sha256=row["sha256"],
        pack=Pack(row["pack_sha256"], row["pack_offset"]),
        size_bytes=row["size_bytes"],
        marks=frozenset(Mark(mark) for mark in row["marks"] if mark),
    )
