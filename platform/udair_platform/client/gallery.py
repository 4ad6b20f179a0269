"""Pictures before and after, as a job published them: read, kept, and written as one page that needs nothing else."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from udair_platform.client.errors import ClientError

if TYPE_CHECKING:
    from PIL.Image import Image

INDEX = "gallery.json"
KINDS = {
    "camera": "camera",
    "source": "source model",
    "previous": "served before",
    "adapted": "adapted",
    "other": "other tone",
}
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 90rem; padding: 1.5rem }
h1 { font-size: 1.4rem } h2 { font-size: 1rem; margin: 1.5rem 0 .4rem; overflow-wrap: anywhere }
p { opacity: .75; max-width: 50rem } p.found { opacity: 1; margin: .2rem 0 }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); gap: .6rem }
figure { margin: 0 } img { width: 100%; display: block; border-radius: .3rem } figcaption { opacity: .75; font-size: .85rem }
"""


@dataclass(frozen=True)
class GalleryItem:
    """One image of a gallery.

    Attributes:
        key: Its object key.
        files: Name of the picture by kind: ``camera``, ``source``, ``adapted``, and ``previous`` if another
            version served when the job began.
        change: Mean absolute difference of adapted and source, in [0, 1].
        niqe_rise: Of adapted over source; positive is less natural; None where the image is too small to say.
    """

    key: str
    files: Mapping[str, str]
    width: int
    height: int
    change: float
    niqe_rise: float | None

    @classmethod
    def of_index(cls, index: bytes) -> list[GalleryItem]:
        """The items of a ``gallery.json``. Raises ClientError if it is none."""
        fields = cls.__dataclass_fields__
        try:
            return [cls(**{name: item[name] for name in fields}) for item in json.loads(index)["images"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ClientError(f"The gallery's index cannot be read ({error!r}); is the platform newer?") from None


@dataclass(frozen=True, repr=False)
class Gallery:
    """Pictures before and after, the worst first. There is no truth to compare with: look at them.

    Attributes:
        name: ``domain@version``.
        items: What there is.
        pictures: Encoded pictures (WebP) by file name.
        words: What the version's job found, in plain sentences.
    """

    name: str
    items: Sequence[GalleryItem]
    pictures: Mapping[str, bytes]
    words: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"Gallery({self.name!r}, {len(self.items)} images)"

    def __len__(self) -> int:
        return len(self.items)

    def picture(self, item: GalleryItem, kind: str) -> Image | None:
        """One picture as a PIL image; None if there is none of that kind."""
        import io

        from PIL import Image

        name = item.files.get(kind)
        return None if name is None else Image.open(io.BytesIO(self.pictures[name]))

    def html(self) -> str:
        """All of it as one HTML document."""
        rows = "".join(self._row(item) for item in self.items)
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.name)}: before and after</title><style>{_STYLE}</style></head><body>"
            f"<h1>{html.escape(self.name)}: before and after</h1>{self._found()}<p>{len(self.items)} images, the least natural first "
            "(NIQE). No truth is known here; judge by looking. Crops are in full resolution.</p>"
            f"{rows}</body></html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write the page to `path`. Raises OSError."""
        target = Path(path)
        target.write_text(self.html())
        return target

    def _repr_html_(self) -> str:
        return f"<style>{_STYLE}</style>{self._found()}" + "".join(self._row(item) for item in self.items)

    def _found(self) -> str:
        return "".join(f'<p class="found">{html.escape(sentence)}</p>' for sentence in self.words)

    def _row(self, item: GalleryItem) -> str:
        shown = [(kind, item.files[kind]) for kind in KINDS if kind in item.files]
        figures = "".join(
            f'<figure><img loading="lazy" alt="{KINDS[kind]}: {html.escape(item.key)}" src="{self._uri(name)}">'
            f"<figcaption>{KINDS[kind]}</figcaption></figure>"
            for kind, name in shown
        )
        rise = "" if item.niqe_rise is None else f", NIQE {item.niqe_rise:+.2f}"
        change = f"changed by {item.change:.3f}{rise}"
        return f'<h2>{html.escape(item.key)} <small>{change}</small></h2><div class="row">{figures}</div>'

    def _uri(self, name: str) -> str:
        return f"data:image/webp;base64,{base64.b64encode(self.pictures[name]).decode()}"
