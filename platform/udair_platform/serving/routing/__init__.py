"""Which version, which replica, how many replicas."""
