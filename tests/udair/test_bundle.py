import json
import shutil

import pytest
import torch

from udair.bundle import load_bundle
from udair.config import ModelConfig
from udair.errors import BundleError, ConfigError
from udair.models.restorer import Restorer
from udair.publishing import between
from udair.weights import packaged, read_manifest

CONFIG = ModelConfig("test", (8, 12, 16), (1, 1, 1), codes=16, code_dim=8, embedder_width=8)


def test_what_was_saved_loads_and_restores(bundle):
    image = torch.rand(1, 3, 32, 32)
    assert bundle.model(image).shape == image.shape
    assert len(bundle.replay_train_NCHW) + len(bundle.replay_gate_NCHW) == len(bundle.replay_NCHW)


def test_another_digest_than_expected_is_refused(bundle_folder):
    with pytest.raises(BundleError, match="expected 000"):
        load_bundle(bundle_folder, "000")


def test_an_altered_file_is_refused(bundle_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle_folder, copy)
    path = copy / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="does not match its manifest"):
        load_bundle(copy)


def test_a_manifest_that_was_altered_to_fit_is_refused(bundle_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle_folder, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["digest"] = "0" * 64
    (copy / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="it was altered"):
        load_bundle(copy)


def test_without_a_manifest_it_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="publication did not finish"):
        load_bundle(tmp_path)


def test_the_shipped_base_model_is_what_its_manifest_says():
    folder = packaged("tiny")
    loaded = load_bundle(folder, read_manifest(folder)["digest"])
    assert loaded.name == "udair-tiny"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 16 * 2**20
    with pytest.raises(BundleError, match="there are: "):
        packaged("huge")


def test_a_model_between_two_is_theirs_at_the_ends_and_neither_in_the_middle():
    torch.manual_seed(0)
    earlier, later = Restorer(CONFIG).eval(), Restorer(CONFIG).eval()
    image = torch.rand(1, 3, 48, 48)
    assert torch.equal(between(earlier, later, 1.0)(image), later(image))
    middle = between(earlier, later, 0.5)
    assert not torch.equal(middle(image), later(image))
    torch.testing.assert_close(middle.leave.weight, (earlier.leave.weight + later.leave.weight) / 2)
    with pytest.raises(ConfigError, match="one architecture"):
        between(earlier, Restorer(ModelConfig.named("tiny")), 0.5)
