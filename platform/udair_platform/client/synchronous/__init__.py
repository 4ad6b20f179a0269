"""The client for threads. Written from `asynchronous` by `make client`: change it there."""
