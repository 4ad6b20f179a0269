"""Whose rights a tenant's prefix is read with: a role of theirs, cut down to listing and reading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from udair_jobs.errors import InvalidKey


@dataclass(frozen=True)
class Role:
    """Whose rights a store is read with.

    Attributes:
        arn: `arn:aws:iam::123456789012:role/name`; it trusts the platform's own identity.
        external_id: What the role's trust policy asks for, so that nobody else's job can name this role.
        duration_s: Life of one set of credentials, 900 to 3600 seconds.
    """

    arn: str
    external_id: str | None = None
    duration_s: int = 3600

    def __post_init__(self) -> None:
        if not self.arn.startswith("arn:") or ":role/" not in self.arn:
            raise InvalidKey(self.arn, "is no role; expected arn:aws:iam::123456789012:role/name.")
        if not 900 <= self.duration_s <= 3600:
            raise InvalidKey(self.arn, f"duration_s is {self.duration_s}; expected 900 to 3600.")


def reading_policy(role: Role, bucket: str, prefix: str) -> str:
    """The session policy that allows to list and read `prefix` of `bucket`, and nothing else.

    Args:
        role: Its partition (aws, aws-cn, ...) is that of the bucket.
        bucket: Bucket name.
        prefix: Without a slash at its ends; empty for the whole bucket.
    """
    within = f"{_literal(prefix)}/*" if prefix else "*"
    where = f"arn:{role.arn.split(':')[1]}:s3:::{bucket}"
    listing: dict[str, Any] = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": where}
    if prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": within}}
    reading = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{where}/{within}"}
    # No space, not even in a key: older Ceph gateways read the '+' that stands for it in a form as a plus.
    document = json.dumps({"Version": "2012-10-17", "Statement": [listing, reading]}, separators=(",", ":"))
    return document.replace(" ", "\\u0020")


def _literal(prefix: str) -> str:
    # In a policy `*`, `?` and `$` have meanings; `${*}` is how IAM spells the character itself.
    return "".join(f"${{{letter}}}" if letter in "*?$" else letter for letter in prefix)
