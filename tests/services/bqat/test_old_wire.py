"""The old API, as its graphical interface and the readers of its document use it."""

import asyncio
import io
import zipfile
from collections.abc import Mapping
from uuid import uuid4

import pytest

from services.bqat.domain import tag_of
from tests.services.bqat.support import Bqat, as_caller, caller, face, sample, stranger

Headers = Mapping[str, str]


async def test_the_interface_s_own_sequence_works(bqat: Bqat, me: Headers) -> None:
    """Upload, task, collection, profiles; the interface splits `file` at `temp/` (Q3)."""
    answer = await bqat.client.post(
        "/scan/uploaded?modality=face",
        files=[("files", ("12347.jpg", face(48))), ("files", ("9.jpg", face(50)))],
        headers=me,
    )
    assert answer.status_code == 201
    assert list(answer.json()) == ["tid"]
    task = await bqat.finish(me, answer.json()["tid"])
    profiles = (await bqat.client.get(f"/scan/{task['collection']}/profiles", headers=me)).json()

    assert task["status"] == 2
    assert (task["input"], task["finished"]) == (2, 2)
    assert task["options"]["mode"] == "face"
    assert task["options"]["uploaded"] is True
    assert [profile["file"].split("temp/")[1] for profile in profiles] == ["12347.jpg", "9.jpg"]
    assert list(profiles[0])[:3] == ["file", "image_height", "confidence"]
    assert profiles[0]["ipd"] == 48
    assert profiles[0]["eye_closed_left"] is False
    assert profiles[0]["yaw_pose"] == "Right"


async def test_both_names_of_the_confidence_are_there(bqat: Bqat, me: Headers) -> None:
    """The document's readers want `confidence`, version 1.4's want `face_detection` (Q4)."""
    collection = await bqat.scanned(me, {"a.png": face(60)})
    (profile,) = (await bqat.client.get(f"/scan/{collection}/profiles", headers=me)).json()

    assert profile["confidence"] == profile["face_detection"] == 0.86


async def test_an_unreadable_file_fails_itself_and_not_the_scan(bqat: Bqat, me: Headers) -> None:
    """A killed process, an engine's bug and garbage each cost one profile."""
    files = {
        "good.jpg": face(60),
        "garbage.jpg": b"\xff\xd8 no",
        "deadly.jpg": sample(die=True),
        "bug.jpg": sample(**{"raise": True}),
        "also-good.jpg": face(61),
    }
    collection = await bqat.scanned(me, files)
    profiles = (await bqat.client.get(f"/scan/{collection}/profiles", headers=me)).json()

    found = {profile["file"]: profile for profile in profiles}
    assert len(found) == 5
    assert found["temp/good.jpg"]["ipd"] == 60
    assert found["temp/also-good.jpg"]["ipd"] == 61
    assert found["temp/garbage.jpg"]["log"] == [{"load image": "The bytes are no sample."}]
    assert found["temp/deadly.jpg"]["error"] == ["The sample ended the process that read it."]
    assert found["temp/bug.jpg"]["error"] == ["The engine failed (ZeroDivisionError)."]


async def test_what_was_decided_on_the_way_is_the_log_at_the_end(bqat: Bqat, me: Headers) -> None:
    """A list of objects with one key."""
    order = sample(profile={"quality": 70.0}, errors=["convert: jp2 -> png", "odd"])
    collection = await bqat.scanned(me, {"a.jp2": order})
    (profile,) = (await bqat.client.get(f"/scan/{collection}/profiles", headers=me)).json()

    assert profile["log"] == [{"convert": "jp2 -> png"}, {"note": "odd"}]
    assert list(profile)[-2:] == ["log", "tag"]


async def test_profiles_come_in_pages_and_are_counted(bqat: Bqat, me: Headers) -> None:
    """In the order of the files, over the chunks; 0 is no limit."""
    collection = await bqat.scanned(me, {f"{n:02}.jpg": face(50 + n) for n in range(25)})
    path = f"/scan/{collection}/profiles"
    everything = (await bqat.client.get(path, headers=me)).json()
    page = (await bqat.client.get(path, params={"skip": 8, "limit": 5}, headers=me)).json()
    count = (await bqat.client.get(f"{path}/count", headers=me)).json()

    assert [profile["ipd"] for profile in everything] == list(range(50, 75))
    assert page == everything[8:13]
    assert count == 25
    assert (await bqat.client.get("/scan/unknown/profiles", headers=me)).json() == []
    assert (await bqat.client.get("/scan/unknown/profiles/count", headers=me)).json() == 0


async def test_one_profile_is_found_and_deleted_by_the_sha1_of_its_file(
    bqat: Bqat, me: Headers
) -> None:
    """As version 1.3 did."""
    collection = await bqat.scanned(me, {"a.jpg": face(60), "b.jpg": face(61)})
    path = f"/scan/{collection}/profiles/{tag_of('temp/a.jpg')}"
    shown = await bqat.client.get(path, headers=me)
    deleted = await bqat.client.delete(path, headers=me)
    gone = await bqat.client.get(path, headers=me)
    again = await bqat.client.delete(path, headers=me)

    assert shown.json()["ipd"] == 60
    assert deleted.json() == {"info": f"Image profile [{tag_of('temp/a.jpg')}] deleted"}
    assert (gone.status_code, gone.json()["detail"]) == (
        404,
        f"Image profile of [{tag_of('temp/a.jpg')}] not found",
    )
    assert again.json()["detail"] == f"Image profile [{tag_of('temp/a.jpg')}] not found"


async def test_outliers_and_report_are_made_when_they_are_asked_for(
    bqat: Bqat, me: Headers
) -> None:
    """Nobody has to POST first (Q5); an outlier is its whole profile with a score and a reason."""
    files = {f"{n:02}.jpg": face(60 + n % 5) for n in range(30)}
    files["odd.jpg"] = face(400)
    files["none.jpg"] = b"nothing"
    collection = await bqat.scanned(me, files)
    outliers = (await bqat.client.get(f"/scan/{collection}/outliers", headers=me)).json()
    report = await bqat.client.get(f"/scan/{collection}/report", headers=me)

    assert outliers[0]["file"] == "temp/odd.jpg"
    assert outliers[0]["ipd"] == 400
    assert outliers[0]["score"] > 0
    assert next(iter(outliers[0]["contributions"])) in {"ipd", "pitch_degree", "roll_degree"}
    assert outliers[-1]["file"] == "temp/none.jpg"
    assert outliers[-1]["score"] == -1
    assert report.status_code == 200
    assert report.headers["content-type"].startswith("text/html")
    assert "Distance between the pupils" in report.text
    assert "Eyes closed" in report.text


async def test_outliers_of_a_dataset_too_small_are_an_empty_array(bqat: Bqat, me: Headers) -> None:
    """Where the old server answered 500."""
    collection = await bqat.scanned(me, {"a.jpg": face(60)})
    answer = await bqat.client.get(f"/scan/{collection}/outliers", headers=me)
    assert (answer.status_code, answer.json()) == (200, [])


async def test_outliers_and_report_are_made_as_tasks_too(bqat: Bqat, me: Headers) -> None:
    """202 with the task; afterwards they can be deleted once."""
    collection = await bqat.scanned(me, {f"{n:02}.jpg": face(60 + n % 7) for n in range(20)})
    detect = await bqat.client.post(
        f"/scan/{collection}/outliers/detect",
        json={"detector": "COPOD", "columns": ["ipd", "face_detection"], "contamination": 0.1},
        headers=me,
    )
    report = await bqat.client.post(
        f"/scan/{collection}/report/generate", json={"minimal": True, "downsample": 0.5}, headers=me
    )
    assert detect.status_code == report.status_code == 202
    tid = detect.json()["outlier detection task in progress"]
    await bqat.finish(me, tid)
    await bqat.finish(me, report.json()["reporting in progress"])
    (log,) = (await bqat.client.get(f"/task/logs/outlier/{tid}", headers=me)).json()
    first = await bqat.client.delete(f"/scan/{collection}/outliers", headers=me)
    second = await bqat.client.delete(f"/scan/{collection}/outliers", headers=me)
    page = await bqat.client.delete(f"/scan/{collection}/report", headers=me)

    assert (log["status"], log["collection"]) == (2, collection)
    assert log["options"]["detector"] == "COPOD"
    assert first.json() == {"info": f"Outliers of [{collection}] deleted: 1"}
    assert second.json() == {"detail": f"Outliers of [{collection}] not found"}
    assert page.json() == {"info": f"Report of [{collection}] deleted"}


@pytest.mark.parametrize("path", ["/scan/", "/scan/local"])
async def test_a_folder_is_scanned_in_both_generations(bqat: Bqat, me: Headers, path: str) -> None:
    """Sub-folders too, in the order of names; other files and hidden ones are left out."""
    folder = bqat.data / f"set-{uuid4().hex}"
    (folder / "inner").mkdir(parents=True)
    for name in ("b.jpg", "a.png", "inner/c.JPG", "notes.txt", ".hidden.jpg"):
        (folder / name).write_bytes(face(60))
    collection = str(uuid4())
    answer = await bqat.client.post(
        path,
        params={"modality": "face"},
        json={"input": f"data/{folder.name}/", "collection": collection, "options": {}},
        headers=me,
    )
    task = await bqat.finish(me, answer.json()["tid"])
    profiles = (await bqat.client.get(f"/scan/{collection}/profiles", headers=me)).json()

    assert task["collection"] == collection
    assert [profile["file"] for profile in profiles] == [
        f"data/{folder.name}/{name}" for name in ("a.png", "b.jpg", "inner/c.JPG")
    ]


async def test_what_is_not_there_is_told_in_the_old_server_s_words(bqat: Bqat, me: Headers) -> None:
    """422 with a list, 400 with a sentence (Q1, Q2)."""

    async def ask(body: object, modality: str = "face") -> tuple[int, object]:
        answer = await bqat.client.post(
            "/scan/", params={"modality": modality}, json=body, headers=me
        )
        return answer.status_code, answer.json()["detail"]

    status, detail = await ask({"input": "data/nowhere/"})
    assert status == 422
    assert isinstance(detail, list)
    assert detail[0]["msg"] == "Value error, folder 'data/nowhere/' not exist"
    assert detail[0]["loc"] == ["body", "input"]
    status, detail = await ask({"input": ["data/a.jpg"]})
    assert (status, "file 'data/a.jpg' not exist" in str(detail)) == (422, True)
    assert await ask({"input": []}) == (400, "empty input")
    assert await ask({"input": None}) == (400, "illegal input")
    assert await ask({"input": "data/"}, modality="gait") == (400, "modality not supported")
    status, detail = await ask({})
    assert (status, "input" in str(detail)) == (422, True)
    missing = await bqat.client.get(f"/task/{uuid4()}/", headers=me)
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert (await bqat.client.get("/task/no-uuid/", headers=me)).status_code == 422


async def test_a_task_says_how_far_it_is_until_it_is_finished(bqat: Bqat, me: Headers) -> None:
    """Then it is 404, which the interface relies on (Q17); the log then says the rest."""
    tid = await bqat.upload(me, {"a.jpg": sample(sleep=0.8), "b.jpg": face(60)})
    path = f"/task/{tid}/status"
    running = await bqat.client.get(path, headers=me)
    await bqat.finish(me, tid)
    finished = await bqat.client.get(path, headers=me)
    (log,) = (await bqat.client.get(f"/task/logs/scan/{tid}", headers=me)).json()

    assert running.json()["total"] == 2
    assert set(running.json()) == {"total", "done", "eta"}
    assert (finished.status_code, finished.json()) == (404, {"detail": "Task not found!"})
    assert (log["total"], log["finished"], log["status"]) == (2, 2, 2)
    assert {"options", "collection", "tid", "input", "elapse", "modified", "logs"} < set(log)


async def test_a_scan_is_paused_resumed_moved_and_cancelled(bqat: Bqat, me: Headers) -> None:
    """What was assessed before the pause is not assessed again."""
    tid = await bqat.upload(me, {f"{n:02}.jpg": sample(sleep=0.1) for n in range(30)})
    top = await bqat.client.post(f"/task/{tid}/top", headers=me)
    async with asyncio.timeout(20):
        while (await bqat.client.get(f"/task/{tid}/", headers=me)).json()["status"] != 1:
            await asyncio.sleep(0.02)
    paused = await bqat.client.post(f"/scan/pause/{tid}", headers=me)
    async with asyncio.timeout(20):
        while (await bqat.client.get(f"/task/{tid}/", headers=me)).json()["status"] != 0:
            await asyncio.sleep(0.02)
    resumed = await bqat.client.post(f"/scan/resume/{tid}", headers=me)
    task = await bqat.finish(me, tid)
    count = await bqat.client.get(f"/scan/{task['collection']}/profiles/count", headers=me)
    late = await bqat.client.post(f"/scan/pause/{tid}", headers=me)

    assert top.json()["message"] == f"Successful, task [{tid}] moved to front of the queue."
    assert (paused.status_code, resumed.status_code) == (202, 202)
    assert paused.json() == {"message": f"Successful, task [{tid}] paused."}
    assert count.json() == 30
    assert (late.status_code, late.json()) == (404, {"detail": "Task not found!"})


async def test_cancelled_tasks_are_counted(bqat: Bqat, me: Headers) -> None:
    """Those of the caller alone."""
    other = as_caller(caller())
    foreign = await bqat.upload(other, {"a.jpg": sample(sleep=0.3)})
    tid = await bqat.upload(me, {f"{n}.jpg": sample(sleep=0.2) for n in range(40)})
    answer = await bqat.client.post("/task/cancel", headers=me)
    mine = await bqat.finish(me, tid)

    assert answer.json() == {"Tasks cancelled": "1"}
    assert mine["status"] == 3
    assert (await bqat.finish(other, foreign))["status"] == 2


async def test_the_queue_is_shown_and_taken_apart(bqat: Bqat, me: Headers) -> None:
    """`trigger=false` keeps a task out of it until it is pushed."""
    answer = await bqat.client.post(
        "/scan/remote",
        params={"modality": "face", "trigger": "false"},
        files=[("files", ("a.jpg", face(60)))],
        headers=me,
    )
    tid = answer.json()["tid"]
    queue = await bqat.client.get("/task/queue", headers=me)
    push = await bqat.client.post("/task/queue/push", params={"tid": tid}, headers=me)
    done = await bqat.finish(me, tid)
    pop = await bqat.client.post("/task/queue/pop", headers=me)

    assert queue.json() == []
    assert push.json() == {"message": "Successful, task queue item appended."}
    assert done["status"] == 2
    assert pop.json() is None


async def test_logs_of_datasets_are_listed_and_deleted(bqat: Bqat, me: Headers) -> None:
    """With their profiles (Q9)."""
    collection = await bqat.scanned(me, {"a.jpg": face(60)})
    (log,) = (await bqat.client.get("/scan/logs", headers=me)).json()
    same = (await bqat.client.get(f"/scan/logs/{collection}", headers=me)).json()
    deleted = await bqat.client.delete(f"/scan/logs/{collection}", headers=me)
    again = await bqat.client.get(f"/scan/logs/{collection}", headers=me)

    assert log == same
    assert (log["collection"], log["samples"]) == (collection, 1)
    assert "+" not in log["created"]
    assert deleted.json() == {"info": f"Scan log of [{collection}] deleted"}
    assert again.json() == {"detail": f"Scan log of [{collection}] not found"}


async def test_information_has_the_old_server_s_form(bqat: Bqat, me: Headers) -> None:
    """The interface reads `version`."""
    info = (await bqat.client.get("/info", headers=me)).json()
    detectors = (await bqat.client.get("/scan/detectors", headers=me)).json()
    specification = await bqat.client.get("/specification?modality=fingerprint", headers=me)

    assert info == (await bqat.client.get("/scan/info", headers=me)).json()
    assert set(info) == {"backend", "version"}
    names = ["ECOD", "CBLOF", "IForest", "KNN", "COPOD", "PCA"]
    assert detectors == {"outlier detectors": names, "Outlier detectors": names}
    assert specification.json()["NFIQ2"]


async def test_a_zip_becomes_a_folder_that_can_be_scanned(bqat: Bqat, me: Headers) -> None:
    """And anything else is refused in the old server's words."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("one/a.jpg", face(60))
        archive.writestr("b.jpg", face(61))
    upload = await bqat.client.post(
        "/dataset", files={"file": ("my set.zip", file.getvalue())}, headers=me
    )
    folder = upload.json()["message"].removeprefix("Dataset uploaded to: ")
    refused = await bqat.client.post("/dataset", files={"file": ("a.tar", b"x")}, headers=me)
    answer = await bqat.client.post(
        "/scan/local", params={"modality": "face"}, json={"input": folder}, headers=me
    )
    task = await bqat.finish(me, answer.json()["tid"])
    folders = (await bqat.client.get("/task/inputs/folders", headers=me)).json()
    counted = await bqat.client.get("/task/inputs/metadata", params={"path": folder}, headers=me)

    assert folder.startswith("data/uploaded/my_set")
    assert (refused.status_code, refused.json()) == (
        400,
        {"detail": "Please upload dataset in zip archive file."},
    )
    assert task["finished"] == 2
    assert folder in folders
    assert counted.json() == {"dir": folder, "count": 2}


async def test_only_the_administrator_purges(bqat: Bqat, me: Headers) -> None:
    """Where the old server let everybody (Q13), even where anonymous use is on."""
    for path in ("/purge", "/scan/clear"):
        assert (await bqat.client.post(path, headers=stranger())).status_code == 401
        assert (await bqat.client.post(path, headers=me)).status_code == 403
    assert (await bqat.client.delete("/dataset", headers=me)).status_code == 403


async def test_the_access_key_is_compared(bqat: Bqat, me: Headers) -> None:
    """A bare JSON string in, a bare truth value out (Q18)."""
    right = await bqat.client.post("/validate", json="let me in", headers=me)
    wrong = await bqat.client.post("/validate", json="let me in ", headers=me)
    assert (right.json(), wrong.json()) == (True, False)


async def test_a_csv_can_be_reported_on(bqat: Bqat, me: Headers) -> None:
    """It becomes a dataset of its own (Q12)."""
    lines = "file,quality,glasses\r\n" + "".join(f"{n}.jpg,{n % 13},true\r\n" for n in range(40))
    answer = await bqat.client.post(
        "/scan/report/remote", files={"file": ("out.csv", lines)}, headers=me
    )
    report = await bqat.client.get(f"/scan/{answer.json()['collection']}/report", headers=me)

    assert answer.status_code == 202
    assert report.status_code == 200
    assert "quality" in report.text
