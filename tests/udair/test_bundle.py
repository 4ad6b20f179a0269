import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from udair.bundle import _digest, load_bundle, save_bundle
from udair.config import ModelConfig
from udair.data.scenes import dead_leaves
from udair.errors import BundleError, ConfigError
from udair.metrics import psnr_db
from udair.models.restorer import Restorer
from udair.publishing import between
from udair.weights import TRAINING_LIST, packaged, read_manifest

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
    path = copy / "model-00.safetensors"
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


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_a_shipped_base_model_is_what_its_manifest_says(size):
    folder = packaged(size)
    loaded = load_bundle(folder, read_manifest(folder)["digest"])
    assert loaded.name == f"udair-{size}"
    assert loaded.model.config == ModelConfig.named(size)
    assert max(path.stat().st_size for path in folder.iterdir()) < 16_000_000
    assert (folder / TRAINING_LIST).is_file()
    with pytest.raises(BundleError, match="there are: base, tiny"):
        packaged("huge")


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_a_shipped_base_model_restores_noise_and_leaves_or_lifts_what_is_dark(size):
    """On scenes that it has not seen; limits are half of what it does there (measured when it was shipped)."""
    model = load_bundle(packaged(size), replay=False).model
    clean = torch.from_numpy(np.stack(dead_leaves(6, 128, seed=99))).permute(0, 3, 1, 2).float() / 255
    generator = torch.Generator().manual_seed(0)
    noisy = (clean + 0.1 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    gain_db = psnr_db(model(noisy, tone="keep"), clean) - psnr_db(noisy, clean)
    assert float(gain_db.mean()) > 2.0
    dark = 0.2 * clean
    kept, lifted = (model(dark, tone=tone).mean() for tone in ("keep", "restore"))
    assert abs(float(kept - dark.mean())) < 0.01
    assert float(lifted) > 1.5 * float(dark.mean())


def _copy(bundle_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle_folder, copy)
    return copy, json.loads((copy / "bundle.json").read_text())


def _rewrite(copy, manifest):
    """Make the manifest fit what lies there, as one who altered it on purpose would."""
    for name in manifest["files"]:
        data = (copy / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest["digest"] = _digest(manifest["files"])
    (copy / "bundle.json").write_text(json.dumps(manifest))


def test_a_model_in_several_shards_is_read_back_and_misses_each_of_them(bundle, bundle_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("udair.weights.shards.SHARD_BYTES", 5000)
    folder = tmp_path / "sharded"
    save_bundle(folder, "sharded", bundle.model, bundle.stats, bundle.replay_NCHW)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 3
    image = torch.rand(1, 3, 48, 48)
    torch.testing.assert_close(load_bundle(folder).model(image), load_bundle(bundle_folder).model(image))
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match=r"model-01.safetensors does not match its manifest"):
        load_bundle(folder)
    shards[1].unlink()
    with pytest.raises(BundleError, match="sha256 is missing"):
        load_bundle(folder)


def test_saving_again_leaves_no_shard_of_the_model_before(bundle, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("udair.weights.shards.SHARD_BYTES", 5000)
        save_bundle(tmp_path, "first", bundle.model, bundle.stats, bundle.replay_NCHW)
    save_bundle(tmp_path, "again", bundle.model, bundle.stats, bundle.replay_NCHW)
    assert [path.name for path in tmp_path.glob("model-*")] == ["model-00.safetensors"]


def test_a_model_of_another_family_is_refused_by_name(bundle_folder, tmp_path):
    copy, manifest = _copy(bundle_folder, tmp_path)
    manifest["config"] = {"name": "small", "width": 32, "encoder_blocks": [2, 4, 6]}
    _rewrite(copy, manifest)
    with pytest.raises(BundleError, match=r"no model that this release reads: model is of family 'none named'"):
        load_bundle(copy)


def test_a_model_of_another_size_is_refused(bundle_folder, tmp_path):
    copy, manifest = _copy(bundle_folder, tmp_path)
    wider = dict(manifest["config"], widths=[8, 12, 24])
    _rewrite(copy, manifest | {"config": wider})
    with pytest.raises(BundleError, match=r"of another size: .* is \(.*; its config \(test\) needs"):
        load_bundle(copy)


def test_half_of_the_shards_are_no_model(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("udair.weights.shards.SHARD_BYTES", 5000)
    save_bundle(tmp_path, "half", bundle.model, bundle.stats, bundle.replay_NCHW)
    manifest = json.loads((tmp_path / "bundle.json").read_text())
    kept = {name: record for name, record in manifest["files"].items() if name != "model-01.safetensors"}
    _rewrite(tmp_path, manifest | {"files": kept})
    with pytest.raises(BundleError, match=r"holds no whole test: \d+ tensors are missing"):
        load_bundle(tmp_path)


def test_a_model_between_two_is_theirs_at_the_ends_and_neither_in_the_middle():
    torch.manual_seed(0)
    earlier, later = Restorer(CONFIG).eval(), Restorer(CONFIG).eval()
    for model in (earlier, later):
        for parameter in model.parameters():  # new models change nothing
            parameter.data += 0.05 * torch.randn_like(parameter)
    image = torch.rand(1, 3, 48, 48)
    assert torch.equal(between(earlier, later, 1.0)(image), later(image))
    middle = between(earlier, later, 0.5)
    assert not torch.equal(middle(image), later(image))
    torch.testing.assert_close(middle.leave.weight, (earlier.leave.weight + later.leave.weight) / 2)
    with pytest.raises(ConfigError, match="one architecture"):
        between(earlier, Restorer(ModelConfig.named("tiny")), 0.5)
