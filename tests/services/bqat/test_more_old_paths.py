"""Less travelled paths of the old API."""

import base64
from collections.abc import Mapping
from uuid import uuid4

import cv2
import numpy as np

from tests.services.bqat.support import Bqat, face

Headers = Mapping[str, str]


def picture(side_px: int = 200) -> bytes:
    """A small picture with something in it."""
    pixels = np.zeros((side_px, side_px // 2, 3), np.uint8)
    cv2.circle(pixels, (side_px // 4, side_px // 2), side_px // 5, (10, 200, 90), -1)
    written, encoded = cv2.imencode(".png", pixels)
    assert written
    return encoded.tobytes()


async def test_pictures_are_resized_and_converted(bqat: Bqat, me: Headers) -> None:
    """Into a folder of their own; what is no picture is left out and counted (Q14)."""
    source, target = f"in-{uuid4().hex}", f"data/out-{uuid4().hex}"
    (bqat.data / source / "inner").mkdir(parents=True)
    (bqat.data / source / "inner" / "a.png").write_bytes(picture())
    (bqat.data / source / "b.png").write_bytes(b"none")
    order = {
        "source": f"data/{source}",
        "target": target,
        "options": {"resize": 50, "convert": "jpg", "mode": "greyscale"},
    }
    begun = await bqat.client.post("/scan/preprocessing", json=order, headers=me)
    tid = begun.json()["Preprocessing task in progress"]
    await bqat.finish(me, tid)
    shown = await bqat.client.get(f"/scan/preprocessing/{tid}", headers=me)
    made = cv2.imread(str(bqat.data / target.removeprefix("data/") / "inner" / "a.jpg"), -1)
    deleted = await bqat.client.delete(f"/scan/preprocessing/{tid}/log", headers=me)
    gone = await bqat.client.get(f"/scan/preprocessing/{tid}", headers=me)

    assert begun.status_code == 202
    assert made is not None
    assert made.shape == (100, 50)
    assert (shown.status_code, shown.json()["status"], shown.json()["target"]) == (200, 2, target)
    assert deleted.json() == {"info": f"Preprocessing log of [{tid}] deleted."}
    assert gone.status_code == 404


async def test_a_task_that_waits_can_be_edited(bqat: Bqat, me: Headers) -> None:
    """One that is done cannot (Q15)."""
    answer = await bqat.client.post(
        "/scan/remote",
        params={"modality": "face", "trigger": "false"},
        files=[("files", ("a.jpg", face(60)))],
        headers=me,
    )
    path = f"/task/{answer.json()['tid']}"
    edit = {"options": {"mode": "face", "confidence": 0.5}}
    edited = await bqat.client.put(path, json=edit, headers=me)
    bad = await bqat.client.put(path, json={"options": {"pattern": "("}}, headers=me)
    await bqat.client.post("/scan/resume", headers=me)
    await bqat.finish(me, answer.json()["tid"])
    late = await bqat.client.put(path, json=edit, headers=me)

    assert edited.json()["options"]["confidence"] == 0.5
    assert (bad.status_code, late.status_code) == (422, 409)


async def test_two_files_of_one_name_are_two_profiles(bqat: Bqat, me: Headers) -> None:
    """The second gets a number (Q21)."""
    answer = await bqat.client.post(
        "/scan/uploaded?modality=face",
        files=[("files", ("a.jpg", face(1))), ("files", ("a.jpg", face(2)))],
        headers=me,
    )
    task = await bqat.finish(me, answer.json()["tid"])
    profiles = (await bqat.client.get(f"/scan/{task['collection']}/profiles", headers=me)).json()
    assert [(each["file"], each["ipd"]) for each in profiles] == [
        ("temp/a.jpg", 1),
        ("temp/a-2.jpg", 2),
    ]


async def test_a_picture_becomes_a_thumbnail(bqat: Bqat, me: Headers) -> None:
    """At most 128 pixels wide or high, as a data URI; text that is no picture is refused."""
    body = {"file": base64.b64encode(picture(400)).decode(), "format": "png"}
    answer = await bqat.client.post("/convert", json=body, headers=me)
    bad = await bqat.client.post("/convert", json={"file": "aGVsbG8="}, headers=me)
    text = answer.json()
    assert text.startswith("data:image/png;base64,")
    content = np.frombuffer(base64.b64decode(text.partition(",")[2]), np.uint8)
    small = cv2.imdecode(content, -1)
    assert small is not None
    assert small.shape[:2] == (128, 64)
    assert 400 <= bad.status_code < 500


async def test_the_data_folder_is_shown_as_links_and_files(bqat: Bqat, me: Headers) -> None:
    """Names are text, files are not run, and what no browser shows is a download."""
    folder = bqat.data / f"set-{uuid4().hex}"
    folder.mkdir()
    (folder / "a b.png").write_bytes(picture())
    (folder / "<script>.html").write_text("<script>alert(1)</script>")
    listing = await bqat.client.get(f"/warehouse/data/{folder.name}/", headers=me)
    image = await bqat.client.get(f"/warehouse/data/{folder.name}/a%20b.png", headers=me)
    page = await bqat.client.get(f"/warehouse/data/{folder.name}/%3Cscript%3E.html", headers=me)

    assert f"/warehouse/data/{folder.name}/a%20b.png" in listing.text
    assert "<script>" not in listing.text
    assert image.headers["content-type"] == "image/png"
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"] == "attachment"


async def test_what_runs_and_what_waits_is_told(bqat: Bqat, me: Headers) -> None:
    """Nothing, where there is nothing."""
    status = await bqat.client.get("/scan/status", headers=me)
    pending = await bqat.client.get("/task/pending", headers=me)
    start = await bqat.client.post("/task/report/start", headers=me)
    resume = await bqat.client.post("/scan/resume", headers=me)

    assert (status.status_code, status.json()) == (202, {"status": "No task in the queue"})
    assert pending.json() == {}
    assert (start.status_code, start.json()) == (404, {"detail": "Report queue is empty"})
    assert (resume.status_code, resume.json()) == (404, {"detail": "Task queue is empty"})


async def test_the_form_of_a_last_slash_does_not_matter(bqat: Bqat, me: Headers) -> None:
    """FastAPI leads from one form to the other, with 307 that keeps the method."""
    answer = await bqat.client.get("/task", headers=me)
    assert answer.status_code == 307
    assert answer.headers["location"].endswith("/task/")
