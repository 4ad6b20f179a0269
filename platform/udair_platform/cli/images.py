"""`udair restore`: images through what serves a domain: one, a folder of them, or stdin to stdout."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import AsOption, Home, Place, connect, domain_of
from udair_platform.cli.receipts import SUFFIX
from udair_platform.cli.render import note, watched
from udair_platform.client.errors import ClientError
from udair_platform.files import write_whole

if TYPE_CHECKING:
    from udair_platform.client import Restored

STANDARD = Path("-")
_ENDINGS = {"png": ".png", "png16": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
_BY_ENDING = {".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff"}


def restore(
    images: Annotated[Path, typer.Argument(metavar="IN", help="An image, a folder of them, or - for stdin.")],
    place: Place = "",
    domain: AsOption = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", help="File, or folder, of the result; - is stdout.")
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="png, png16, jpeg, webp or tiff; default: by OUT's ending, else png.")
    ] = "",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = 95,
    key: Annotated[str, typer.Option(help="The same key meets the same version while a canary runs.")] = "",
    tone: Annotated[str, typer.Option(help="keep or restore; default: the domain's.")] = "",
    priority: Annotated[str, typer.Option(help="low: an eighth of the model's time while others wait.")] = "",
    test_time: Annotated[bool, typer.Option("--test-time", help="Also adapt to each image.")] = False,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Images of a folder on their way at once.")] = 8,
    overwrite: Annotated[bool, typer.Option(help="Of a folder: also restore what OUT has already.")] = False,
    receipts: Annotated[
        bool, typer.Option("--receipts", help="Also write OUT.receipt: what made it, signed; see udair receipt.")
    ] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Show before and after in the terminal.")] = False,
    home: Home = "",
) -> None:
    """Restore an image, a folder of them, or stdin.

    `udair restore - NAME < in.jpg > out.png` reads stdin and writes stdout.
    """
    domain = domain_of(place, domain)
    if out is None:
        if images != STANDARD:
            raise typer.BadParameter("--out is missing; expected a file or a folder, or - for stdout.")
        out = STANDARD
    chosen = format or _BY_ENDING.get(out.suffix.lower(), "png")
    options: dict[str, Any] = {
        "format": chosen,
        "quality": quality,
        "key": key,
        "test_time": test_time,
        "tone": tone,
        "priority": priority,
    }
    if images.is_dir():
        _folder(images, out, domain, home, at_once, overwrite, receipts, options)
        return
    before = _read(images)
    restored = connect(home).restore(before, domain, **options)
    served = f"{domain}@{restored.version or '?'}{_aside(restored.headers)}"
    if out == STANDARD:
        sys.stdout.buffer.write(restored.image)
        sys.stdout.buffer.flush()
        note(served)
    else:
        try:
            _write(out, restored, receipts)
        except OSError as error:
            note(f"{out} cannot be written: {error.strerror}.")
            raise typer.Exit(exits.ERROR) from None
        typer.echo(f"{out}  {served}")
    if preview:
        from udair_platform.cli.preview import show_pair

        show_pair(before, restored.image)


def _folder(
    source: Path,
    out: Path,
    domain: str,
    home: str,
    at_once: int,
    overwrite: bool,
    receipts: bool,
    options: dict[str, Any],
) -> None:
    """Every image below `source`; one that fails is listed, and does not stop the others."""
    if options["format"] not in _ENDINGS:
        note(f"format is {options['format']!r}; expected one of {', '.join(_ENDINGS)}.")
        raise typer.Exit(exits.USAGE)
    from udair_platform.client.local_images import SUFFIXES

    found = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    # The old ending stays in the name: a.jpg and a.png of one folder are two results.
    ending = _ENDINGS[options["format"]]
    targets = {
        path: out
        / path.relative_to(source).parent
        / (path.name if path.suffix.lower() == ending else path.name + ending)
        for path in found
    }
    todo = [path for path in found if overwrite or not targets[path].exists()]
    if not found:
        note(f"{source} holds no image; expected files that end in {', '.join(SUFFIXES)}.")
        raise typer.Exit(exits.ERROR)
    from udair_platform.client import AsyncClient

    failed: dict[Path, str] = {}
    versions: dict[str, int] = {}

    async def work() -> None:
        async with AsyncClient(home=home or None) as client:
            answers = client.restore_many(_contents(todo, failed), domain, at_once=at_once, **options)
            async for path, answer in answers:
                if isinstance(answer, Exception):
                    failed[path] = str(answer)
                else:
                    try:
                        await asyncio.to_thread(_write, targets[path], answer, receipts)
                        served = f"{domain}@{answer.version or '?'}{_aside(answer.headers)}"
                        versions[served] = versions.get(served, 0) + 1
                    except OSError as error:
                        failed[path] = f"cannot be written: {error.strerror}"
                    except ClientError as error:
                        failed[path] = str(error)
                progress(path)

    with _bar(len(todo)) as progress:
        asyncio.run(work())
    for path, why in sorted(failed.items()):
        note(f"{path}: {why}")
    served = ", ".join(f"{name} {count}" for name, count in sorted(versions.items())) or "none"
    typer.echo(
        f"{out}  {len(todo) - len(failed)} restored ({served}), {len(found) - len(todo)} there already, {len(failed)} failed"
    )
    if failed:
        raise typer.Exit(exits.ERROR)


def _contents(paths: Sequence[Path], failed: dict[Path, str]) -> Iterator[tuple[Path, bytes]]:
    for path in paths:
        try:
            yield path, path.read_bytes()
        except OSError as error:
            failed[path] = f"cannot be read: {error.strerror}"


def _read(path: Path) -> bytes:
    if path == STANDARD:
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        note(f"{path} cannot be read: {error.strerror}.")
        raise typer.Exit(exits.ERROR) from None


def _write(path: Path, restored: Restored, receipts: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, restored.image)
    if receipts and not restored.receipt_text:
        raise ClientError(f"{path} is written, but no receipt came with it: the data plane is of an older release.")
    if receipts:
        write_whole(path.with_name(path.name + SUFFIX), restored.receipt_text.encode())


def _aside(headers: dict[str, str]) -> str:
    """What is worth saying about who answered."""
    fallback = headers.get("x-fallback", "none")
    return "" if fallback == "none" else f" (fallback: {fallback})"


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[Path], None]]:
    """A progress bar on stderr, moved by the yielded function; on no terminal, nothing."""
    if not watched() or not total:
        yield lambda path: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda path: progress.update(task, advance=1, description=path.name)
