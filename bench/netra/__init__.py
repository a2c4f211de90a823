"""How soon netra acknowledges, picks up and finishes photographs."""
