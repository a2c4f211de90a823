"""Live notices: who hears of what, and how it reaches sockets."""
