"""Devices in the database."""

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.domain import Device, DeviceId
from services.auth.errors import DeviceNotFound
from services.auth.tables import DeviceRow


class DeviceRepository:
    """Finds and keeps devices."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, device: Device) -> bool:
        """Keep a new device; False when its name is taken."""
        added = await self._session.execute(
            insert(DeviceRow)
            .values(
                id=device.id,
                name=device.name,
                password_hash=device.password_hash,
                created_at=device.created_at,
                disabled_at=device.disabled_at,
                tokens_valid_from=device.tokens_valid_from,
            )
            .on_conflict_do_nothing(index_elements=[DeviceRow.name])
            .returning(DeviceRow.id)
        )
        return added.scalar_one_or_none() is not None

    async def find_by_name(self, name: str) -> Device | None:
        """The device that registered under exactly this name."""
        row = await self._session.scalar(select(DeviceRow).where(DeviceRow.name == name))
        return None if row is None else _to_device(row)

    async def get_steady(self, device_id: DeviceId, *, changing: bool = False) -> Device:
        """The device, which nobody changes until the transaction ends.

        Raises:
            DeviceNotFound: there is none with this identifier.
        """
        row = await self._session.scalar(
            select(DeviceRow).where(DeviceRow.id == device_id).with_for_update(read=not changing)
        )
        if row is None:
            raise DeviceNotFound("There is no device with this identifier.")
        return _to_device(row)

    async def save(self, device: Device) -> None:
        """Write what can change of a device."""
        await self._session.execute(
            update(DeviceRow)
            .where(DeviceRow.id == device.id)
            .values(disabled_at=device.disabled_at, tokens_valid_from=device.tokens_valid_from)
        )


def _to_device(row: DeviceRow) -> Device:
    return Device(
        id=DeviceId(row.id),
        name=row.name,
        password_hash=row.password_hash,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        tokens_valid_from=row.tokens_valid_from,
    )
