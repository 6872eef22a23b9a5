"""The doors to the world, one per effect: API server, files, processes, sockets, host network, logs."""
