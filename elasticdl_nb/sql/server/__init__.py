"""The server that speaks SQLFlow's gRPC service."""
