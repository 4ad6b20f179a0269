import subprocess
import sys

import numpy as np
import pytest
import torch

from udair.bundle import load_bundle
from udair.captured import CapturedStep
from udair.config import ModelConfig, TrainConfig
from udair.data.images import encode_png
from udair.data.patches import PatchSource, read_folder
from udair.data.tasks import CLASSES, FAINT_SIGMA, make_batch
from udair.errors import BundleError, ConfigError
from udair.training import SourceTrainer, validation_psnr_db
from udair.training.guard import MOST_ROLLBACKS, SHRINK, Guard
from udair.weights import packaged
from udair.weights.shards import SHARD_BYTES

CONFIG = ModelConfig("test", (8, 12, 16), (1, 1, 1), codes=16, code_dim=8, embedder_width=8)


def test_batches_are_balanced_and_seeded(scenes):
    source = PatchSource(scenes)
    batch = make_batch(source, 2 * len(CLASSES), 48, torch.Generator().manual_seed(1))
    again = make_batch(source, 2 * len(CLASSES), 48, torch.Generator().manual_seed(1))
    assert torch.bincount(batch.label_B, minlength=len(CLASSES)).tolist() == [2] * len(CLASSES)
    assert torch.equal(batch.degraded_BCHW, again.degraded_BCHW)


def test_half_of_the_clean_patches_carry_the_faint_noise_of_a_sensor(scenes):
    shares = {name: float(name == "clean") for name in CLASSES}
    batch = make_batch(PatchSource(scenes), 64, 48, torch.Generator().manual_seed(1), shares)
    noise_B = (batch.degraded_BCHW - batch.clean_BCHW).flatten(1).std(1)
    assert 20 <= int((noise_B == 0).sum()) <= 44
    assert float(noise_B.max()) <= FAINT_SIGMA[1] * 1.05


def test_training_lowers_the_loss_and_continues_from_disk(scenes, tmp_path):
    config = TrainConfig(steps=40, minutes=5, batch=16, patch=32, learning_rate=3e-3)
    trainer = SourceTrainer(CONFIG, config, PatchSource(scenes))
    losses = [trainer.step()["loss"] for _ in range(30)]
    assert np.mean(losses[-8:]) < np.mean(losses[:8])
    trainer.save(tmp_path)

    other = SourceTrainer(CONFIG, config, PatchSource(scenes))
    other.load(tmp_path)

    assert other.steps == 30
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(other.averaged()(image), trainer.averaged()(image))
    assert other.progress == pytest.approx(0.75)


def test_a_run_that_is_continued_ends_where_an_undisturbed_one_does(scenes, tmp_path):
    config = TrainConfig(steps=6, minutes=60, batch=8, patch=32, accumulate=2)
    undisturbed = SourceTrainer(CONFIG, config, PatchSource(scenes))
    for _ in range(6):
        undisturbed.step()

    first = SourceTrainer(CONFIG, config, PatchSource(scenes))
    for _ in range(3):
        first.step()
    first.save(tmp_path)
    torch.manual_seed(99)
    second = SourceTrainer(CONFIG, config, PatchSource(scenes))
    second.load(tmp_path)
    for _ in range(3):
        second.step()

    for name, value in undisturbed.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
    for name, value in undisturbed.ema.state_dict().items():
        assert torch.equal(second.ema.state_dict()[name], value), name


def test_a_shard_that_was_cut_off_on_its_way_is_noticed(scenes, tmp_path):
    trainer = SourceTrainer(CONFIG, TrainConfig(), PatchSource(scenes))
    trainer.save(tmp_path)
    shard = next(tmp_path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-4] + b"\xff\xff\xff\xff")
    with pytest.raises(BundleError, match="not the shard that was written"):
        trainer.load(tmp_path)


def test_accumulated_batches_count_as_one_step(scenes):
    once, twice = (TrainConfig(steps=9, batch=8, patch=32, accumulate=count) for count in (1, 2))
    moved = []
    for config in (once, twice):
        trainer = SourceTrainer(CONFIG, config, PatchSource(scenes))
        assert trainer.step()["loss"] > 0
        assert trainer.steps == 1
        assert all(p.grad is None for p in trainer.model.parameters())
        moved.append(trainer.model.restorer.leave.weight.detach().clone())
    assert not torch.equal(*moved)


def test_validation_sees_the_same_patches_every_time(scenes):
    model = SourceTrainer(CONFIG, TrainConfig(), PatchSource(scenes)).averaged()
    scores = [validation_psnr_db(model, PatchSource(scenes), batches=1, batch=8) for _ in range(2)]
    assert scores[0] == scores[1] > 5


def test_time_ends_a_run(scenes):
    trainer = SourceTrainer(CONFIG, TrainConfig(steps=10**6, minutes=0.02, batch=16, patch=32), PatchSource(scenes))
    while trainer.progress < 1:
        trainer.step()
    assert 0 < trainer.steps < 10**6


def test_a_torn_checkpoint_is_refused(scenes, tmp_path):
    with pytest.raises(BundleError, match="no complete checkpoint"):
        SourceTrainer(CONFIG, TrainConfig(), PatchSource(scenes)).load(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no image"):
        read_folder(tmp_path)


@pytest.mark.parametrize("change", [{"patch": 33}, {"batch": 1}, {"minutes": 0}, {"ema": 2.0}])
def test_settings_out_of_range_are_refused_when_they_are_made(change):
    with pytest.raises(ConfigError, match="expected"):
        TrainConfig(**change)


def test_a_run_goes_on_from_the_average_alone_and_from_a_published_model(scenes, tmp_path, bundle_folder):
    trainer = SourceTrainer(CONFIG, TrainConfig(steps=9, batch=8, patch=32), PatchSource(scenes))
    trainer.step()
    trainer.save(tmp_path, averaged_only=True)
    assert all(path.stat().st_size < SHARD_BYTES + 2**16 for path in tmp_path.glob("*.safetensors"))

    other = SourceTrainer(CONFIG, TrainConfig(steps=9, batch=8, patch=32, seed=3), PatchSource(scenes))
    other.load(tmp_path)
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(other.averaged()(image), trainer.averaged()(image))
    assert other.step()["loss"] > 0

    other.start_from(bundle_folder)
    published = load_bundle(bundle_folder).model
    assert torch.allclose(other.averaged()(image), published(image), atol=1e-5)
    with pytest.raises(BundleError, match="cannot start a tiny"):
        SourceTrainer(ModelConfig.named("tiny"), TrainConfig(), PatchSource(scenes)).start_from(bundle_folder)


def test_a_checkpoint_of_another_architecture_is_refused(scenes, tmp_path):
    SourceTrainer(CONFIG, TrainConfig(), PatchSource(scenes)).save(tmp_path)
    with pytest.raises(BundleError, match="another architecture"):
        SourceTrainer(ModelConfig.named("tiny"), TrainConfig(), PatchSource(scenes)).load(tmp_path)


def test_the_last_share_of_a_run_takes_larger_patches(scenes):
    config = TrainConfig(steps=4, batch=16, patch=32, finish_patch=64, finish_share=0.5)
    trainer = SourceTrainer(CONFIG, config, PatchSource(scenes))
    sizes = []
    for _ in range(4):
        sizes.append(trainer._size())
        trainer.step()
    assert sizes == [(16, 32), (16, 32), (4, 64), (4, 64)]


def test_a_large_state_is_cut_into_shards(monkeypatch, scenes, tmp_path):
    monkeypatch.setattr("udair.weights.shards.SHARD_BYTES", 20_000)
    trainer = SourceTrainer(CONFIG, TrainConfig(), PatchSource(scenes))
    trainer.save(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    SourceTrainer(CONFIG, TrainConfig(seed=5), PatchSource(scenes)).load(tmp_path)


def test_a_run_that_leaves_its_usual_loss_goes_back_to_healthy_weights_at_a_lower_rate(scenes):
    trainer = SourceTrainer(CONFIG, TrainConfig(steps=200, batch=8, patch=32), PatchSource(scenes))
    for _ in range(16):
        trainer.advance()
    healthy = trainer.averaged().state_dict()
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.mul_(30)
    while not trainer.guard.rollbacks:
        trainer.advance()
        assert trainer.steps < 60
    rate_after = trainer.advance()
    assert trainer.guard.rate_scale == SHRINK
    assert rate_after < trainer.config.learning_rate * SHRINK
    assert trainer.step()["loss"] < 3
    for name, value in trainer.averaged().state_dict().items():
        if "codebook" not in name:
            assert float((value - healthy[name]).abs().max()) < 0.1, name


def test_a_step_whose_gradient_is_not_finite_is_not_taken(scenes):
    trainer = SourceTrainer(CONFIG, TrainConfig(steps=200, batch=8, patch=32), PatchSource(scenes))
    trainer.advance()
    before = {name: value.clone() for name, value in trainer.averaged().state_dict().items()}
    with torch.no_grad():
        trainer.model.class_head.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"Lower train\.learning_rate"):
        trainer.step()
    for name, value in trainer.averaged().state_dict().items():
        assert bool(torch.isfinite(value).all()), name
        if "codebook" not in name:
            assert float((value - before[name]).abs().max()) < 0.1


def test_without_cuda_a_captured_step_is_the_step_itself():
    seen = []
    run = CapturedStep(seen.extend, [torch.zeros(2)], capture=False)
    first, second = torch.ones(2), torch.zeros(2)
    run([first])
    run([second])
    assert [tensor.data_ptr() for tensor in seen] == [first.data_ptr(), second.data_ptr()]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_captured_run_ends_where_an_eager_one_does(scenes):
    ends = []
    for capture in (True, False):
        trainer = SourceTrainer(CONFIG, TrainConfig(steps=20, batch=8, patch=32), PatchSource(scenes, "cuda"), "cuda")
        trainer._capture = capture
        for _ in range(12):
            trainer.advance()
        assert trainer.figures()["loss"] < 5
        ends.append(trainer.averaged().leave.weight)
    torch.testing.assert_close(*ends, rtol=0.1, atol=1e-3)


class TestGuard:
    def test_one_wild_loss_is_chance_two_are_not(self):
        guard = Guard(lambda: {"w": torch.ones(1)})
        assert guard.look(1.0) is None
        assert guard.look(9.0) is None
        assert guard.look(1.0) is None
        assert guard.look(9.0) is None
        assert guard.look(9.0) is not None
        assert guard.rate_scale == SHRINK

    def test_it_goes_back_to_the_older_snapshot(self):
        weights = {"w": torch.zeros(1)}
        guard = Guard(lambda: weights, snapshot_every=1)
        for number in range(4):
            weights["w"] = torch.full((1,), float(number))
            guard.look(1.0)
        assert guard.look(float("nan"))["w"].item() == 2.0

    def test_with_nothing_to_go_back_to_it_says_what_to_do(self):
        with pytest.raises(FloatingPointError, match=r"loss is nan after 0 returns.*Lower train\.learning_rate"):
            Guard(dict).look(float("nan"))

    def test_it_gives_up_in_the_end(self):
        guard = Guard(lambda: {"w": torch.ones(1)})
        guard.look(1.0)
        for _ in range(MOST_ROLLBACKS):
            assert guard.look(float("inf")) is not None
        with pytest.raises(FloatingPointError, match=f"after {MOST_ROLLBACKS} returns"):
            guard.look(float("inf"))

    def test_its_facts_are_read_back(self):
        guard, other = Guard(lambda: {"w": torch.ones(1)}), Guard(dict)
        guard.look(1.0)
        guard.look(float("inf"))
        other.continue_with(guard.facts())
        assert other.facts() == guard.facts()
        other.continue_with({})
        assert other.rate_scale == 1.0


def test_the_command_line_trains_continues_and_profiles(scenes, tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number, scene in enumerate(scenes[:4]):
        (photographs / f"{number}.png").write_bytes(encode_png(scene))
    words = [
        "--data",
        str(photographs),
        str(photographs),
        "--out",
        str(tmp_path / "run"),
        "--size",
        "tiny",
        "--batch",
        "2",
        "--patch",
        "32",
        "--finish-patch",
        "48",
    ]

    def run(*more: str) -> str:
        command = [sys.executable, "-m", "udair.training", *words, *more]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "8 images, tiny on" in run("--steps", "2")
    again = run("--steps", "4", "--averaged-only")
    assert "from step 2" in again
    assert "done at step 4" in again
    profiled = run("--steps", "4", "--profile", "--start-from", str(packaged("tiny")), "--out", str(tmp_path / "other"))
    assert "ms a step of 2 patches" in profiled
    assert "convolution" in profiled
