"""How near the engine comes to a bare loop of runs, in one process."""
