"""A dataset through the whole platform, as the old graphical interface sends it."""

import time

import cv2
import numpy as np

from tests.e2e.conftest import Platform


def portrait(number: int) -> bytes:
    """Something like a face."""
    pixels = np.full((320, 256, 3), 120 + number, np.uint8)
    cv2.ellipse(pixels, (128, 160), (70, 95), 0, 0, 360, (150, 175, 220), -1)
    for x in (100, 156):
        cv2.circle(pixels, (x, 140), 9, (40, 40, 60), -1)
    written, encoded = cv2.imencode(".png", pixels)
    assert written
    return encoded.tobytes()


def test_a_dataset_is_scanned_without_a_credential_on_loopback(platform: Platform) -> None:
    """Upload, task, collection, profiles, report; the administrator's data stay out of sight."""
    files = [("files", (f"{number}.png", portrait(number))) for number in range(3)]
    with platform.client() as client:
        begun = client.post("/scan/uploaded?modality=face", files=files)
        assert begun.status_code == 201, begun.text
        tid, deadline = begun.json()["tid"], time.monotonic() + 120
        while (task := client.get(f"/task/{tid}/").json())["status"] < 2:
            assert time.monotonic() < deadline, task
            time.sleep(0.2)
        profiles = client.get(f"/scan/{task['collection']}/profiles")
        report = client.get(f"/scan/{task['collection']}/report")
        purge = client.post("/purge")
        signed_in = client.get(
            f"/task/{tid}/", headers={"Authorization": f"Bearer {platform.token()}"}
        )

    assert task["status"] == 2
    assert [profile["file"] for profile in profiles.json()] == [f"temp/{n}.png" for n in range(3)]
    assert profiles.headers["vedette-evidence"] == "rules"
    assert profiles.json()[0]["image_width"] == 256
    assert report.headers["content-type"].startswith("text/html")
    assert purge.status_code == 401
    assert signed_in.status_code == 404
