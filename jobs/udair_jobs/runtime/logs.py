"""Which libraries may speak in a job's log."""

from __future__ import annotations

import logging

# They announce at INFO where they found credentials, once for every client.
CHATTY = ("botocore", "aiobotocore", "boto3", "s3fs", "urllib3")


def quiet() -> None:
    """Let chatty libraries speak from WARNING upwards only."""
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
