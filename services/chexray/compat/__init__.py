"""The wire of the Django server of 2020, byte for byte; `QUIRKS.md` numbers its oddities."""
