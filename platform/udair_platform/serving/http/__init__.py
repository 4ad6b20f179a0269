"""The data plane's HTTP surface."""
