"""The adaptation job: a prefix of unlabelled images in, a candidate adapter with its evidence out."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, cast

import udair
from udair.data.images import ImageArray
from udair.errors import AdapterError
from udair_jobs.adapt_domain.references import References, fetch_references, manifest_folder
from udair_jobs.adapt_domain.specs import source_of
from udair_jobs.errors import CandidateError, JobError, JobsError, NotFound
from udair_jobs.images.datasets import LoadedImages, load_images
from udair_jobs.images.manifests import Split
from udair_jobs.images.snapshots import Snapshot, load_snapshot, take_snapshot
from udair_jobs.published.base_models import checked_digest, local_folder
from udair_jobs.published.candidates import ADAPTER, BASE, EVIDENCE, MANIFEST, publish_candidate, verify_candidate
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.curves import Curves
from udair_jobs.runtime.failures import explain
from udair_jobs.runtime.reporting import Reporter
from udair_jobs.runtime.results import MAX_SKIPPED, commit_result, read_result, to_json
from udair_jobs.runtime.threads import set_threads
from udair_jobs.specs import AdaptResult, AdaptSpec, Manifest, Phase, Skipped, SnapshotSummary
from udair_jobs.storage import PATIENCE_S, PatientStorage, Storage, open_storage

if TYPE_CHECKING:
    from udair.adaptation.adapter import Adapter
    from udair.adaptation.profile import Profile
    from udair.adaptation.recipe import Adaptation
    from udair.bundle import Bundle
    from udair_jobs.adapt_domain.checkpoints import PhaseCheckpoints

log = logging.getLogger(__name__)

CANDIDATE = "candidate"
CHECKPOINTS = "checkpoints"
MATCH = "match.json"


@dataclass
class _Attempt:
    """What is known so far, so that a failure can report it too."""

    spec: AdaptSpec
    output: Storage
    reporter: Reporter
    curves: Curves
    cancellation: Cancellation
    patience_s: float
    snapshot: SnapshotSummary | None = None
    references: References = field(default_factory=References)
    skipped: list[Skipped] = field(default_factory=list)

    def store(self, uri: str) -> Storage:
        """A place on the platform's own store."""
        return PatientStorage(open_storage(uri, endpoint_url=self.spec.store_endpoint_url), self.patience_s)

    def report(self, phase: Phase, fraction: float = 0.0, metrics: dict[str, float] | None = None) -> None:
        self.cancellation.check()
        self.reporter.report(phase, fraction, metrics)


def run(spec: AdaptSpec, *, cancellation: Cancellation | None = None, patience_s: float = PATIENCE_S) -> AdaptResult:
    """Run one attempt and write its `result.json`; an attempt that has one returns it at once.

    Failures of the customer's data, of the base model, of numerics and of the machine become a FAILED
    result with a reason. A store that does not answer is waited for, `patience_s` seconds a call.

    Raises:
        StorageError: `output_uri` cannot be written, so there is nowhere to put a result.
    """
    started = time.monotonic()
    impatient = open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url)
    output = PatientStorage(impatient, patience_s)
    earlier = read_result(output)
    if earlier is not None:
        log.info("%s has a result already: %s", output.uri, earlier.state)
        return earlier
    # A heartbeat that cannot be written now is of no use later.
    attempt = _Attempt(spec, output, Reporter(impatient), Curves(impatient), cancellation or Cancellation(), patience_s)
    try:
        with attempt.cancellation.armed():
            result = _adapt(attempt)
    except Exception as error:  # every failure must reach the control plane as a reason
        reason, detail = explain(error)
        if reason == "CONTROLLER_ERROR" and not isinstance(error, JobsError):
            log.exception("the job failed in a way that nobody expected")
        else:
            log.error("%s: %s", reason, detail)
        if isinstance(error, JobError):
            attempt.skipped.extend(error.skipped)
        result = AdaptResult(
            state="FAILED",
            reason=reason,
            detail=detail,
            snapshot=attempt.snapshot,
            references=attempt.references.summary,
            words=list(attempt.references.words),
        )
    attempt.curves.write()
    return commit_result(
        output,
        result.model_copy(
            update={
                "skipped": attempt.skipped[:MAX_SKIPPED],
                "phases": attempt.reporter.phases(),
                "seconds": round(time.monotonic() - started, 3),
            }
        ),
    )


def _adapt(attempt: _Attempt) -> AdaptResult:
    spec = attempt.spec
    attempt.report("VALIDATING")
    candidate = attempt.output.at(CANDIDATE)
    if candidate.exists(MANIFEST):
        # An earlier process of this attempt died between the candidate's commit and its result.
        return _published_earlier(attempt, candidate)
    with local_folder(spec.base_uri, endpoint_url=spec.store_endpoint_url, patience_s=attempt.patience_s) as base:
        checked_digest(base, spec.base_uri, spec.base_digest)
        # From here on torch is loaded; a wrong spec should not have to wait for it.
        from udair.adaptation.base_check import check_base
        from udair.bundle import load_bundle

        set_threads()
        bundle = load_bundle(base, expected_digest=spec.base_digest)
    attempt.report("VALIDATING", 1.0)
    snapshot, target, gate = _fetch(attempt)
    champion = _champion(attempt, bundle)
    states = _states(attempt, champion)
    profile = _profile(attempt, bundle, snapshot, target.images, states)
    adaptation = _recipe(attempt, bundle, target, gate.images, champion, states)
    attempt.report("EXPORTING")
    against_nothing = check_base(bundle, gate.images, spec.tone)
    files = _files(attempt, adaptation, profile) | {
        BASE: to_json(asdict(against_nothing) | {"reason": against_nothing.reason})
    }
    files |= _gallery(attempt, bundle, gate, adaptation, champion)
    manifest = publish_candidate(
        candidate, files, base_digest=spec.base_digest, code_version=udair.__version__, tone=spec.tone
    )
    attempt.report("EXPORTING", 1.0)
    return _succeeded(attempt, candidate, manifest, files)


def _fetch(attempt: _Attempt) -> tuple[Snapshot, LoadedImages, LoadedImages]:
    """The domain's images, to adapt to and for the gate; the attempt knows its references then, too."""
    spec, report = attempt.spec, attempt.report
    report("FETCHING")
    source, pinned = source_of(spec, attempt.patience_s), attempt.store(spec.snapshot_uri)
    snapshot = take_snapshot(
        source,
        pinned,
        snapshot_id=spec.snapshot_id,
        limits=spec.limits,
        on_progress=lambda share, counters: report("FETCHING", 0.5 * share, counters),
    )
    attempt.snapshot = snapshot.summary
    attempt.skipped.extend(snapshot.skipped())

    def load(split: Split, start: float, share: float) -> LoadedImages:
        return load_images(
            source,
            snapshot.split(split),
            limits=spec.limits,
            on_progress=lambda done: report("FETCHING", start + share * done),
        )

    adapt, gate = load("adapt", 0.5, 0.2), load("gate", 0.7, 0.1)
    attempt.skipped.extend(adapt.skipped + gate.skipped)
    if adapt.skipped and not adapt.images:
        first = adapt.skipped[0]
        raise JobError(
            "DATA_UNREADABLE",
            f"none of the {len(adapt.skipped)} images to adapt to is as it was when snapshot "
            f"{spec.snapshot_id} was taken (first: {first.key}: {first.reason}). Take a new snapshot.",
        )
    attempt.references = fetch_references(
        spec,
        pinned,
        snapshot,
        [*adapt.images, *gate.images],
        on_progress=lambda share: report("FETCHING", 0.8 + 0.2 * share),
        patience_s=attempt.patience_s,
    )
    attempt.skipped.extend(attempt.references.skipped)
    return snapshot, adapt, gate


def _states(attempt: _Attempt, champion: Adapter | None) -> PhaseCheckpoints:
    """What earlier attempts of the job finished, if they worked on the very same things."""
    from udair.adaptation.adapter import adapter_digest, adapter_to_bytes
    from udair_jobs.adapt_domain.checkpoints import PhaseCheckpoints

    spec = attempt.spec
    assert attempt.snapshot is not None, "images came from it"
    made_from = {
        "base": spec.base_digest,
        "snapshot": attempt.snapshot.digest,
        "recipe": asdict(spec.recipe),
        "tone": spec.tone,
        "tone_aim": spec.tone_aim,
        "references": attempt.references.digest,
        "limits": spec.limits.model_dump(),
        "everything_embedded": spec.embed_workers > 0,
        "champion": adapter_digest(adapter_to_bytes(champion)) if champion else None,
        "version": udair.__version__,
    }
    folder = spec.checkpoint_uri or f"{spec.output_uri.rstrip('/')}/{CHECKPOINTS}"
    return PhaseCheckpoints(attempt.store(folder), made_from)


def _profile(
    attempt: _Attempt, bundle: Bundle, snapshot: Snapshot, images: list[ImageArray], states: PhaseCheckpoints
) -> Profile:
    """What the domain looks like: all of it by Ray workers, or the images at hand in this process."""
    from udair.adaptation.profile import Profile
    from udair_jobs.adapt_domain.embedding_pass import embed_on_ray, profile_of

    attempt.report("EMBEDDING")
    known = states.load("EMBEDDING")
    if known is not None:
        return Profile.from_state(known)
    if attempt.spec.embed_workers:
        profile, skipped = embed_on_ray(
            attempt.spec,
            snapshot.split("adapt"),
            bundle.model.config.codes,
            attempt.cancellation,
            lambda share: attempt.report("EMBEDDING", 0.9 * share),
        )
        attempt.skipped.extend(skipped)
    else:
        profile = profile_of(bundle, images)
    states.save("EMBEDDING", profile.to_state())
    return profile


def _recipe(
    attempt: _Attempt,
    bundle: Bundle,
    target: LoadedImages,
    gate_images: list[ImageArray],
    champion: Adapter | None,
    states: PhaseCheckpoints,
) -> Adaptation:
    from udair.adaptation.recipe import adapt

    def on_progress(phase: str, fraction: float, metrics: dict[str, float]) -> None:
        if phase == "ADAPTING":
            attempt.curves.add(metrics)
        attempt.report(cast(Phase, phase), fraction, metrics)

    recipe = attempt.spec.recipe
    return adapt(
        bundle,
        target.images,
        gate_images,
        recipe,
        on_progress,
        champion=champion,
        states=states,
        tone=attempt.spec.tone,
        references=attempt.references.images,
        tone_aim=attempt.spec.tone_aim,
        jpeg_tables=target.jpeg_tables,
    )


def _champion(attempt: _Attempt, bundle: Bundle) -> Adapter | None:
    """The domain's adapter so far; one that cannot be used costs the warm start, not the job."""
    from udair.adaptation.adapter import adapter_from_bytes

    if attempt.spec.champion_uri is None:
        return None
    store = attempt.store(attempt.spec.champion_uri)
    try:
        verify_candidate(store, base_digest=bundle.digest)
        return adapter_from_bytes(store.get(ADAPTER), bundle.digest, bundle.model, attempt.spec.tone)
    except (AdapterError, CandidateError, NotFound) as error:
        log.warning("cold start: the champion at %s cannot be used: %s", attempt.spec.champion_uri, error)
        return None


def _files(attempt: _Attempt, adaptation: Adaptation, profile: Profile) -> dict[str, bytes]:
    from udair.adaptation.adapter import adapter_to_bytes

    said = attempt.references.words
    evidence = replace(adaptation.evidence, notes=(*adaptation.evidence.notes, *said))
    words = [*adaptation.match.get("words", ()), *said]
    return {
        ADAPTER: adapter_to_bytes(adaptation.adapter),
        EVIDENCE: to_json(evidence.to_dict()),
        "metrics.json": to_json(adaptation.metrics),
        MATCH: to_json(adaptation.match | {"words": words}),
        "profile.json": to_json(profile.to_dict()),
    }


def _gallery(
    attempt: _Attempt, bundle: Bundle, gate: LoadedImages, adaptation: Adaptation, champion: Adapter | None
) -> dict[str, bytes]:
    from udair_jobs.adapt_domain import gallery

    views = gallery.look_at_images(
        bundle, gate.images, gate.keys, adaptation.adapter, champion, most=attempt.spec.gallery_images
    )
    return gallery.files(views)


def _published_earlier(attempt: _Attempt, candidate: Storage) -> AdaptResult:
    spec = attempt.spec
    manifest = verify_candidate(candidate, base_digest=spec.base_digest)
    snapshot = load_snapshot(attempt.store(spec.snapshot_uri))
    if snapshot is not None:
        attempt.snapshot = snapshot.summary
        attempt.skipped.extend(snapshot.skipped())
    if spec.reference_uri is not None:
        pinned = load_snapshot(manifest_folder(attempt.store(spec.snapshot_uri), spec.reference_uri))
        attempt.references = References(summary=pinned.summary if pinned else None)
    log.info("%s was published by an earlier process of this attempt", candidate.uri)
    return _succeeded(attempt, candidate, manifest, {name: candidate.get(name) for name in manifest.files})


def _succeeded(attempt: _Attempt, candidate: Storage, manifest: Manifest, files: dict[str, bytes]) -> AdaptResult:
    metrics: dict[str, float | None] = json.loads(files["metrics.json"])
    return AdaptResult(
        state="SUCCEEDED",
        snapshot=attempt.snapshot,
        references=attempt.references.summary,
        words=json.loads(files[MATCH])["words"],
        candidate_uri=candidate.uri,
        manifest=manifest,
        evidence=json.loads(files[EVIDENCE]),
        base_loses=json.loads(files[BASE])["reason"] if BASE in files else "",
        metrics={name: value for name, value in metrics.items() if value is not None},
    )
