"""Settings: what the environment says, and what follows from it."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from shared.settings import SERVICES, Settings


def test_services_listen_behind_the_gateway_in_order() -> None:
    settings = Settings(port=9000)
    assert [settings.service_port(name) for name in SERVICES] == [
        9001,
        9002,
        9003,
        9004,
        9005,
        9006,
    ]
    assert settings.service_url("chexray") == "http://127.0.0.1:9002"


def test_a_service_elsewhere_is_named_by_its_url() -> None:
    assert Settings(auth_url="http://auth:8001").service_url("auth") == "http://auth:8001"


def test_everything_lies_below_home_unless_told_otherwise(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, objects_url=None, keys_dir=None)
    assert settings.keys_folder == tmp_path / "keys"
    assert settings.object_store_url == f"file://{tmp_path}/objects"
    assert Settings(home=tmp_path, keys_dir=tmp_path / "run").keys_folder == tmp_path / "run"


def test_a_missing_database_stops_the_process() -> None:
    with pytest.raises(ValueError, match="VEDETTE_DATABASE_URL"):
        Settings(database_url=None).require_database_url()


def test_secrets_do_not_show() -> None:
    """A settings object ends up in a log sooner or later."""
    settings = Settings(
        database_url=SecretStr("postgresql://u:hunter2@h/d"), admin_password=SecretStr("hunter2")
    )
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU"])
def test_an_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(ValidationError):
        Settings(device=device)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]  # the point of the test
