"""Losses of source training and adaptation."""
