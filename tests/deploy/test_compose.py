"""deploy/: what compose sets is what the code reads, and nothing is more open than it must be."""

import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.keys import key_names
from shared.settings import SERVICES, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: Mapping[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
CONTAINERS: Mapping[str, Any] = COMPOSE["services"]
OURS = {name: found for name, found in CONTAINERS.items() if "build" in found}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SECRETS = {"POSTGRES_PASSWORD": "a", "OBJECTS_PASSWORD": "b", "VEDETTE_ADMIN_PASSWORD": "c"}


def settings_of(container: str) -> type[Settings]:
    """The settings class that the container's process reads."""
    package = "gateway" if container == "gateway" else f"services.{container.removesuffix('-cuda')}"
    module = importlib.import_module(f"{package}.settings")
    (found,) = (
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Settings) and kind is not Settings
    )
    return found


@pytest.mark.parametrize("container", OURS)
def test_every_variable_is_a_setting(container: str) -> None:
    """A variable that nobody reads is a promise that is not kept."""
    fields = {f"VEDETTE_{name.upper()}" for name in settings_of(container).model_fields}
    given = {name for name in OURS[container]["environment"] if name.startswith("VEDETTE_")}
    assert given
    assert given <= fields


def test_every_variable_of_the_dockerfile_is_a_setting() -> None:
    fields = {f"VEDETTE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"VEDETTE_[A-Z_]+(?==)", DOCKERFILE)) <= fields


def test_services_are_reached_at_the_ports_they_listen_on() -> None:
    environment = OURS["gateway"]["environment"]
    settings = Settings(port=int(environment["VEDETTE_PORT"]))
    for service in SERVICES:
        if service in OURS:
            port = settings.service_port(service)
            assert environment[f"VEDETTE_{service.upper()}_URL"] == f"http://{service}:{port}"
            stage = DOCKERFILE.split(f" AS {service}\n")[1].split("\nFROM ")[0]
            assert f"EXPOSE {port}\n" in stage
            assert f"http://127.0.0.1:{port}/" in stage
            assert f'CMD ["python", "-m", "services.{service}"]' in stage


def test_the_database_and_the_objects_are_those_that_are_started() -> None:
    environment = OURS["chexray"]["environment"]
    database = CONTAINERS["postgres"]["environment"]
    assert "@postgres:5432/" in environment["VEDETTE_DATABASE_URL"]
    assert environment["VEDETTE_DATABASE_URL"].startswith(
        f"postgresql://{database['POSTGRES_USER']}:"
    )
    assert environment["VEDETTE_DATABASE_URL"].endswith(f"/{database['POSTGRES_DB']}")
    store = CONTAINERS["objects"]["environment"]
    assert environment["VEDETTE_OBJECTS_URL"] == f"s3://{store['S3_BUCKET']}/objects"
    assert environment["AWS_ENDPOINT_URL"] == "http://objects:8333"


def test_s53_nothing_but_the_gateway_publishes_a_port() -> None:
    assert [name for name, found in CONTAINERS.items() if "ports" in found] == ["gateway"]


@pytest.mark.parametrize("container", OURS)
def test_s82_containers_can_do_as_little_as_they_need(container: str) -> None:
    found = OURS[container]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in found["security_opt"]
    assert not found["user"].startswith("0")
    assert not any("docker.sock" in str(volume) for volume in found.get("volumes", []))


#: Services that ask no other one, and so need no key to speak with.
ASKS_NOBODY = {"bqat"}


@pytest.mark.parametrize("container", OURS)
def test_a_container_holds_the_keys_it_needs_and_no_other(container: str) -> None:
    service = container.removesuffix("-cuda")
    expected = {f"assertion-{service}"}
    if service not in ASKS_NOBODY:
        expected.add(f"service-{service}")
    if service == "auth":
        others = [name.removesuffix("-cuda") for name in OURS if name not in ("auth", "gateway")]
        asking = set(others) - ASKS_NOBODY
        expected = {"key-encryption", "assertion-auth", *(f"service-{name}" for name in asking)}
    if service == "gateway":
        expected = {f"assertion-{name.removesuffix('-cuda')}" for name in OURS if name != "gateway"}
    assert set(found := OURS[container]["secrets"]) == expected
    assert set(found) <= set(key_names()) & set(COMPOSE["secrets"])


@pytest.mark.parametrize("container", OURS)
def test_every_image_is_a_target_with_its_own_lock(container: str) -> None:
    target = OURS[container]["build"]["target"]
    assert f" AS {target}\n" in DOCKERFILE
    assert f"deploy/locks/{target}.lock" in DOCKERFILE
    assert (DEPLOY / "locks" / f"{target}.lock").exists()


@pytest.mark.parametrize("lock", [*DEPLOY.glob("locks/*.lock"), *DEPLOY.parent.glob("*.lock")])
def test_s83_locks_hold_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    packages = re.findall(r"^[a-z0-9].*", text, re.MULTILINE)
    assert packages
    assert all("==" in package and package.endswith("\\") for package in packages)
    assert text.count("--hash=sha256:") >= len(packages)


def compose_command() -> list[str] | None:
    """The compose program of this machine, if there is one."""
    if shutil.which("docker"):
        command = ["docker", "compose"]
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    return ["docker-compose"] if shutil.which("docker-compose") else None


@pytest.mark.parametrize("profile", ["cpu", "cuda"])
def test_compose_accepts_the_file(profile: str) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("no docker compose on this machine")
    answer = subprocess.run(
        [*command, "--file", str(DEPLOY / "compose.yaml"), "config", "--quiet"],
        env={**os.environ, **SECRETS, "COMPOSE_PROFILES": profile},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
