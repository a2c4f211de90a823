"""Only what every service must do the same way; one module per subject."""
