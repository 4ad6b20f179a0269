"""UDAIR: all-in-one image restoration that adapts itself to the domain it is deployed in."""

__version__ = "0.1.0"
