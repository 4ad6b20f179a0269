"""Labels of the data plane's metrics, which whoever reaches the exporter may read."""

import hashlib

import pytest

from udair_platform.serving.endpoint import ServingConfig, ingress_of
from udair_platform.serving.model.config import BackboneConfig
from udair_platform.serving.observation.metrics import OTHER, DomainLabels


def test_a_domain_is_counted_under_a_digest_and_the_next_ones_together():
    labels = DomainLabels(limit=2)
    assert labels.label("acme/night") == hashlib.sha256(b"acme/night").hexdigest()[:12]
    assert labels.label("evil/night") != labels.label("acme/night")
    assert labels.label("acme/third") == OTHER
    assert DomainLabels(names=True).label("acme/night") == "acme/night"


@pytest.mark.parametrize("names", [False, True])
def test_the_setting_reaches_both_ends(tmp_path, monkeypatch, names: bool):
    asked = []
    monkeypatch.setattr("udair_platform.serving.endpoint.create_ingress", lambda *_, **more: asked.append(more))
    (tmp_path / "key").write_bytes(b"k" * 32)
    backbone = BackboneConfig("packaged:tiny", "", str(tmp_path), metrics_names=names)
    ingress_of(ServingConfig(backbone, "udair-tiny", str(tmp_path / "key")), None, None)
    assert asked[0]["metrics_names"] is names
