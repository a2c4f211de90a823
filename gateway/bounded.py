"""A mapping that forgets what was not used for long, so that no client can make it grow."""

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedMap(Generic[Key, Value]):
    """Remembers the values that were used most recently, at most `capacity` of them.

    Two generations instead of one ordered list: what is used moves to the young generation, and
    when that is full the old one is forgotten. Every operation is one or two dictionary look-ups.
    """

    def __init__(self, capacity: int) -> None:
        self._half = max(1, capacity // 2)
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """The value kept for `key`, which counts as a use."""
        value = self._young.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep `value` for `key`."""
        if len(self._young) >= self._half and key not in self._young:
            self._old = self._young
            self._young = {}
        self._young[key] = value

    def discard(self, key: Key) -> None:
        """Forget `key`."""
        self._young.pop(key, None)
        self._old.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._young.clear()
        self._old.clear()

    def __len__(self) -> int:
        """How many entries are kept; one that was renewed may be counted twice."""
        return len(self._young) + len(self._old)
