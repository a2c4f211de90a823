"""Measures a running platform as its old clients and its operators see it.

    python -m bench.netra --url http://127.0.0.1:8000 --username admin --password … [--photograph F]

Three figures: how soon doAnalysis acknowledges a photograph of 1 MB on an idle platform and on one
whose workers are busy, how soon an idle worker picks a photograph up, and how long one analysis
takes. Every photograph costs a credit; the account needs some 150.
"""

import argparse
import base64
import io
import statistics
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

ANALYSES = "/api/v2/netra/analyses"


def drawn_photograph(seed: int, size_bytes: int = 1_000_000) -> bytes:
    """A lit disc with grain, as a JPEG of about `size_bytes`; no two are alike."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1:1:1424j, -1.5:1.5:2144j]
    inside = (rows**2 + columns**2 < 0.95)[..., None]
    pixels = inside * np.array([190, 90, 40]) * (1 - 0.4 * (rows**2 + columns**2))[..., None]
    pixels = pixels + inside * random.normal(0, 9, (*rows.shape, 1))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    for quality in range(98, 40, -3):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if file.tell() <= size_bytes:
            return file.getvalue() + bytes(size_bytes - file.tell())
    return file.getvalue()


class Bench:
    """A client of the platform."""

    def __init__(self, url: str, username: str, password: str, photograph: bytes | None) -> None:
        self._client = httpx.Client(base_url=url, timeout=120, trust_env=False)
        self._photograph = photograph
        self._seed = 0
        known = {"username": username, "password": password}
        token = self._client.post(
            "/api/v2/auth/token", data={"grant_type": "password", **known}
        ).raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        self._token = self._client.post("/v1/getToken", data=known).json()["token"]

    def photograph(self) -> bytes:
        """The next photograph, unlike those before."""
        self._seed += 1
        if self._photograph is None:
            return drawn_photograph(self._seed)
        return self._photograph + self._seed.to_bytes(8)

    def acknowledge(self, image: bytes) -> tuple[float, str]:
        """Seconds until doAnalysis has answered, as the document's sample calls it; the job."""
        text = f"data:image/jpeg;base64,{base64.urlsafe_b64encode(image).decode()}"
        body = {"token": self._token, "image": text, "imageName": "a.jpg"}
        request = self._client.build_request("POST", "/v1/doAnalysis", data=body)
        begun = time.perf_counter()
        answer = self._client.send(request).json()
        taken = time.perf_counter() - begun
        if answer["status"] != 200:
            raise SystemExit(answer["message"])
        return taken, answer["jobId"]

    def live(self) -> int:
        """How many analyses have not ended."""
        found = 0
        for status in ("queued", "running"):
            page = self._client.get(ANALYSES, params={"status": status, "limit": 100})
            found += len(page.raise_for_status().json()["items"])
        return found

    def until_idle(self) -> None:
        """Wait until every analysis has ended."""
        while self.live():
            time.sleep(0.2)

    def one(self, image: bytes) -> dict[str, str]:
        """One analysis, from the upload to its end."""
        answer = self._client.post(
            ANALYSES, files={"image": ("a.jpg", image)}, headers={"Prefer": "wait=60"}
        )
        found: dict[str, str] = answer.raise_for_status().json()
        return found


def seconds_between(first: str, second: str) -> float:
    """Of two instants of the API."""
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()


def show(what: str, seconds: Iterable[float]) -> None:
    """A line of the report."""
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    print(
        f"{what:<44} n {len(ordered):>3}   median {statistics.median(ordered) * 1000:7.1f} ms   "
        f"p95 {p95 * 1000:7.1f} ms"
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--username", default="admin")
    parser.add_argument("--password", required=True)
    parser.add_argument("--photograph", type=Path, help="else a drawing of 1 MB")
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args()
    photograph = options.photograph.read_bytes() if options.photograph else None
    bench = Bench(options.url, options.username, options.password, photograph)
    bench.until_idle()
    alone = [bench.one(bench.photograph()) for _ in range(options.count // 4)]
    show("picked up by an idle worker", [
        seconds_between(each["created_at"], each["started_at"]) for each in alone
    ])  # fmt: skip
    show("analysed", [
        seconds_between(each["started_at"], each["finished_at"]) for each in alone
    ])  # fmt: skip
    idle = []
    for image in [bench.photograph() for _ in range(options.count // 2)]:
        idle.append(bench.acknowledge(image)[0])
        bench.until_idle()
    show("doAnalysis acknowledged, idle", idle)
    images = [bench.photograph() for _ in range(options.count + 8)]
    for image in images[:8]:
        bench.acknowledge(image)
    busy = [bench.acknowledge(image)[0] for image in images[8:]]
    show("doAnalysis acknowledged, workers busy", busy)
    print(f"{bench.live()} analyses were still waiting at the end")


if __name__ == "__main__":
    main()
