"""Desired and observed state in SQL: the only room of the platform that speaks it."""
