"""Open Inference Protocol V2 (KServe, Triton): a domain is a model, an encoded image is a BYTES element.

An element comes as base64 in the JSON, or raw in the binary extension: the JSON is followed by, for
every BYTES element, its length in four bytes (little-endian) and the bytes themselves;
`Inference-Header-Content-Length` says where the JSON ends.

Source: https://github.com/kserve/open-inference-protocol, and Triton's extension of binary tensor data.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

from udair.config import Tone
from udair_platform.errors import BadRequest
from udair_platform.serving.request import Priority, priority_of, tone_of

HEADER_LENGTH = "Inference-Header-Content-Length"
INPUT, OUTPUT = "image", "restored"
MAX_IMAGES = 16
# A request has some twenty names and values, base64 counts as one: beyond that a document takes many times its
# own size in memory. Where images come raw, the document beside them is short.
_MAX_VALUES = 1_000
_HEAD_BYTES = 64 * 2**10


@dataclass(frozen=True)
class InferRequest:
    """An inference request.

    Attributes:
        id: Repeated in the response.
        images: Encoded.
        binary: Whether outputs are wanted raw.
        test_time, tone, priority: The request's parameters of these names.
    """

    id: str
    images: list[bytes]
    binary: bool
    test_time: bool
    tone: Tone | None
    priority: Priority


def model_metadata(domain: str, version: int) -> dict[str, Any]:
    """The answer to `/v2/models/{domain}`."""
    tensor = {"datatype": "BYTES", "shape": [-1]}
    return {
        "name": domain,
        "versions": [str(version)],
        "platform": "udair",
        "inputs": [{"name": INPUT, **tensor}],
        "outputs": [{"name": OUTPUT, **tensor}],
    }


def json_bytes(header: str | None) -> int | None:
    """How long the JSON is, by `Inference-Header-Content-Length`; None: it is the whole body.

    Raises:
        BadRequest: It is no number, or a larger one than may be.
    """
    if header is None:
        return None
    if not re.fullmatch("[0-9]{1,9}", header) or int(header) > _HEAD_BYTES:
        raise BadRequest(f"{HEADER_LENGTH} is {header[:20]!r}; expected a number of bytes, at most {_HEAD_BYTES}.")
    return int(header)


class ValueLimit:
    """Counts the values of a request's JSON while it arrives: a document of millions is refused at its first piece.

    Args:
        length: Of the JSON, from `json_bytes`; what follows it is not looked at.
    """

    def __init__(self, length: int | None) -> None:
        self._left, self._found = length, 0

    def take(self, piece: bytes) -> None:
        """The next bytes of the body.

        Raises:
            BadRequest: There are too many values.
        """
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        self._found += sum(map(piece.count, (b"{", b"[", b",", b":")))
        if self._found > _MAX_VALUES:
            raise BadRequest(f"The request holds more than {_MAX_VALUES} values; expected one list of encoded images.")


def parse_infer(body: bytes, length: int | None) -> InferRequest:
    """Read a request, whose JSON is so long (`json_bytes`).

    Raises:
        BadRequest: It is none that can be answered; the message says which part is wrong.
    """
    head, raw = (body, b"") if length is None else (body[:length], body[length:])
    if length is not None and length > len(body):
        raise BadRequest(f"{HEADER_LENGTH} is {length}; the body has {len(body)} bytes.")
    try:
        document = json.loads(head)
        inputs = document["inputs"]
        assert isinstance(inputs, list)
        assert len(inputs) == 1
        tensor = inputs[0]
        shape = [int(side) for side in tensor["shape"]]
        parameters = tensor.get("parameters") or {}
        asked = document.get("parameters") or {}
        outputs = document.get("outputs") or []
        binary = bool(asked.get("binary_data_output")) or any(
            (output.get("parameters") or {}).get("binary_data") for output in outputs
        )
    except (ValueError, KeyError, TypeError, AssertionError, AttributeError, RecursionError):
        raise BadRequest(
            f"The request is none of the V2 protocol; expected one input {INPUT!r} with shape and data."
        ) from None
    if tensor.get("datatype") != "BYTES":
        raise BadRequest(
            f"The input has datatype {str(tensor.get('datatype'))[:20]!r}; expected BYTES: encoded images."
        )
    size = parameters.get("binary_data_size")
    images = _from_base64(tensor.get("data")) if size is None else _from_binary(raw, size)
    count = 1
    for side in shape:
        count *= side
    if count != len(images) or not 1 <= count <= MAX_IMAGES:
        raise BadRequest(f"The shape {shape} holds {count} images, {len(images)} came; expected 1 to {MAX_IMAGES}.")
    tone, priority = (None if asked.get(name) is None else str(asked[name]) for name in ("tone", "priority"))
    return InferRequest(
        str(document.get("id", ""))[:128],
        images,
        binary,
        bool(asked.get("test_time", False)),
        tone_of(tone),
        priority_of(priority),
    )


def render_infer(
    request: InferRequest, domain: str, version: int, images: list[bytes], parameters: dict[str, Any]
) -> tuple[bytes, int | None]:
    """The response's body, and the length of its JSON part if raw data follow it."""
    tensor: dict[str, Any] = {"name": OUTPUT, "datatype": "BYTES", "shape": [len(images)]}
    raw = b"".join(len(image).to_bytes(4, "little") + image for image in images) if request.binary else b""
    if request.binary:
        tensor["parameters"] = {"binary_data_size": len(raw)}
    else:
        tensor["data"] = [base64.b64encode(image).decode() for image in images]
    document: dict[str, Any] = {
        "model_name": domain,
        "model_version": str(version),
        "outputs": [tensor],
        "parameters": parameters,
    }
    if request.id:
        document["id"] = request.id
    head = json.dumps(document).encode()
    return head + raw, len(head) if request.binary else None


def _from_base64(data: Any) -> list[bytes]:
    if not isinstance(data, list) or not all(isinstance(element, str) for element in data):
        raise BadRequest("The input has no list of base64 strings under `data`.")
    try:
        return [base64.b64decode(element, validate=True) for element in data]
    except (binascii.Error, ValueError):
        raise BadRequest("An element of `data` is no base64; or send raw bytes with the binary extension.") from None


def _from_binary(raw: bytes, size: Any) -> list[bytes]:
    if not isinstance(size, int) or size != len(raw):
        raise BadRequest(f"binary_data_size is {str(size)[:20]}; {len(raw)} raw bytes came.")
    images, at = [], 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        if at + 4 + length > len(raw):
            raise BadRequest(f"The raw element at byte {at} says {length} bytes; {max(0, len(raw) - at - 4)} are left.")
        images.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    return images
