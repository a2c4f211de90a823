"""What `/predictions` costs, through the gateway."""
