"""The gate's checks for people: what each asks, and what to do where it did not hold. A test holds the names against the gate's own."""

from __future__ import annotations

from collections.abc import Mapping

# name: (what it asks, what to do where it did not hold)
CHECKS: Mapping[str, tuple[str, str]] = {
    "target images": (
        "Were there enough usable pictures to judge by?",
        "Add pictures to the domain's source and adapt again, or let somebody approve it by eye.",
    ),
    "matched gain": (
        "Does it restore pictures with the domain's own faults better than the base model?",
        "Look at the gallery; adapt on more, or more typical, pictures. The base model may be as good as it gets here.",
    ),
    "gain over the input": (
        "Is a restored picture better than the picture as it came?",
        "Leave the domain as it is: it is served as it came, or by the base model. More typical pictures may change that.",
    ),
    "looks": (
        "Do pictures come nearer to your references, or to the brightness that you asked for?",
        "Check that the references show the same place in good light, and that the tone's aim is what you want.",
    ),
    "flat places": (
        "Does it take more noise out of flat places than the base model?",
        "The pictures may have little noise; look at the gallery, or adapt on pictures of the noisy hours.",
    ),
    "texture": (
        "Does fine texture stay?",
        "It smooths too much: adapt on sharper pictures of the place, or with fewer steps (--steps).",
    ),
    "tone": (
        "Do brightness and colour stay where they belong?",
        "It moves colours: look at the gallery. If they shall change, set the domain's tone to restore and adapt again.",
    ),
    "source loss": (
        "Does it still restore ordinary pictures about as well as the base model?",
        "It forgets: adapt with fewer steps (--steps), or on more varied pictures.",
    ),
    "naturalness": (
        "Do restored pictures look as natural as the base model's?",
        "Look at the gallery for halos, grain and patterns; adapt with fewer steps (--steps).",
    ),
    "match": (
        "Do the faults that it was trained on look like the domain's?",
        "The pictures' fault is one that the method imitates badly; adapt on pictures of one kind of fault alone.",
    ),
    "colour drift": (
        "Do mean colours stay within those of good pictures?",
        "It moves colours: look at the gallery, and adapt on pictures of ordinary light.",
    ),
    "disagreement": (
        "Does a picture turned upside down come out the same?",
        "It invents detail: adapt with fewer steps (--steps), or on more pictures.",
    ),
    "clipping": (
        "Are lights and shadows not burnt out?",
        "It burns lights or drowns shadows: look at the gallery; with tone restore, ask for a more moderate aim.",
    ),
    "finite": (
        "Is every output a picture, without holes in the arithmetic?",
        "Training diverged: adapt again, with another --seed or a lower learning rate (--set learning_rate=1e-4).",
    ),
}


def asks(name: str) -> str:
    """What a check asks, as a sentence; empty for one of another release."""
    return CHECKS.get(name, ("", ""))[0]


def remedy(name: str) -> str:
    """What to do where it did not hold; empty for one of another release."""
    return CHECKS.get(name, ("", ""))[1]
