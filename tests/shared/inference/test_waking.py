"""Who began to wait last is woken first, and nobody is forgotten."""

import threading

from shared.inference.waking import LatestFirst


def test_who_began_to_wait_last_is_woken_first() -> None:
    """What it touched is still in its core's cache."""
    condition = LatestFirst()
    woken: list[int] = []
    waiting = threading.Semaphore(0)

    def wait(number: int) -> None:
        with condition:
            waiting.release()
            condition.wait()
            woken.append(number)
            waiting.release()

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
        waiting.acquire(timeout=20)
    for _ in range(2):
        with condition:
            condition.notify()
        waiting.acquire(timeout=20)
    with condition:
        condition.notify_all()
    for thread in threads:
        thread.join(20)

    assert woken == [2, 1, 0]


def test_notifying_nobody_is_forgotten() -> None:
    """As with every condition: who comes later has looked before it waits."""
    condition = LatestFirst()
    with condition:
        condition.notify(3)
        condition.notify_all()

    woken = threading.Event()
    is_waiting = threading.Event()

    def wait() -> None:
        with condition:
            is_waiting.set()
            condition.wait()
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    is_waiting.wait(20)
    with condition:
        assert not woken.is_set()
        condition.notify()
    thread.join(20)

    assert woken.is_set()
