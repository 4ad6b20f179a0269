"""What the pages say to type does what they say: every command and Python block, in order, in a fresh folder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pages import Reader, Step, steps
from PIL import Image

import udair
from udair_platform.demo.customer import night_camera, photographs
from udair_platform.local.ports import free_ports

ROOT = Path(__file__).parents[1]
# Each is one reader, who goes from page to page in one folder.
READERS = [
    ["README.md"],
    [
        "docs/quickstart.md",
        "docs/how-to/adapt.md",
        "docs/how-to/tune.md",
        "docs/how-to/serve.md",
        "docs/how-to/operate.md",
    ],
]
PHOTOGRAPHS = 24  # the fewest that the gate of this camera passes with room
PAGE = """# A page

```console
$ WORD=two; echo one && \\
    echo two
printed
$ exit 3
$ echo $WORD
```

```python
print("three")
```

```json
{}
```

<!-- not run: it would take the machine down -->
```console
$ halt
```

```console
$ udair --version
$ sleep 60
```
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def ports() -> tuple[int, int]:
    api, serving = free_ports(2)
    return api, serving


def test_a_page_is_followed_as_it_is_written(folder: Path) -> None:
    found = list(steps(PAGE, "page.md"))
    assert found[4] == Step("page.md:21", "console", "halt", "it would take the machine down")
    with Reader(folder, ports(), patience_s=2.0) as reader:
        done = [reader.does(step) for step in found if not step.not_run]
    assert [(one.step.where, one.status) for one in done] == [
        ("page.md:4", 0),
        ("page.md:7", 3),
        ("page.md:8", 0),
        ("page.md:12", 0),
        ("page.md:25", 0),
        ("page.md:26", None),
    ]
    assert [one.output for one in done[:4]] == ["one\ntwo\n", "", "two\n", "three\n"]
    assert done[4].output.strip() == udair.__version__


@pytest.mark.docs
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("pages", READERS, ids=lambda pages: pages[0])
def test_what_the_pages_say_to_type_works(pages: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for index, clean in enumerate(photographs(None, PHOTOGRAPHS)):
        Image.fromarray(night_camera(clean, rng)).save(photos / f"{index:03}.png")
    Image.open(photos / "000.png").save(folder / "in.jpg", quality=95)

    everything = [step for page in pages for step in steps((ROOT / page).read_text(), page)]
    done = []
    with Reader(folder, ports()) as reader, capsys.disabled():
        for step in everything:
            first = step.text.strip().splitlines()[0]
            if step.not_run:
                print(f"\n{step.where}: not run, {step.not_run}: {first}", end="")
                continue
            done.append(reader.does(step))
            print(f"\n{step.where}: exit {done[-1].status}, {done[-1].seconds:.1f} s: {first}", end="")
        left = reader.leaves()
    failed = [str(one) for one in done if one.status != 0]
    assert not failed, "\n\n".join(failed)
    assert left == (0, []), "Ctrl-C ends the platform and leaves no process"
    assert len(done) >= len(pages)


def test_what_is_not_run_says_why_and_is_there() -> None:
    """A comment that is over no block says nothing to anybody."""
    for page in (page for pages in READERS for page in pages):
        text = (ROOT / page).read_text()
        reasons = {step.not_run for step in steps(text, page)} - {""}
        assert reasons == set(re.findall(r"<!-- not run: (.+?) -->", text)), page
