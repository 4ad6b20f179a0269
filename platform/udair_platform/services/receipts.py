"""Whether a receipt is ours, and what is known now of the version that it names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from udair_platform.contract.receipts import Receipt, ReceiptCheck
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.errors import NotFound
from udair_platform.signing import Purpose, unseal
from udair_platform.state.repositories import State


def opened(signing_keys: Sequence[bytes], text: str) -> Receipt | None:
    """The receipt, if one of `signing_keys` signed it; None for whatever else `text` may be."""
    for key in signing_keys:
        body = unseal(key, Purpose.RECEIPT, text.strip())
        if body is not None:
            return Receipt.model_validate_json(body)
    return None


def forged() -> ReceiptCheck:
    """The answer to what we did not sign."""
    return _check(None, None, detail="This platform did not sign it, or not with a signing key that it still has.")


def checked(state: State, domain: Domain, receipt: Receipt) -> ReceiptCheck:
    """The answer to a receipt that we signed for `domain`: what its version is now."""
    if receipt.version == SOURCE_VERSION:
        known = state.bases.current(receipt.base_digest) is not None
        detail = "The base model made it, which is registered here." if known else "Its base model is not known here."
        return _check(receipt, known or None, base_digest=receipt.base_digest if known else None, detail=detail)
    name = f"{domain.name}@{receipt.version}"
    with suppress(NotFound):
        version = state.versions.get(domain.tenant, domain.id, receipt.version)
        agrees = (version.adapter_digest, version.base_digest) == (receipt.adapter_digest, receipt.base_digest)
        return _check(
            receipt,
            agrees,
            state=version.state,
            verdict=version.verdict,
            adapter_digest=version.adapter_digest,
            base_digest=version.base_digest,
            detail=f"{name} made it: gate {version.verdict or 'not judged'}, now {version.state}."
            if agrees
            else f"{name} has other digests than the receipt: the domain was deleted and made anew since.",
        )
    return _check(receipt, None, detail=f"{name} is not known here any more.")


def _check(
    receipt: Receipt | None,
    agrees: bool | None,
    *,
    detail: str,
    state: str | None = None,
    verdict: str | None = None,
    adapter_digest: str | None = None,
    base_digest: str | None = None,
) -> ReceiptCheck:
    return ReceiptCheck(
        genuine=receipt is not None,
        receipt=receipt,
        agrees=agrees,
        state=state,
        verdict=verdict,
        adapter_digest=adapter_digest,
        base_digest=base_digest,
        detail=detail,
    )
