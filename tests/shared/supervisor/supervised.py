"""Run as a script by tests: a supervisor whose services are stand-ins."""

import asyncio
import json
import sys
from pathlib import Path

from shared.supervisor import StartFailed, Supervisor, SupervisorSettings
from shared.supervisor.output import standard_output
from shared.supervisor.programs import Program

STAND_IN = Path(__file__).with_name("stand_in.py")


async def main() -> int:
    """Run until a signal comes; the extra arguments of each stand-in are in the order."""
    settings = SupervisorSettings()
    extra: dict[str, list[str]] = json.loads(sys.argv[1])
    ports = {"gateway": settings.port, "auth": settings.service_port("auth")}
    programs = {
        name: Program(
            name, (sys.executable, str(STAND_IN), "--port", str(port), *extra.get(name, []))
        )
        for name, port in ports.items()
    }
    output = standard_output()
    supervisor = Supervisor(
        settings, output, services=[programs["auth"]], gateway=programs["gateway"]
    )
    try:
        await supervisor.run()
    except StartFailed as error:
        output.plain(f"failed: {error}")
        return 1
    finally:
        output.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
