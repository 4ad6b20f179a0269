"""One client of Kubernetes' API server: for the launcher and for `udair deploy`."""
