"""Served networks through the whole platform: as the original's document and public clients ask."""

import concurrent.futures
import hashlib
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.http.auth import BasicAuth

from services.scancer.app import SHIPPED_PACKAGES
from tests.e2e.conftest import Platform, end_platform, new_home, ready_platform, start_platform
from tests.e2e.test_platform import process_of
from tests.holding import eventually
from tests.running import free_ports
from tests.services.scancer.support import BRIGHT, put_in_store, tensor

#: As the original's document has it.
OLD_ADDRESS = "https://torchserve.pytorch.org/mar_files/squeezenet1_1.mar"
EXAMPLE = SHIPPED_PACKAGES / "pcam-classification" / "vectors" / "0.png"
DEVELOPER = ("dora", "a long passphrase of hers")


@dataclass(frozen=True, slots=True)
class Pathology:
    """A platform with the loopback ports on, and somebody who may predict."""

    platform: Platform
    management: str
    metrics: str

    @property
    def host(self) -> str:
        """The gateway's host and port."""
        return self.platform.base_url.removeprefix("http://")

    @property
    def admin(self) -> tuple[str, str]:
        """The administrator's name and password."""
        return self.platform.admin_username, self.platform.admin_password

    def shell(self, command: str) -> str:
        """What a command of the document prints, pasted into a shell."""
        ended = subprocess.run(
            ["/bin/bash", "-c", command],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "no_proxy": "*"},
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def pathology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pathology]:
    """One platform for all of these journeys."""
    made = tmp_path_factory.mktemp("made")
    archive = (made / "store" / put_in_store(made / "store", "squeezenet1_1")).read_bytes()
    sha256 = hashlib.sha256(archive).hexdigest()
    mirror = made / "mirror"
    mirror.mkdir()
    (mirror / sha256).write_bytes(archive)
    first = free_ports(2)
    home = new_home()
    for version, gain in (("1.0", 4.0), ("2.0", 8.0)):
        put_in_store(home / "model-store", version=version, gain=gain)
    running = start_platform(
        home,
        VEDETTE_SCANCER_MANAGEMENT_PORT=str(first),
        VEDETTE_SCANCER_METRICS_PORT=str(first + 1),
        VEDETTE_SCANCER_ALLOWED_URLS=f"{OLD_ADDRESS}={sha256}",
        VEDETTE_MODEL_MIRROR=str(mirror),
        VEDETTE_RATE_LIMIT_SCALE="0",
        VEDETTE_REPLICAS="scancer=2",
    )
    try:
        platform = ready_platform(running)
        with platform.client() as client:
            made_user = client.post(
                "/api/v2/auth/users",
                json={
                    "username": DEVELOPER[0],
                    "password": DEVELOPER[1],
                    "roles": ["developer"],
                },
                headers={"Authorization": f"Bearer {platform.token()}"},
            )
        assert made_user.status_code == 201, made_user.text
        yield Pathology(platform, f"localhost:{first}", f"127.0.0.1:{first + 1}")
    finally:
        end_platform(running)


def test_the_prediction_of_the_document_works_as_printed(pathology: Pathology) -> None:
    """`curl --user <name>:<password> https://…/predictions/pcam-classification -T …`."""
    name, password = DEVELOPER
    printed = pathology.shell(
        f"curl -s --user '{name}:{password}' "
        f"http://{pathology.host}/predictions/pcam-classification -T {EXAMPLE}"
    )
    refused = pathology.shell(
        f"curl -si --user '{name}:wrong' "
        f"http://{pathology.host}/predictions/pcam-classification -T {EXAMPLE}"
    )

    assert printed in ("0", "1")
    assert "HTTP/1.1 401" in refused
    assert 'www-authenticate: basic realm="ml ops area"' in refused.lower()


def test_the_management_of_the_document_works_as_printed(pathology: Pathology) -> None:
    """The five commands of "Managing models via the API", with their quotes closed.

    The address of the document leads to an archive of this project's kind here, from the mirror.
    """
    port = pathology.management.rpartition(":")[2]
    first = pathology.shell(f'curl -s -X GET  "http://localhost:{port}/models"')
    registered = pathology.shell(
        f'curl -s -X POST  "http://localhost:{port}/models?url={OLD_ADDRESS}"'
    )
    second = pathology.shell(f'curl -s -X GET  "http://localhost:{port}/models"')
    removed = pathology.shell(f"curl -s -X DELETE http://127.0.0.1:{port}/models/squeezenet1_1")

    assert '"models": [' in first
    assert 'Model \\"squeezenet1_1\\" Version: 1.0 registered with 0 initial workers' in registered
    assert f'"modelUrl": "{OLD_ADDRESS}"' in second
    assert removed == '{\n  "status": "Model \\"squeezenet1_1\\" unregistered"\n}\n'


def test_the_metrics_of_the_document_work_as_printed(pathology: Pathology) -> None:
    """`curl http://127.0.0.1:8082/metrics`, and the same series at the gateway."""
    with pathology.platform.client(auth=DEVELOPER) as client:
        # Of two processes that have nothing to do the first is asked, which has the port.
        client.put("/predictions/pcam-classification", content=EXAMPLE.read_bytes())
    printed = pathology.shell(f"curl -s http://{pathology.metrics}/metrics")
    with pathology.platform.client() as client:
        merged = client.get("/metrics").text

    assert 'ts_inference_requests_total{uuid="' in printed
    assert 'model_name="pcam-classification",model_version="default"' in printed
    assert 'ts_inference_requests_total{service="scancer",uuid="' in merged
    assert 'vedette_up{service="scancer"} 1' in merged
    assert 'vedette_up{service="scancer-1"} 1' in merged


def test_the_model_store_is_reached_as_the_web_application_reaches_it(
    pathology: Pathology,
) -> None:
    """Through the gateway with Basic credentials; developers read, administrators change."""
    with pathology.platform.client(auth=DEVELOPER) as client:
        described = client.get("/models/pcam-classification")
        refused = client.post("/models?url=brightness-1.0.zip")
        slashed = client.get("/models/")
        ping = client.get("/ping")
    with pathology.platform.client(auth=pathology.admin) as client:
        registered = client.post(
            "/models?url=brightness-1.0.zip&model_name=x&initial_workers=1&synchronous=true"
        )
        removed = client.delete("/models/x")

    assert described.json()[0]["modelName"] == "pcam-classification"
    assert refused.status_code == 403
    assert slashed.status_code == 200
    assert ping.json() == {"status": "Healthy"}
    assert registered.status_code == 200, registered.text
    assert removed.status_code == 200


def test_a_swap_under_load_loses_no_request(pathology: Pathology) -> None:
    """Real connections through the gateway while versions are registered, swapped and deleted."""
    answers: Counter[tuple[int, str]] = Counter()
    over = threading.Event()

    def ask() -> None:
        with pathology.platform.client(auth=DEVELOPER) as client:
            while not over.is_set():
                answer = client.put("/predictions/swapped", content=BRIGHT)
                answers[answer.status_code, answer.headers.get("vedette-model", answer.text)] += 1

    with (
        pathology.platform.client(auth=pathology.admin) as admin,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        query = "model_name=swapped&initial_workers=1&synchronous=true"
        first = admin.post(f"/models?url=brightness-1.0.zip&{query}")
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            changes = [
                admin.post(f"/models?url=brightness-2.0.zip&{query}"),
                admin.put("/models/swapped/2.0/set-default"),
                admin.delete("/models/swapped/1.0"),
                admin.put("/models/swapped?min_worker=2&synchronous=true"),
                admin.post(f"/models?url=brightness-1.0.zip&{query}"),
                admin.put("/models/swapped/1.0/set-default"),
                admin.delete("/models/swapped/2.0"),
            ]
        finally:
            over.set()
        for each in asking:
            each.result()
        admin.delete("/models/swapped")

    assert [change.status_code for change in (first, *changes)] == [200] * 8
    assert {model for _, model in answers} == {"brightness@1.0", "brightness@2.0"}
    assert {status for status, _ in answers} == {200}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("in_bytes", [True, False])
def test_a_public_client_of_the_inference_protocol_is_served(
    pathology: Pathology, in_bytes: bool
) -> None:
    """NVIDIA's own client library, with tensors as bytes and as JSON."""
    with pathology.platform.client(auth=pathology.admin) as admin:
        admin.post("/models?url=brightness-2.0.zip&initial_workers=1&synchronous=true")
    client = triton.InferenceServerClient(pathology.host)
    client.register_plugin(BasicAuth(*DEVELOPER))
    asked = triton.InferInput("image", [2, 1, 8, 8], "FP32")
    asked.set_data_from_numpy(tensor(250, 2), binary_data=in_bytes)
    wanted = triton.InferRequestedOutput("logits", binary_data=in_bytes)
    try:
        alive = client.is_server_live(), client.is_server_ready()
        ready = client.is_model_ready("brightness"), client.is_model_ready("none")
        server = client.get_server_metadata()
        model = client.get_model_metadata("brightness")
        answers = [
            client.infer("brightness", [asked], outputs=[wanted], request_id="7"),
            client.infer("brightness", [asked]),
            client.infer("brightness", [asked], model_version="2.0"),
        ]
        with pytest.raises(triton.InferenceServerException, match="Model not found: none"):
            client.infer("none", [asked])
    finally:
        client.close()
    logit = 8 * (250 / 255 - 0.5)

    assert alive == (True, True)
    assert ready == (True, False)
    assert "binary_tensor_data" in server["extensions"]
    assert model["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert answers[0].get_response()["id"] == "7"
    for answer in answers:
        np.testing.assert_allclose(answer.as_numpy("logits"), [[-logit, logit]] * 2, rtol=1e-4)


def test_models_survive_the_death_of_the_service(pathology: Pathology) -> None:
    """Kill -9 between two requests: the supervisor starts it anew, and it knows its models."""
    with pathology.platform.client(auth=pathology.admin) as admin:
        admin.post("/models?url=brightness-1.0.zip&model_name=kept&initial_workers=1")
        os.kill(process_of(pathology.platform, "services.scancer"), 9)

        def answers() -> bool:
            answer = admin.put("/predictions/kept", content=BRIGHT)
            return (answer.status_code, answer.text) == (200, "1")

        assert eventually(answers, within_s=30)
        admin.delete("/models/kept")


def test_the_documented_paths_are_in_the_merged_description(pathology: Pathology) -> None:
    with httpx.Client(base_url=pathology.platform.base_url, trust_env=False) as client:
        paths = client.get("/openapi.json").json()["paths"]

    assert {"/predictions/{model}", "/models", "/v2/models/{model}/infer"} <= set(paths)
    assert "/api/v2/scancer/models" in paths
