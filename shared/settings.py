"""What the platform can be told from outside: environment variables that begin with `VEDETTE_`."""

import os
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ServiceName = Literal["auth", "chexray", "netra", "fleet", "bqat", "scancer"]

#: The services in the order of their ports: the gateway's port plus the place, from 1.
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)


def _split(names: object) -> object:
    if isinstance(names, str):
        return tuple(name.strip() for name in names.split(",") if name.strip())
    return names


#: Names separated by commas.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


def default_home() -> Path:
    """Where the platform keeps its files unless told otherwise.

    As root it is a folder that the unprivileged database server can reach.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/vedette")
    return Path.home() / ".local" / "share" / "vedette"


class Settings(BaseSettings):
    """Settings that every process of the platform shares; a service adds its own in a subclass."""

    model_config = SettingsConfigDict(
        env_prefix="VEDETTE_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """The address the gateway listens on."""
    port: int = Field(default=8000, ge=1, le=65_529)
    """The gateway's port; the services follow it."""
    bind: str = "127.0.0.1"
    """The address the services listen on."""
    listen_port: int | None = Field(default=None, ge=1, le=65_535)
    """Where this one process listens, when it is not at its service's port: a replica."""
    home: Path = Field(default_factory=default_home)
    """Embedded database, objects, installed models, keys."""
    database_url: SecretStr | None = None
    """A PostgreSQL 15 or later URL; `vedette up` starts an embedded server when it is unset."""
    database_pool_size: int = Field(default=8, ge=1)
    """Connections that each service keeps; as many again for a moment."""
    objects_url: str | None = None
    """Where images are kept: `file:///folder` or `s3://bucket/prefix`."""
    keys_dir: Path | None = None
    """Where the key files lie; unset: `keys` below home."""
    admin_username: str = "admin"
    """The first administrator, made only while there is no user."""
    admin_password: SecretStr | None = None
    """Unset: a random one, which `vedette up` prints once."""
    model_mirror: str | None = None
    """A folder or URL that holds files named by their sha256."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """`auto`, `cpu`, `cuda` or `cuda:1`; `auto` takes CUDA where there is a GPU."""
    evidence: Literal["mark", "refuse", "require-validated"] = "mark"
    """What happens to answers of demo-grade models; `refuse` is advised for production."""
    rate_limit_scale: float = Field(default=1.0, ge=0)
    """Multiplies every rate limit; 0 switches them off."""
    allowed_hosts: Names = ()
    """Host names the gateway answers for beside the loopback names and the one it listens on."""
    allowed_origins: Names = ()
    """Web origins that may call, beside the same origin, the old front end's and localhost."""
    webhook_allow: Names = ()
    """Hosts, addresses and networks that webhooks may go to although they are not public."""
    issuer: str = "vedette"
    """The `iss` claim of every token."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe line that is written."""
    log_format: Literal["json", "console"] = "json"
    """`console` is for people, `json` for collectors."""
    otlp_endpoint: str | None = None
    """Where traces are sent (OTLP over HTTP); unset: nowhere."""
    threads: int | None = Field(default=None, ge=1)
    """Processor cores this process may use; unset: all it is allowed."""
    stop_grace_s: float = Field(default=7.0, ge=0)
    """How long a stopping process may finish what it has begun."""

    auth_url: str | None = None
    """Where auth is reached; unset: on this machine, at its port."""
    chexray_url: str | None = None
    """Where chexray is reached; unset: on this machine, at its port."""
    netra_url: str | None = None
    """Where netra is reached; unset: on this machine, at its port."""
    fleet_url: str | None = None
    """Where fleet is reached; unset: on this machine, at its port. Several, with commas between,
    are replicas: each is told its place as `VEDETTE_FLEET_REPLICA`, from 0."""
    bqat_url: str | None = None
    """Where bqat is reached; unset: on this machine, at its port."""
    scancer_url: str | None = None
    """Where scancer is reached; unset: on this machine, at its port."""

    @field_validator("home", "keys_dir")
    @classmethod
    def absolute(cls, path: Path | None) -> Path | None:
        """Folders do not depend on where a process was started."""
        return None if path is None else path.expanduser().absolute()

    @property
    def keys_folder(self) -> Path:
        """Where the key files lie."""
        return self.keys_dir or self.home / "keys"

    @property
    def object_store_url(self) -> str:
        """The object store's address, the local folder unless one is set."""
        return self.objects_url or f"file://{self.home / 'objects'}"

    @property
    def models_folder(self) -> Path:
        """Where installed model packages lie."""
        return self.home / "models"

    def require_database_url(self) -> str:
        """The database's address.

        Raises:
            ValueError: none is set; `vedette up` sets it for the services it starts.
        """
        if self.database_url is None:
            raise ValueError("VEDETTE_DATABASE_URL is not set and this process has no embedded one")
        return self.database_url.get_secret_value()

    def service_port(self, service: ServiceName) -> int:
        """The port on which `service` listens."""
        return self.port + 1 + SERVICES.index(service)

    def service_url(self, service: ServiceName) -> str:
        """The address at which other processes reach `service`, or the first of several."""
        return self.service_urls(service)[0]

    def service_urls(self, service: ServiceName) -> tuple[str, ...]:
        """The addresses of every process of `service`, which commas separate."""
        configured: str | None = getattr(self, f"{service}_url")
        found = tuple(url.strip() for url in (configured or "").split(",") if url.strip())
        return found or (f"http://127.0.0.1:{self.service_port(service)}",)
