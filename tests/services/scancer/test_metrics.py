"""Metrics under TorchServe's names, old and new, beside our own."""

import json
import re

import httpx
import pytest

from tests.database import ROOT
from tests.services.scancer.support import BRIGHT, Installation, put_in_store, register

SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)")
OLD = (
    "ts_inference_requests_total",
    "ts_inference_latency_microseconds",
    "ts_queue_latency_microseconds",
)


def samples(page: str, name: str) -> dict[str, float]:
    """The samples of one metric by their labels."""
    found = (SAMPLE.fullmatch(line) for line in page.splitlines() if not line.startswith("#"))
    return {each[2] or "": float(each[3]) for each in found if each is not None and each[1] == name}


async def test_q21_predictions_are_counted_per_model_and_version(
    client: httpx.AsyncClient, installation: Installation
) -> None:
    put_in_store(installation.store)
    await register(client, "brightness-1.0.zip")
    before = (await client.get("/metrics")).text
    for path in (
        "/predictions/brightness",
        "/predictions/brightness",
        "/predictions/brightness/1.0",
    ):
        await client.put(path, content=BRIGHT)
    await client.put("/predictions/made-up", content=BRIGHT)
    await client.put("/predictions/brightness", content=b"no picture")
    page = (await client.get("/metrics")).text

    requests = samples(page, "ts_inference_requests_total")
    by_version = {
        re.findall(r'model_version="([^"]*)"', labels)[0]: n for labels, n in requests.items()
    }
    assert samples(before, "ts_inference_requests_total") == {}
    assert by_version == {"default": 2, "1.0": 1}
    for name in OLD:
        [labels] = [each for each in samples(page, name) if 'model_version="default"' in each]
        assert re.fullmatch(
            r'uuid="[0-9a-f-]{36}",model_name="brightness",model_version="default",hostname="[^"]+"',
            labels,
        )
        assert f"# HELP {name} " in page
    [latency] = [
        value
        for labels, value in samples(page, "ts_inference_latency_microseconds").items()
        if "default" in labels
    ]
    assert latency > 0
    assert sum(samples(page, "Requests2XX").values()) >= 4
    assert sum(samples(page, "Requests4XX").values()) >= 1
    assert sum(samples(page, "Requests5XX").values()) >= 1
    assert "made-up" not in page


async def test_a_model_that_is_gone_leaves_no_series(
    client: httpx.AsyncClient, installation: Installation
) -> None:
    put_in_store(installation.store)
    await register(client, "brightness-1.0.zip")
    await client.put("/predictions/brightness", content=BRIGHT)
    await client.delete("/models/brightness")
    page = (await client.get("/metrics")).text

    assert samples(page, "ts_inference_requests_total") == {}


async def test_the_machine_is_described(served: httpx.AsyncClient) -> None:
    page = (await served.get("/metrics")).text
    figures = {
        name: list(samples(page, name).values())
        for name in ("CPUUtilization", "MemoryUsed", "MemoryUtilization", "DiskAvailable")
    }

    assert all(len(found) == 1 for found in figures.values())
    assert 0 <= figures["CPUUtilization"][0] <= 100
    assert 0 < figures["MemoryUtilization"][0] <= 100


async def test_every_metric_of_the_dashboard_is_on_the_page(served: httpx.AsyncClient) -> None:
    """The dashboard in deploy/ shows nothing that nobody counts."""
    await served.put("/predictions/brightness", content=BRIGHT)
    page = (await served.get("/metrics")).text
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "scancer.json").read_text())
    expressions = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    used = {
        name
        for expression in expressions
        for name in re.findall(r"\b((?:ts|vedette)_\w+|[A-Z]\w+(?=\{))", expression)
    }
    told = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))

    assert used
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} <= told | {"vedette_up"}


@pytest.mark.parametrize("panel", ["title", "gridPos", "datasource"])
def test_the_dashboard_is_whole(panel: str) -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "scancer.json").read_text())

    assert dashboard["uid"] == "vedette-scancer"
    assert all(panel in each for each in dashboard["panels"])
    assert len({each["id"] for each in dashboard["panels"]}) == len(dashboard["panels"])
