"""How fast fleet stores frames and tells of alerts."""
