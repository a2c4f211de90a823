"""Passwords: which are good enough, and how they are hashed without stopping anything else."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from services.auth.errors import (
    HashingBusy,
    PasswordInvalid,
    PasswordTooCommon,
    PasswordTooLong,
    PasswordTooShort,
)

MODERN_MIN_CHARACTERS: Final = 12
LEGACY_MIN_CHARACTERS: Final = 8
#: argon2 reads all of it, so this bounds the work; 64 characters of any script fit (ASVS 6.2.9).
MAX_BYTES: Final = 1024

#: Argon2id with 19 MiB, 2 passes, 1 lane: OWASP Password Storage Cheat Sheet (2025), of its
#: equivalent choices the one that keeps two hashes at once below 40 MiB on a small machine.
MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
LANES: Final = 1

#: Logins that may wait for each hash that runs; at 30 ms a hash that is a wait below a second.
WAITING_PER_SLOT: Final = 24

P = ParamSpec("P")
T = TypeVar("T")

# What the words of leaked passwords' lists have in common, written as rules: one common word,
# perhaps spelt with digits, repeated or followed by digits and marks; one character again and
# again; keys that lie side by side.
_COMMON_WORDS: Final = frozenset(
    """
    password passwort motdepasse contrasena letmein welcome admin administrator root user
    guest login master secret changeme default test testing demo access qwerty qwertz azerty
    iloveyou dragon monkey football baseball basketball superman batman princess sunshine
    shadow trustno michael jordan hello whatever freedom starwars pokemon computer internet
    google facebook summer winter spring autumn flower cheese hunter killer mustang
    vedette doctor hospital radiology clinic
    """.split()  # noqa: SIM905  # sixty words read better as a paragraph than as a list
)
_SEQUENCES: Final = (
    "01234567890123456789",
    "98765432109876543210",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "q1w2e3r4t5y6u7i8o9p0",
)
_LEET: Final = str.maketrans("013457@$!", "oleastasi")
_TRAILING_NOISE = re.compile(r"[\d\W_]+$")


def check_password(password: str, *, min_characters: int) -> None:
    """Refuse what is too short or too long for anybody's account.

    Raises:
        PasswordTooShort, PasswordTooLong: as they say.
    """
    check_size(password)
    if len(password) < min_characters:
        raise PasswordTooShort(
            f"A password needs at least {min_characters} characters.", min_characters=min_characters
        )


def check_new_password(password: str, *, username: str) -> None:
    """Refuse what the modern API does not let anybody choose.

    Raises:
        PasswordTooShort, PasswordTooLong, PasswordTooCommon: as they say.
    """
    check_password(password, min_characters=MODERN_MIN_CHARACTERS)
    if is_common(password, username=username):
        raise PasswordTooCommon("This password is among those that are tried first.")


def check_size(password: str) -> None:
    """Refuse a password that nobody hashes.

    Raises:
        PasswordTooLong: it has more than 1,024 bytes.
        PasswordInvalid: it is no text that can be encoded.
    """
    try:
        encoded = password.encode()
    except UnicodeEncodeError as error:
        raise PasswordInvalid("A password consists of Unicode characters.") from error
    if len(encoded) > MAX_BYTES:
        raise PasswordTooLong(f"A password has at most {MAX_BYTES} bytes.")


def is_common(password: str, *, username: str) -> bool:
    """Whether `password` is a word of the usual lists, a pattern, or the account's own name."""
    lowered = password.lower()
    stem = _TRAILING_NOISE.sub("", lowered)
    if len(set(lowered)) <= 3 or _is_sequence(lowered) or (len(stem) >= 4 and _is_sequence(stem)):
        return True
    words = _COMMON_WORDS | {username.lower()}
    return any(
        _is_repetition(candidate, words)
        for candidate in (lowered, stem, lowered.translate(_LEET), stem.translate(_LEET))
    )


def is_default(password: str, *, username: str) -> bool:
    """Whether `password` is what devices are delivered with: a word alone, a name, a pattern."""
    lowered = password.lower()
    words = _COMMON_WORDS | {username.lower()}
    return len(set(lowered)) <= 3 or _is_sequence(lowered) or _is_repetition(lowered, words)


def _is_sequence(text: str) -> bool:
    return any(text in sequence * 2 for sequence in _SEQUENCES)


def _is_repetition(text: str, words: frozenset[str]) -> bool:
    return any(text == word * max(1, len(text) // len(word)) for word in words)


class PasswordHasher:
    """Argon2id in a few threads with a short queue, so that logins cannot starve the rest."""

    def __init__(
        self,
        *,
        slots: int,
        memory_kib: int = MEMORY_KIB,
        passes: int = PASSES,
        waiting_per_slot: int = WAITING_PER_SLOT,
    ) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=LANES
        )
        # Threads of its own, no more than there are slots: each keeps the memory of one hash,
        # and what anyio's many threads would keep adds up to hundreds of megabytes.
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="argon2")
        self._max_waiting = slots * waiting_per_slot
        self._in_flight = 0
        # Compared with when there is no account, so that its absence takes as long.
        self._nobodys_hash = self._argon2.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """The encoded hash, with parameters and salt.

        Raises:
            HashingBusy: too many others wait.
        """
        return await self._in_thread(self._argon2.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether `password` is the one; takes as long when there is no hash at all.

        Raises:
            HashingBusy: too many others wait.
        """
        return await self._in_thread(self._verify, password_hash, password)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._argon2.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str | None, password: str) -> bool:
        try:
            compared = self._nobodys_hash if password_hash is None else password_hash
            return self._argon2.verify(compared, password) and password_hash is not None
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._in_flight >= self._max_waiting:
            raise HashingBusy("Too many logins are being checked; try again in a moment.")
        self._in_flight += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, partial(work, *args, **kwargs)
            )
        finally:
            self._in_flight -= 1
