"""SQLFlow's gRPC service, as its clients know it: a `.proto` file and the stubs made from it, and nothing else."""
