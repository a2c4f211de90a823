"""Any served network by name: predictions, model management, metrics."""
