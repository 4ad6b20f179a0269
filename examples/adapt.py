"""Adapt to a place, look at the pictures, promote, restore.

    python examples/adapt.py night-cams s3://acme/night/ photo.jpg

The platform is found as by every client: UDAIR_URL and UDAIR_API_KEY, or a profile of `udair login`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from udair_platform.client import Client, Conflict, GateRejected, JobFailed

QUICK = {"steps": 10}


def main() -> int:
    arguments = _arguments()
    with Client() as client:
        try:
            domain = client.domains.create(arguments.name, arguments.source)
        except Conflict:
            domain = client.domains.get(arguments.name)

        job = domain.adapt(**QUICK if arguments.quick else {})
        for now in job.stream():
            print(f"{now.state:<12} {now.phase or '':<12} {now.progress_percent:3.0f} %")
        try:
            version = job.result()
        except JobFailed as error:
            print(error)
            return 1
        except GateRejected as error:
            print(f"{error} What served before still serves.")
            return 0

        for check in version.report().checks:
            print(f"{'ok' if check.passed else 'FAILED':<8} {check.name:<24} {check.measured} (limit {check.limit})")
        page = version.gallery().save(arguments.out / f"{domain.name}-{version.number}.html")
        print(f"before and after: {page}")

        if version.verdict == "PASSED":
            version.promote(reason="the gate passed, and the pictures look right", if_current=domain.champion)
        for photo in arguments.photos:
            restored = domain.restore(photo)
            target = restored.save(arguments.out / f"{photo.stem}-restored.png")
            print(f"{target}  by version {restored.version}, {restored.timing_ms}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the domain; made if there is none")
    parser.add_argument("source", help="s3://bucket/prefix of its images")
    parser.add_argument("photos", nargs="*", type=Path, help="images to restore afterwards")
    parser.add_argument("--quick", action="store_true", help="train briefly, only to see it work")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the results")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
