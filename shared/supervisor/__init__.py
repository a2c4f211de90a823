"""What `vedette up` does: the database and every service as processes of one terminal."""

from shared.supervisor.settings import SupervisorSettings
from shared.supervisor.supervisor import StartFailed, Supervisor

__all__ = ["StartFailed", "Supervisor", "SupervisorSettings"]
