"""The values that go over the wire, declared once for API, SDKs, command line and console."""
