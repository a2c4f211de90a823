"""How fast the gateway forwards, beside nginx before the same service in the same run."""
