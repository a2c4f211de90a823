"""Trucks and the devices in them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Uuid

from services.fleet.domain import Device, DeviceId, Truck, TruckId, UserId, new_id
from services.fleet.errors import EnrolmentRefused, NameTaken, NotADevice, TruckNotFound

_TRUCK: Final = """
    SELECT t.id, t.number, t.name, t.status, t.created_at, t.legal_hold,
        (SELECT account_number FROM fleet.devices WHERE truck_id = t.id
            ORDER BY account_number DESC LIMIT 1) AS account_number
    FROM fleet.trucks t
"""
_DEVICE: Final = """
    SELECT d.id, d.account_number, d.truck_id, t.number AS truck_number, d.mac,
        d.public_key IS NOT NULL AS has_key, d.created_at, d.last_seen_at, d.clock_skew_ms,
        d.last_seq, d.is_offline, d.is_disabled
    FROM fleet.devices d JOIN fleet.trucks t ON t.id = d.truck_id
"""


@dataclass(frozen=True, slots=True)
class LastAlert:
    """What the old wire tells of a truck's newest alert, and of how many there are."""

    total: int
    number: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    behavior: str | None = None


class TruckRepository:
    """Finds and keeps trucks and devices; what belongs to a viewer is asked for with its trucks."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, name: str) -> Truck:
        """A new truck; raises `NameTaken`."""
        truck_id = TruckId(new_id())
        found = await self._session.execute(
            text(
                "INSERT INTO fleet.trucks (id, name) VALUES (:id, :name)"
                " ON CONFLICT DO NOTHING RETURNING id"
            ),
            {"id": truck_id, "name": name},
        )
        if found.one_or_none() is None:
            raise NameTaken("There is a truck of this name already.")
        return await self.get(truck_id)

    async def get(self, truck_id: TruckId, *, locked: bool = False) -> Truck:
        """One truck, whoever asks; raises `TruckNotFound`."""
        row = await self._one_truck("t.id = :value", truck_id, locked=locked)
        if row is None:
            raise TruckNotFound
        return row

    async def find_by_name(self, name: str) -> Truck | None:
        """The truck of this name."""
        return await self._one_truck("t.name = :value", name)

    async def find_by_number(self, number: int) -> Truck | None:
        """The truck of this number."""
        if not 0 < number < 2**63:
            return None
        return await self._one_truck("t.number = :value", number)

    async def _one_truck(
        self, condition: str, value: object, *, locked: bool = False
    ) -> Truck | None:
        suffix = " FOR UPDATE OF t" if locked else ""
        found = await self._session.execute(
            text(f"{_TRUCK} WHERE {condition}{suffix}"), {"value": value}
        )
        row = found.mappings().one_or_none()
        return None if row is None else _to_truck(row)

    async def page(
        self,
        *,
        trucks: Collection[TruckId] | None,
        conditions: Sequence[str] = (),
        parameters: dict[str, Any] | None = None,
        order: str = "t.number DESC",
        limit: int = 10,
        offset: int = 0,
    ) -> tuple[Sequence[Truck], int]:
        """Some trucks, and how many there are; conditions and order are made of constants."""
        given: dict[str, Any] = dict(parameters or {})
        where = " AND ".join(("TRUE", *conditions))
        types = []
        if trucks is not None:
            where += " AND t.id = ANY(:trucks)"
            given["trucks"] = list(trucks)
            types.append(bindparam("trucks", type_=ARRAY(Uuid)))
        total = await self._session.scalar(
            text(f"SELECT count(*) FROM fleet.trucks t WHERE {where}").bindparams(*types),  # noqa: S608 (constants)
            given,
        )
        found = await self._session.execute(
            text(f"{_TRUCK} WHERE {where} ORDER BY {order} LIMIT :limit OFFSET :offset").bindparams(
                *types
            ),
            {**given, "limit": limit, "offset": offset},
        )
        return [_to_truck(row) for row in found.mappings()], total or 0

    async def last_alerts(
        self, trucks: Sequence[TruckId], start: datetime | None, end: datetime | None
    ) -> dict[TruckId, LastAlert]:
        """How many alerts each truck has that began between the two times, and the newest."""
        found = await self._session.execute(
            text(
                """
                SELECT DISTINCT ON (truck_id) truck_id, number, started_at, ended_at, behavior,
                    count(*) OVER (PARTITION BY truck_id) AS total
                FROM fleet.alerts
                WHERE truck_id = ANY(:trucks)
                    AND (CAST(:start AS timestamptz) IS NULL OR started_at >= :start)
                    AND (CAST(:end AS timestamptz) IS NULL OR started_at <= :end)
                ORDER BY truck_id, number DESC
                """
            ).bindparams(bindparam("trucks", type_=ARRAY(Uuid))),
            {"trucks": list(trucks), "start": start, "end": end},
        )
        return {
            row.truck_id: LastAlert(
                row.total, row.number, row.started_at, row.ended_at, row.behavior
            )
            for row in found
        }

    async def set_hold(self, truck_id: TruckId, *, held: bool) -> None:
        """Keep everything of a truck, or let it age again."""
        await self._session.execute(
            text("UPDATE fleet.trucks SET legal_hold = :held WHERE id = :id"),
            {"id": truck_id, "held": held},
        )

    # Devices.

    async def get_device(self, device_id: DeviceId) -> Device:
        """One device; raises `NotADevice` where it has no truck here."""
        found = await self._session.execute(text(f"{_DEVICE} WHERE d.id = :id"), {"id": device_id})
        row = found.mappings().one_or_none()
        if row is None or row["is_disabled"]:
            raise NotADevice("This device has no truck here.")
        return _to_device(row)

    async def find_device_by_mac(self, mac: str) -> Device | None:
        """The device that registered with this network address."""
        found = await self._session.execute(text(f"{_DEVICE} WHERE d.mac = :mac"), {"mac": mac})
        row = found.mappings().one_or_none()
        return None if row is None else _to_device(row)

    async def add_device(
        self,
        device_id: DeviceId,
        truck_id: TruckId,
        *,
        mac: str | None = None,
        public_key: bytes | None = None,
        role: str = "Limited",
    ) -> None:
        """Put a device into a truck; raises `NameTaken` where its address is another's."""
        try:
            await self._session.execute(
                text(
                    "INSERT INTO fleet.devices (id, truck_id, mac, public_key, role, last_seen_at)"
                    " VALUES (:id, :truck_id, :mac, :public_key, :role, now())"
                    " ON CONFLICT (id) DO NOTHING"
                ),
                {
                    "id": device_id, "truck_id": truck_id, "mac": mac, "public_key": public_key,
                    "role": role,
                },
            )  # fmt: skip
        except IntegrityError as error:
            raise NameTaken("Another device has this network address.") from error

    async def public_key_of(self, device_id: DeviceId) -> bytes | None:
        """The key that a device enrolled with, if it is not disabled."""
        query = text("SELECT public_key FROM fleet.devices WHERE id = :id AND NOT is_disabled")
        found: bytes | None = await self._session.scalar(query, {"id": device_id})
        return found

    async def devices_of(self, truck_id: TruckId) -> Sequence[Device]:
        """The devices of a truck, oldest first."""
        found = await self._session.execute(
            text(f"{_DEVICE} WHERE d.truck_id = :truck_id ORDER BY d.account_number"),
            {"truck_id": truck_id},
        )
        return [_to_device(row) for row in found.mappings()]

    async def disable_device(self, device_id: DeviceId, *, disabled: bool) -> Device:
        """Shut a device out, or let it in again; raises `NotADevice`."""
        await self._session.execute(
            text("UPDATE fleet.devices SET is_disabled = :disabled WHERE id = :id"),
            {"id": device_id, "disabled": disabled},
        )
        found = await self._session.execute(text(f"{_DEVICE} WHERE d.id = :id"), {"id": device_id})
        row = found.mappings().one_or_none()
        if row is None:
            raise NotADevice("There is no such device.")
        return _to_device(row)

    async def saw_device(
        self, device_id: DeviceId, skew_ms: int | None = None, seq: int | None = None
    ) -> None:
        """Remember that a device lives, how far its clock is off, and how far it has counted."""
        await self._session.execute(
            text(
                "UPDATE fleet.devices SET last_seen_at = now(),"
                " clock_skew_ms = coalesce(:skew, clock_skew_ms),"
                " last_seq = greatest(last_seq, CAST(:seq AS bigint)) WHERE id = :id"
            ),
            {"id": device_id, "skew": skew_ms, "seq": seq},
        )

    async def take_silent(self, before: datetime) -> Sequence[Device]:
        """Devices that were last seen before, each given out once until it is seen again."""
        found = await self._session.execute(
            text(
                """
                UPDATE fleet.devices SET is_offline = true
                WHERE NOT is_offline AND NOT is_disabled
                    AND coalesce(last_seen_at, created_at) < :before
                RETURNING id
                """
            ),
            {"before": before},
        )
        return await self._devices([row.id for row in found])

    async def take_returned(self, since: datetime) -> Sequence[Device]:
        """Devices that were silent and are back, each given out once."""
        found = await self._session.execute(
            text(
                "UPDATE fleet.devices SET is_offline = false"
                " WHERE is_offline AND last_seen_at >= :since RETURNING id"
            ),
            {"since": since},
        )
        return await self._devices([row.id for row in found])

    async def _devices(self, ids: Sequence[DeviceId]) -> Sequence[Device]:
        if not ids:
            return []
        found = await self._session.execute(
            text(f"{_DEVICE} WHERE d.id = ANY(:ids)").bindparams(
                bindparam("ids", type_=ARRAY(Uuid))
            ),
            {"ids": list(ids)},
        )
        return [_to_device(row) for row in found.mappings()]

    # Enrolment.

    async def add_enrolment(
        self, code_sha256: bytes, truck_id: TruckId, created_by: UserId, expires_at: datetime
    ) -> None:
        """Keep a code's digest."""
        await self._session.execute(
            text(
                "INSERT INTO fleet.enrolments (code_sha256, truck_id, created_by, expires_at)"
                " VALUES (:code, :truck_id, :created_by, :expires_at)"
            ),
            {
                "code": code_sha256, "truck_id": truck_id, "created_by": created_by,
                "expires_at": expires_at,
            },
        )  # fmt: skip

    async def use_enrolment(self, code_sha256: bytes) -> TruckId:
        """Use up a code, which works for one request alone; raises `EnrolmentRefused`."""
        found = await self._session.execute(
            text(
                "UPDATE fleet.enrolments SET used_at = now() WHERE code_sha256 = :code"
                " AND used_at IS NULL AND expires_at > now() RETURNING truck_id"
            ),
            {"code": code_sha256},
        )
        row = found.one_or_none()
        if row is None:
            raise EnrolmentRefused
        return TruckId(row.truck_id)

    async def remember_enrolled(self, code_sha256: bytes, device_id: DeviceId) -> None:
        """Say which device used a code."""
        await self._session.execute(
            text("UPDATE fleet.enrolments SET device_id = :device WHERE code_sha256 = :code"),
            {"code": code_sha256, "device": device_id},
        )

    async def find_enrolled(self, code_sha256: bytes, public_key: bytes) -> Device | None:
        """The device that used this code and has this key, while the code would still be good."""
        found = await self._session.execute(
            text(
                f"{_DEVICE} JOIN fleet.enrolments e ON e.device_id = d.id"
                " WHERE e.code_sha256 = :code AND e.expires_at > now()"
                " AND d.public_key = :key AND NOT d.is_disabled"
            ),
            {"code": code_sha256, "key": public_key},
        )
        row = found.mappings().one_or_none()
        return None if row is None else _to_device(row)

    async def use_challenge(self, nonce: bytes, expires_at: datetime) -> bool:
        """Use up a challenge; False when it was used before."""
        await self._session.execute(
            text("DELETE FROM fleet.used_challenges WHERE expires_at < now()")
        )
        found = await self._session.execute(
            text(
                "INSERT INTO fleet.used_challenges (nonce, expires_at) VALUES (:nonce, :expires_at)"
                " ON CONFLICT DO NOTHING RETURNING nonce"
            ),
            {"nonce": nonce, "expires_at": expires_at},
        )
        return found.one_or_none() is not None


def _to_truck(row: RowMapping) -> Truck:
    return Truck(
        id=row["id"],
        number=row["number"],
        name=row["name"],
        status=row["status"],
        account_number=row["account_number"],
        created_at=row["created_at"],
        legal_hold=row["legal_hold"],
    )


def _to_device(row: RowMapping) -> Device:
    return Device(
        id=row["id"],
        account_number=row["account_number"],
        truck_id=row["truck_id"],
        truck_number=row["truck_number"],
        mac=row["mac"],
        has_key=row["has_key"],
        created_at=row["created_at"],
        last_seen_at=row["last_seen_at"],
        clock_skew_ms=row["clock_skew_ms"],
        last_seq=row["last_seq"],
        is_offline=row["is_offline"],
        is_disabled=row["is_disabled"],
    )
