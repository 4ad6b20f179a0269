"""Temporary credentials of a role, for boto3 and for s3fs.

They live an hour at most and are replaced before they end, for as long as a client is used. They exist
in the memory of the process that assumed the role, and nowhere else.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import botocore.session
from botocore.credentials import AssumeRoleCredentialFetcher, Credentials, DeferredRefreshableCredentials
from botocore.exceptions import NoCredentialsError

from udair_jobs.storage.roles import Role

_SESSION_NAME = "udair"


def role_session(role: Role, policy: str, sts_options: dict[str, Any]) -> botocore.session.Session:
    """A botocore session whose clients use `role`; STS is first asked when they send something.

    Args:
        role: Which role; the credentials of the environment or the machine ask for it.
        policy: Session policy, JSON.
        sts_options: How to reach STS, as `create_client` takes it.

    Raises:
        NoCredentialsError: There are none to ask with.
    """
    own, session = botocore.session.get_session(), botocore.session.get_session()
    fetcher = AssumeRoleCredentialFetcher(
        partial(own.create_client, **sts_options), _own(own.get_credentials()), role.arn, _asked(role, policy)
    )
    credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    session._credentials = credentials  # type: ignore[attr-defined]
    return session


def aio_session(role: Role, policy: str, sts_options: dict[str, Any]) -> Any:
    """The same for s3fs: an aiobotocore session whose clients use the role.

    It pickles to the arguments of this function: a Ray worker assumes the role by itself.
    """
    from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
    from aiobotocore.session import AioSession

    class RoleSession(AioSession):  # type: ignore[misc]
        """Made here, so that whoever works without roles need not import aiobotocore."""

        _credentials: Any

        async def get_credentials(self) -> Any:
            if self._credentials is None:
                own = AioSession()
                fetcher = AioAssumeRoleCredentialFetcher(
                    partial(own.create_client, **sts_options),
                    _own(await own.get_credentials()),
                    role.arn,
                    _asked(role, policy),
                )
                self._credentials = AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
            return self._credentials

        def __reduce__(self) -> Any:
            return aio_session, (role, policy, sts_options)

    return RoleSession()


def _asked(role: Role, policy: str) -> dict[str, Any]:
    asked = {"RoleSessionName": _SESSION_NAME, "DurationSeconds": role.duration_s, "Policy": policy}
    return asked | ({"ExternalId": role.external_id} if role.external_id is not None else {})


def _own(credentials: Credentials | None) -> Credentials:
    if credentials is None:
        raise NoCredentialsError
    return credentials
