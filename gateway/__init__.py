"""The edge: who may call what. It forwards bytes and knows no domain."""
