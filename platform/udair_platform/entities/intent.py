"""What people say of a domain because pixels cannot tell it; an adapter is made for one intent and answers for no other."""

from __future__ import annotations

from dataclasses import dataclass

from udair.config import Tone


@dataclass(frozen=True)
class Intent:
    """What restorations shall be like.

    Attributes:
        tone: Whether exposure, colour and haze stay as they are or are corrected.
        tone_aim: Mean brightness of restored pictures, in (0, 1), that a person wants; None leaves it to the method.
        reference_uri: Prefix of good pictures of the same place or kind; None: there are none.
    """

    tone: Tone = "keep"
    tone_aim: float | None = None
    reference_uri: str | None = None

    def differs(self, made_for: Intent) -> str:
        """Why what was made for another intent is not for this one, as the end of a sentence; empty: it is."""
        if made_for.tone != self.tone:
            return f"was made for tone {made_for.tone}, and the domain's is {self.tone}"
        if made_for.tone_aim != self.tone_aim:
            return f"was made for tone_aim {_said(made_for.tone_aim)}, and the domain's is {_said(self.tone_aim)}"
        if made_for.reference_uri != self.reference_uri:
            return f"was made with references {_said(made_for.reference_uri)}, and the domain's are {_said(self.reference_uri)}"
        return ""


def _said(value: object) -> str:
    return "none" if value is None else str(value)
