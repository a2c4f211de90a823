"""TorchServe's wire as Scancer put it on the web; `QUIRKS.md` numbers its oddities."""
