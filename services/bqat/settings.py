"""What bqat can be told from outside, beside what every process can."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from shared.settings import Settings as SharedSettings

MB = 1024 * 1024


class Settings(SharedSettings):
    """Bqat's settings; the variables begin with `VEDETTE_BQAT_`."""

    bqat_anonymous: bool = False
    """Callers on loopback need no credential; `vedette up` sets it while it listens there alone."""
    bqat_access_key: SecretStr | None = None
    """What `/validate` compares with; unset: no key is right."""
    bqat_data: Path | None = None
    """The folder below which scans find folders and files; unset: `bqat/data` below home."""
    bqat_inputs_url: str | None = None
    """An object store whose prefixes scans may read: `s3://bucket/prefix`, `file:///folder`."""
    bqat_workers: int = Field(default=2, ge=0)
    """Tasks at once within the service; 0 leaves them to `vedette worker bqat`."""
    bqat_processes: int | None = Field(default=None, ge=1)
    """Processes that assess samples; unset: one for each core that this process may use."""
    bqat_file_timeout_s: float = Field(default=60, gt=0)
    """How long one sample may take before its process is ended."""
    bqat_process_memory_bytes: int = Field(default=4 * 1024 * MB, ge=512 * MB)
    """How much address space a process may gain while it assesses."""
    bqat_chunk_files: int = Field(default=500, ge=1, le=2000)
    """Files in a chunk of a scan."""
    bqat_max_upload_bytes: int = Field(default=512 * MB, ge=1024)
    """The largest request body."""
    bqat_max_upload_files: int = Field(default=1000, ge=1)
    """The most files in one upload."""
    bqat_max_file_bytes: int = Field(default=64 * MB, ge=1024)
    """The largest sample."""
    bqat_max_archive_files: int = Field(default=100_000, ge=1)
    """The most files in an uploaded archive."""
    bqat_max_archive_bytes: int = Field(default=8 * 1024 * MB, ge=1024)
    """The most bytes that an uploaded archive may unpack to."""
    bqat_wait_s: float = Field(default=60, ge=0)
    """How long a request for outliers or a report waits for what it has started."""
    bqat_sweep_interval_s: float = Field(default=3600, gt=0)
    """How often stored files are looked for that no task refers to."""
    bqat_sweep_age_s: float = Field(default=86_400, ge=60)
    """How old such a file must be before it is deleted."""

    @field_validator("bqat_data")
    @classmethod
    def data_is_absolute(cls, path: Path | None) -> Path | None:
        """The folder does not depend on where a process was started."""
        return None if path is None else path.expanduser().absolute()

    @property
    def data_folder(self) -> Path:
        """The folder below which scans find their files."""
        return self.bqat_data or self.home / "bqat" / "data"
