"""The wire of the Netra.AI API, as its document and its clients have it; `QUIRKS.md` tells."""
