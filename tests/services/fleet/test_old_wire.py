"""The old wire to the letter: envelopes, sentences, contradictions, paging (Q: QUIRKS.md)."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.services.fleet.support import (
    ADMIN,
    JPEG,
    PASSWORD,
    Mine,
    Person,
    Truck,
    error_of,
    old_time,
)


@pytest.fixture(scope="module")
async def truck(mine: Mine) -> Truck:
    """A truck that several tests only look at."""
    return await mine.truck()


# Envelopes.


async def test_q1_the_envelope_is_written_as_flask_wrote_it(mine: Mine) -> None:
    answer = await mine.old("GET", "logout/")

    assert answer.content == b'{"code": 200, "status_code": "Success"}\n'
    assert answer.headers["content-type"] == "application/json"


async def test_q2_refusals_say_their_code_twice(mine: Mine) -> None:
    answer = await mine.old("GET", "alert/?token=no-token")

    assert answer.status_code == 400
    assert answer.content == (
        b'{"code": 400, "status_code": "Bad Requests", "error": "Wrong token"}\n'
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"null", b"{}", b"\xff"])
async def test_q3_what_is_no_object_is_no_input(mine: Mine, content: bytes) -> None:
    answer = await mine.old("POST", "alert/", content=content)

    assert error_of(answer) == (400, "No input data provided")


async def test_q3_json_is_read_whatever_the_content_type_says(mine: Mine, truck: Truck) -> None:
    told = httpx.Request(
        "POST",
        "http://x",
        json={
            "token": truck.token, "truck_id": truck.id, "alert_init": old_time(),
            "behavior": "Unsafe",
        },
    )  # fmt: skip
    answer = await mine.old(
        "POST", "alert/", content=told.content, headers={"Content-Type": "text/plain"}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["token", "truck_id", "alert_init", "behavior"])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, 'Missing "{}" field in payload'),
        ("", 'Missing value for "{}" field in payload'),
        (0, 'Missing value for "{}" field in payload'),
        (False, 'Missing value for "{}" field in payload'),
    ],
)
async def test_q4_missing_fields_are_named_in_their_order(
    mine: Mine, truck: Truck, name: str, value: object, sentence: str
) -> None:
    told: dict[str, Any] = {
        "token": truck.token, "truck_id": truck.id, "alert_init": old_time(), "behavior": "Safe",
    }  # fmt: skip
    if value is None:
        del told[name]
    else:
        told[name] = value
    answer = await mine.old("POST", "alert/", json=told)

    assert error_of(answer) == (400, sentence.format(name))


@pytest.mark.parametrize("path", ["login/", "user/register/", "alert/", "log/", "safe/"])
async def test_q22_verbs_that_do_nothing_are_401_and_patch_is_405(mine: Mine, path: str) -> None:
    deleted = await mine.old("DELETE", path)
    patched = await mine.old("PATCH", path)

    assert deleted.status_code == 401
    assert deleted.json() == {"code": 401, "status_code": "Unauthorized"}
    assert patched.status_code == 405
    assert patched.json() == {"message": "The method is not allowed for the requested URL."}


async def test_q26_an_address_without_its_last_slash_answers_too(mine: Mine, admin: Person) -> None:
    """A redirect would lose the token, which is not shown to anybody behind the gateway."""
    answer = await mine.old("GET", f"alert?token={admin.token}")

    assert answer.status_code == 200


async def test_pages_of_allowed_origins_may_read_and_others_may_not(mine: Mine) -> None:
    allowed = await mine.old("GET", "logout/", headers={"Origin": "http://localhost:9000"})
    foreign = await mine.old("GET", "logout/", headers={"Origin": "https://evil.example"})
    asked = await mine.old("OPTIONS", "alert/", headers={"Origin": "http://localhost:9000"})

    assert allowed.headers["access-control-allow-origin"] == "http://localhost:9000"
    assert "access-control-allow-credentials" not in allowed.headers
    assert "access-control-allow-origin" not in foreign.headers
    assert "PUT" in asked.headers["access-control-allow-methods"]


# Users.


async def test_q11_a_wrong_password_is_refused_like_an_unknown_name(mine: Mine) -> None:
    answers = [
        await mine.old("POST", "login/", json={"username": name, "password": "not the password"})
        for name in (ADMIN, "nobody-at-all")
    ]

    assert [error_of(answer) for answer in answers] == [(401, "Wrong username or password")] * 2
    assert answers[0].content == answers[1].content


async def test_q10_the_token_may_stand_at_both_places_and_in_the_oldest_body(
    mine: Mine, admin: Person
) -> None:
    bodies: list[dict[str, Any]] = [
        {"token": admin.token, "new_user": {"username": "form-a", "password": PASSWORD}},
        {
            "cur_user": {"username": ADMIN, "token": admin.token},
            "new_user": {"username": "form-b", "password": PASSWORD, "role": "Limited"},
        },
        {"token": admin.token, "username": "form-c", "ip": "10.0.0.1", "password": PASSWORD},
    ]
    answers = [await mine.old("POST", "user/register/", json=body) for body in bodies]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    listed = await mine.old("GET", f"user/register/?token={admin.token}&role=Limited&limit=100")
    names = {user["username"] for user in listed.json()["data"]["users"]}
    assert {"form-a", "form-b", "form-c"} <= names


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"username": "chief"}, (409, "Username already register.")),
        ({"role": "Emperor"}, (409, "Role doesn't exists.")),
        ({"email": "no address"}, (400, "Email doesn't has correct format.")),
        ({"password": "x" * 255}, (413, "Password is too large.")),
        ({"password": "short"}, (400, "Password is too short.")),
        ({"password": ""}, (400, 'Missing value for "password" field in payload')),
    ],
)
async def test_a_registration_is_refused_in_the_old_sentences(
    mine: Mine, admin: Person, change: dict[str, str], expected: tuple[int, str]
) -> None:
    new = {"username": "refused", "password": PASSWORD, "role": "Full", **change}
    answer = await mine.old("POST", "user/register/", json={"token": admin.token, "new_user": new})

    assert error_of(answer) == expected


@pytest.mark.parametrize("role", ["Full", "Limited", "Unauthorized"])
async def test_only_administrators_register_people(mine: Mine, admin: Person, role: str) -> None:
    person = await mine.person(admin, role)
    answer = await mine.old(
        "POST",
        "user/register/",
        json={"token": person.token, "new_user": {"username": "by-them", "password": PASSWORD}},
    )

    assert error_of(answer) == (400, "Current user don't has permission")


async def test_without_a_token_nobody_registers_anybody(mine: Mine, admin: Person) -> None:
    """The first user's way is open only where the operator opened it, and while there is none."""
    answer = await mine.old(
        "POST",
        "user/register/",
        json={"new_user": {"username": "uninvited", "password": PASSWORD, "role": "Admin"}},
    )

    assert error_of(answer) == (400, 'Missing "token" field in payload')


async def test_people_change_themselves_and_not_others_nor_their_role(
    mine: Mine, admin: Person
) -> None:
    person, other = await mine.person(admin, "Full"), await mine.person(admin, "Full")
    own = {"username": person.username, "password": "", "email": "", "role": ""}

    mail = await mine.old(
        "PUT",
        "user/register/",
        json={"token": person.token, "new_user": {**own, "email": "new@mine.example"}},
    )
    refused = [
        await mine.old("PUT", "user/register/", json={"token": person.token, "new_user": new})
        for new in ({**own, "role": "Admin"}, {**own, "username": other.username})
    ]

    assert mail.json()["data"].keys() == {"id", "token"}
    assert {error_of(answer) for answer in refused} == {(400, "Current user don't has permission")}


async def test_an_administrator_of_the_fleet_has_no_say_over_the_platforms(
    mine: Mine, admin: Person
) -> None:
    """Otherwise a fleet's Admin could set the platform administrator's password."""
    fleet_admin = await mine.person(admin, "Admin")
    answer = await mine.old(
        "PUT",
        "user/register/",
        json={
            "token": fleet_admin.token,
            "new_user": {
                "username": ADMIN, "password": "taken over now", "email": "", "role": "",
            },
        },
    )  # fmt: skip

    assert error_of(answer) == (400, "Current user don't has permission")
    assert (await mine.log_in()).access


async def test_the_list_of_people_pages_filters_and_sorts(mine: Mine, admin: Person) -> None:
    person = await mine.person(admin, "Full")
    page = await mine.old("GET", f"user/register/?token={admin.token}&limit=2&page=1")
    past = await mine.old("GET", f"user/register/?token={admin.token}&limit=2&page=999")
    one = await mine.old("GET", f"user/register/?token={admin.token}&username={person.username}")
    up = await mine.old(
        "GET", f"user/register/?token={admin.token}&sort_name=id&sort_order=asc&limit=2"
    )
    own = await mine.old("GET", f"user/register/?token={person.token}")

    data = page.json()["data"]
    ids = [user["id"] for user in data["users"]]
    assert data.keys() == {"users", "totalPages", "totalItems", "perPage"}
    assert data["users"][0].keys() == {"id", "account_id", "username", "email", "role"}
    assert ids == sorted(ids, reverse=True)
    assert data["totalPages"] == -(-data["totalItems"] // 2)
    assert past.json()["data"]["users"] == []
    assert [user["username"] for user in one.json()["data"]["users"]] == [person.username]
    assert [user["id"] for user in up.json()["data"]["users"]] == [1, 2]
    assert [user["username"] for user in own.json()["data"]["users"]] == [person.username]


# Devices.


async def test_q15_the_role_is_optional_and_the_same_password_renews_the_token(mine: Mine) -> None:
    truck = await mine.truck()
    again = {"mac": truck.mac.upper().replace(":", "-"), "password": truck.password, "name": "?"}
    answers = [await mine.old(method, "jetson/register/", json=again) for method in ("POST", "PUT")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.json()["data"]["truck_id"] for answer in answers} == {truck.id}


@pytest.mark.parametrize(
    ("method", "change", "expected"),
    [
        ("POST", {"mac": "dc:71:96:53:16"}, (400, "Mac doesn't has correct format.")),
        ("POST", {"mac": "dc:71:96:53:16:0g"}, (400, "Mac doesn't has correct format.")),
        ("POST", {"password": "another pass"}, (409, "Confict in Database: mac")),
        ("POST", {"password": "x" * 300}, (413, "Password is too large.")),
        ("PUT", {"mac": "00:00:00:00:00:01"}, (401, "Jetson device dosen't exists")),
        ("PUT", {"password": "another pass"}, (409, "Confict in Database: mac")),
        ("POST", {"name": ""}, (400, 'Missing value for "name" field in payload')),
    ],
)
async def test_a_device_is_refused_in_the_old_sentences(
    mine: Mine, truck: Truck, method: str, change: dict[str, str], expected: tuple[int, str]
) -> None:
    told = {"mac": truck.mac, "password": truck.password, "name": truck.name, **change}
    answer = await mine.old(method, "jetson/register/", json=told)

    assert error_of(answer) == expected


async def test_a_trucks_name_belongs_to_one_device(mine: Mine, truck: Truck) -> None:
    told = {"mac": "00:00:00:00:aa:01", "password": "pass-of-truck", "name": truck.name}
    answer = await mine.old("POST", "jetson/register/", json=told)

    assert error_of(answer) == (409, "Truck already register.")


# Alerts and frames.


async def test_q16_the_answer_to_an_alert_has_its_number_under_both_names(
    mine: Mine, truck: Truck
) -> None:
    told = {
        "token": truck.token, "truck_id": truck.id, "alert_init": "2020-02-19 12:59:02",
        "behavior": "Eating/Drinking",
    }  # fmt: skip
    first = await mine.old("POST", "alert/", json=told)
    again = await mine.old("POST", "alert/", json=told)

    number = first.json()["data"]["alert_id"]
    assert first.json() == {
        "code": 200, "status_code": "Success", "data": {"id": number, "alert_id": number},
    }  # fmt: skip
    assert again.json() == first.json()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"token": "x"}, (400, "Wrong token")),
        ({"token": 7}, (400, "Wrong token")),
        ({"truck_id": 999_999}, (400, "Wrong token")),
        ({"behavior": "Asleep"}, (400, "Behavior Unknow.")),
        ({"behavior": ["Safe"]}, (400, "Behavior Unknow.")),
        (
            {"alert_init": "2020-02-19T12:59:02"},
            (400, "date fields must be in '%Y-%m-%d %H:%M:%S' format."),
        ),
        (
            {"alert_init": "2020-02-30 12:59:02"},
            (400, "date fields must be in '%Y-%m-%d %H:%M:%S' format."),
        ),
    ],
)
async def test_an_alert_is_refused_in_the_old_sentences(
    mine: Mine, truck: Truck, change: dict[str, Any], expected: tuple[int, str]
) -> None:
    told = {
        "token": truck.token, "truck_id": truck.id, "alert_init": old_time(), "behavior": "Safe",
        **change,
    }  # fmt: skip
    answer = await mine.old("POST", "alert/", json=told)

    assert error_of(answer) == expected


async def test_q17_an_alert_is_over_once_and_takes_no_frames_afterwards(mine: Mine) -> None:
    """The same ending once more is fine: the answer to the first may have been lost."""
    truck = await mine.truck()
    number = await mine.alert(truck)
    ending = {"token": truck.token, "alert_id": number, "alert_end": old_time()}
    answers = [await mine.old("PUT", "alert/", json=ending) for _ in range(2)]
    later = old_time(datetime.now(UTC) + timedelta(minutes=5))
    another = await mine.old("PUT", "alert/", json={**ending, "alert_end": later})
    frame = {
        "token": truck.token, "alert_id": number, "frame_timestamp": old_time(), "frame": "aaaa",
    }  # fmt: skip
    late = await mine.old("POST", "log/", json=frame)

    closed = (400, "Alert_id doesn't exists or is close.")
    assert [answer.json()["data"] for answer in answers] == [{"id": number}] * 2
    assert error_of(another) == closed
    assert error_of(late) == closed


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: f"b'{text}'",
        lambda text: f'b"{text}"',
        lambda text: f"data:image/jpeg;base64,{text}",
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: "\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
    ],
)
async def test_q18_every_spelling_of_a_frame_comes_back_as_clean_base64(
    mine: Mine, admin: Person, wrap: Any
) -> None:
    truck = await mine.truck()
    number = await mine.alert(truck)
    told = {
        "token": truck.token, "alert_id": number, "frame_timestamp": old_time(),
        "frame": wrap(base64.b64encode(JPEG).decode()),
    }  # fmt: skip
    stored = await mine.old("POST", "log/", json=told)
    frames = await mine.old("GET", f"log/?token={admin.token}&alert_id={number}")

    assert stored.status_code == 200
    [frame] = frames.json()["data"]["frames"]
    assert base64.b64decode(frame["frame"], validate=True) == JPEG


@pytest.mark.parametrize("frame", ["!!!", "a", 7, ["aaaa"], "é" * 8])
async def test_q18_what_is_no_base64_is_refused(mine: Mine, truck: Truck, frame: object) -> None:
    told = {
        "token": truck.token, "truck_id": truck.id, "frame_timestamp": old_time(), "frame": frame,
    }  # fmt: skip
    answer = await mine.old("POST", "safe/", json=told)

    assert error_of(answer) == (400, "Frame doesn't has correct format.")


async def test_q19_the_same_frame_sent_again_is_the_same_frame(mine: Mine, admin: Person) -> None:
    truck = await mine.truck()
    number = await mine.alert(truck)
    at = old_time()
    numbers = [await mine.frame(truck, number, frame_timestamp=at) for _ in range(3)]
    another = await mine.frame(truck, number, frame_timestamp=at, frame_index=1)
    listed = await mine.old("GET", f"log/?token={admin.token}&alert_id={number}")

    assert len({*numbers}) == 1
    assert [frame["id"] for frame in listed.json()["data"]["frames"]] == [another, numbers[0]]


async def test_q17_frames_and_endings_need_no_truck(mine: Mine) -> None:
    truck = await mine.truck()
    number = await mine.alert(truck)

    assert await mine.frame(truck, number) > 0
    ending = {"token": truck.token, "alert_id": number, "alert_end": old_time()}
    assert (await mine.old("PUT", "alert/", json=ending)).status_code == 200


async def test_q20_alerts_come_newest_first_twenty_a_page_with_totals(
    mine: Mine, admin: Person
) -> None:
    truck = await mine.truck()
    begins = [datetime(2021, 3, 1, 12, 0, second, tzinfo=UTC) for second in range(23)]
    numbers = [await mine.alert(truck, "Unsafe", old_time(at)) for at in begins]
    url = f"alert/?token={admin.token}&username=whoever&truck_id={truck.id}"
    first = (await mine.old("GET", url)).json()["data"]
    second = (await mine.old("GET", f"{url}&page=2")).json()["data"]
    past = (await mine.old("GET", f"{url}&page=9")).json()["data"]

    shown = [alert["id"] for alert in first["alerts"] + second["alerts"]]
    assert shown == numbers[::-1]
    assert (len(first["alerts"]), past["alerts"]) == (20, [])
    assert (first["totalPages"], first["totalItems"], first["perPage"]) == (2, 23, 20)
    assert first["alerts"][0] == {
        "id": numbers[-1], "truck_id": truck.id, "behavior": "Unsafe",
        "alert_init": "2021-03-01T12:00:22", "alert_end": None, "started": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("behavior=Tamper", [1]),
        ("behavior=Single%20Hand", []),
        ("started=True", [2, 0]),
        ("started=true", [2, 0]),
        ("started=1", [2, 0]),
        ("started=False", [1]),
        ("started=0", [1]),
        ("alert_init=2021-04-01%2012:00:01", [2, 1]),
        ("alert_init_start=2021-04-01%2012:00:01&alert_init_end=2021-04-01%2012:00:01", [1]),
        ("alert_finish_time_start=2021-04-01%2013:00:00", [1]),
        ("alert_finish_time_end=2021-04-01%2012:30:00", []),
        ("sort_name=alert_init&sort_order=asc", [0, 1, 2]),
        ("sort_name=id;drop%20table&sort_order=asc", [2, 1, 0]),
        ("limit=1&page=2", [1]),
    ],
)
async def test_alerts_are_filtered_and_sorted(
    mine: Mine, admin: Person, filtered: tuple[Truck, list[int]], query: str, expected: list[int]
) -> None:
    truck, numbers = filtered
    url = f"alert/?token={admin.token}&truck_id={truck.id}&{query}"
    found = (await mine.old("GET", url)).json()["data"]["alerts"]
    by_name = f"alert/?token={admin.token}&truck_name={truck.name}&{query}"
    found_by_name = (await mine.old("GET", by_name)).json()["data"]["alerts"]

    assert [numbers.index(alert["id"]) for alert in found] == expected
    assert found_by_name == found


@pytest.fixture(scope="module")
async def filtered(mine: Mine) -> tuple[Truck, list[int]]:
    """Three alerts, of which the one in the middle is over."""
    truck = await mine.truck()
    behaviors = ("Unsafe", "Tamper", "Safe")
    numbers = [
        await mine.alert(truck, behavior, f"2021-04-01 12:00:0{second}")
        for second, behavior in enumerate(behaviors)
    ]
    ending = {"token": truck.token, "alert_id": numbers[1], "alert_end": "2021-04-01 13:00:00"}
    await mine.old("PUT", "alert/", json=ending)
    return truck, numbers


@pytest.mark.parametrize(
    "query", ["page=x", "limit=1e3", "truck_id=1%27", "started=maybe", "alert_init=yesterday"]
)
async def test_odd_parameters_are_refused_and_break_nothing(
    mine: Mine, admin: Person, query: str
) -> None:
    answer = await mine.old("GET", f"alert/?token={admin.token}&{query}")

    assert answer.status_code == 400


async def test_frames_come_five_a_page_and_are_filtered(mine: Mine, admin: Person) -> None:
    truck = await mine.truck()
    number = await mine.alert(truck)
    stored = [
        await mine.frame(
            truck, number, frame_index=index, frame_timestamp=f"2021-05-01 12:00:0{index}"
        )
        for index in range(7)
    ]
    url = f"log/?token={admin.token}&alert_id={number}"
    pages = [(await mine.old("GET", f"{url}&page={page}")).json()["data"] for page in (1, 2, 3)]
    later = (await mine.old("GET", f"{url}&frame_timestamp=2021-05-01%2012:00:05")).json()["data"]
    index = (await mine.old("GET", f"{url}&frame_index=6")).json()["data"]

    shown = [[frame["id"] for frame in page["frames"]] for page in pages]
    assert shown == [stored[:1:-1], stored[1::-1], []]
    assert all(page.keys() == {"frames"} for page in pages)
    assert [frame["id"] for frame in later["frames"]] == [stored[6], stored[5]]
    assert [frame["id"] for frame in index["frames"]] == [stored[6]]


async def test_q14_the_last_status_is_the_newest_frame_of_either_kind(
    mine: Mine, admin: Person
) -> None:
    truck = await mine.truck()
    url = f"truck/laststatus/?token={admin.token}&truck_id={truck.id}"
    none = await mine.old("GET", url)
    number = await mine.alert(truck)
    frame = await mine.frame(truck, number, frame_timestamp="2021-06-01 12:00:05")
    older = {
        "token": truck.token, "truck_id": truck.id, "frame_timestamp": "2021-06-01 12:00:01",
        "frame": base64.b64encode(JPEG).decode(),
    }  # fmt: skip
    await mine.old("POST", "safe/", json=older)
    last = (await mine.old("GET", url)).json()["data"]["frame"]
    unknown = await mine.old("GET", f"truck/laststatus/?token={admin.token}&truck_id=999999")

    assert none.json()["data"] == {"frame": {}}
    assert (last["id"], last["truck_id"], last["alert_id"]) == (frame, truck.id, number)
    assert error_of(unknown) == (400, "Truck_id doesn't exists.")


async def test_q13_the_list_of_trucks_tells_the_last_alert_with_a_blank_in_its_times(
    mine: Mine, admin: Person
) -> None:
    truck = await mine.truck()
    number = await mine.alert(truck, "Tamper", "2021-07-01 12:00:00")
    url = f"truck/list/?token={admin.token}&id={truck.id}"
    plain = (await mine.old("GET", url)).json()["data"]
    told = (await mine.old("GET", f"{url}&include_last_alert=true")).json()["data"]["trucks"][0]
    spans = [
        (await mine.old("GET", f"{url}&last_alert_time_start={start}")).json()["data"]["totalItems"]
        for start in ("2021-07-01%2011:00:00", "2021-07-01%2013:00:00")
    ]
    inherited = await mine.old("GET", f"jetson/register/?token={admin.token}&id={truck.id}")

    assert plain["trucks"] == [
        {"id": truck.id, "name": truck.name, "account_id": truck.account, "status": "Active"}
    ]
    assert (plain["totalItems"], plain["totalPages"], plain["perPage"]) == (1, 1, 10)
    assert told["alerts_total"] == 1
    assert told["last_alert"] == {
        "id": number, "alert_init": "2021-07-01 12:00:00", "alert_end": "", "behavior": "Tamper",
        "started": True,
    }  # fmt: skip
    assert spans == [1, 0]
    assert inherited.json()["data"] == plain


async def test_q21_the_current_status_is_the_fixed_stub_that_it_was(mine: Mine) -> None:
    answer = await mine.old("GET", "truck/currstatus/")

    assert answer.json()["data"].keys() == {
        "deviceId", "lastAlert", "lastAlertTimestamp", "lastFrameStatus", "startTime",
    }  # fmt: skip
    assert answer.json()["data"]["lastFrameStatus"].keys() == {"behavior", "frame", "timestamp"}
