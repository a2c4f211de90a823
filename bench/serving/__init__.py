"""How near a model service comes to a bare loop, beside other people's servers in the same run."""
