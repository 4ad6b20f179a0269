"""The client for event loops. The client for threads is written from these files by `make client`."""
