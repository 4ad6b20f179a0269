"""Receipts of pictures, checked."""

from __future__ import annotations

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.principal import DomainReader
from udair_platform.api.schemas import ReceiptVerify
from udair_platform.contract.receipts import ReceiptCheck
from udair_platform.errors import NotFound
from udair_platform.services import receipts

router = APIRouter(prefix="/v1/receipts:verify", tags=["versions"])


@router.post("")
def verify_receipt(body: ReceiptVerify, context: Ctx, who: DomainReader) -> ReceiptCheck:
    """Whether the platform signed a receipt of one of the caller's pictures, and what its version is now."""
    keys = [key for key in (context.signing_key, context.previous_signing_key) if key is not None]
    receipt = receipts.opened(keys, body.receipt)
    if receipt is None:
        return receipts.forged()
    if receipt.tenant != who.tenant:
        raise NotFound("The receipt is of no picture of this tenant.")
    with context.database.read() as state:
        return receipts.checked(state, who.domain(state, receipt.domain), receipt)
