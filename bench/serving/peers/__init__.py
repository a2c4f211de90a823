"""The same network behind other people's servers, each in the configuration that it advises."""
