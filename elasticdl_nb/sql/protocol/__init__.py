"""SQLFlow's gRPC service, as its clients know it."""
