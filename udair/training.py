"""Source training: batches to losses, one loop with and without Ray, continued any number of times.

Run alone on one device: `python -m udair.training --data photos/ --out runs/source --size tiny --minutes 9`.
Run again with the same `--out` and it continues. Nothing here imports ray.

Axes: B patches, C channels, H x W pixels, D code width.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from udair.checkpoint import CLOCK, read_checkpoint, write_checkpoint
from udair.config import TONES, ModelConfig, TrainConfig
from udair.data.pairs import PairSource, read_pairs
from udair.data.patches import PatchSource, read_folder
from udair.data.stream import BatchStream
from udair.data.tasks import CLASSES, Batch, training_batch
from udair.errors import BundleError
from udair.losses.contrastive import contrastive_loss, covariance_contrastive_loss
from udair.losses.restoration import restoration_loss, tone_loss
from udair.metrics import psnr_db
from udair.models.degradation import Degradation
from udair.models.restorer import Restorer
from udair.models.stored import read_model
from udair.optimizer import MatrixOptimizer
from udair.weights import read_manifest

KEEP = TONES.index("keep")


class SourceModel(nn.Module):
    """The restorer with the two heads that only training uses; its forward is the whole loss.

    One forward gives the loss, so that DistributedDataParallel sees every parameter once a step.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.restorer = Restorer(config)
        self.class_head = nn.Linear(config.code_dim, len(CLASSES))
        self.severity_head = nn.Linear(config.code_dim, 1)

    def forward(self, batch: Batch, weights: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss, and its parts detached.

        Source: UDAIR (arXiv 2505.22284) for commitment and CSCL; Fourier term and heads are ours.
        """
        degradation = self.restorer.embed(batch.degraded_BCHW)
        restored = self.restorer(batch.degraded_BCHW, degradation=degradation, tone=batch.tone_B)
        embedding_BD = degradation.embedding_BD
        parts = {
            "restoration": restoration_loss(restored, batch.clean_BCHW, weights.fft_weight),
            "tone": weights.tone_weight * tone_loss(restored, batch.clean_BCHW, batch.tone_B == KEEP),
            "commitment": weights.commitment_weight * degradation.commitment,
            "contrast": weights.contrast_weight * _contrast(degradation, batch.label_B, weights.covariance_contrast),
            "class": weights.class_weight * nn.functional.cross_entropy(self.class_head(embedding_BD), batch.label_B),
            "severity": weights.severity_weight * self._severity_loss(embedding_BD, batch.severity_B),
        }
        total = torch.stack(list(parts.values())).sum()
        with torch.no_grad():
            error = (restored.float().clamp(0, 1) - batch.clean_BCHW).square().flatten(1).mean(1)
            parts["psnr_db"] = (-10 * error.clamp(min=1e-10).log10()).mean()
        return total, {name: part.detach() for name, part in parts.items()}

    def _severity_loss(self, embedding_BD: Tensor, severity_B: Tensor) -> Tensor:
        """Mean squared error where the severity is known: real pairs do not say."""
        known_B = torch.isfinite(severity_B)
        error_B = self.severity_head(embedding_BD).squeeze(1).float().sigmoid() - severity_B.nan_to_num()
        loss: Tensor = (error_B.square() * known_B).sum() / known_B.sum().clamp(min=1)
        return loss


def _contrast(degradation: Degradation, label_B: Tensor, covariance_share: float) -> Tensor:
    loss = degradation.embedding_BD.new_zeros(())
    if covariance_share < 1:
        loss = loss + (1 - covariance_share) * contrastive_loss(degradation.embedding_BD, label_B)
    if covariance_share > 0:
        loss = loss + covariance_share * covariance_contrastive_loss(degradation.map_BDhw, label_B)
    return loss


class SourceTrainer:
    """Optimizer, schedule, EMA weights and clock of one training run on one device.

    Args:
        model_config, config: Architecture and recipe.
        source: Clean photographs.
        device: Where to train; bfloat16 autocast where the device computes in it, else float32.
        rank: Of this worker; ranks draw different patches.
        wrap: Turns the model into its distributed form, e.g. `ray.train.torch.prepare_model`.
        compile: Fuse the restorer's kernels, after a minute or more of compiling.
        pairs: Real pairs to mix in.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        config: TrainConfig,
        source: PatchSource,
        device: torch.device | str = "cpu",
        rank: int = 0,
        wrap: Callable[[nn.Module], nn.Module] | None = None,
        compile: bool = False,
        pairs: PairSource | None = None,
    ) -> None:
        self.config, self.source, self.pairs, self.device = config, source, pairs, torch.device(device)
        self.bfloat16 = self.device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.model_config, self.rank = model_config, rank
        torch.manual_seed(config.seed)
        self.model = SourceModel(model_config).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        if compile:
            self.model.restorer.residual = torch.compile(self.model.restorer.residual)  # type: ignore[method-assign]
        self.forward = wrap(self.model) if wrap else self.model
        self.optimizer = MatrixOptimizer(self.model, config.learning_rate)
        self.batches = BatchStream(self._draw, ahead=self.device.type == "cuda")
        self.steps = 0
        self.spent_s = 0.0

    @property
    def progress(self) -> float:
        """Share of the run that is done: of steps or of time, whichever is further."""
        return min(1.0, max(self.steps / self.config.steps, self.spent_s / (60 * self.config.minutes)))

    def step(self) -> dict[str, float]:
        """Take one optimizer step and return its losses.

        Raises:
            FloatingPointError: The loss is not finite; the EMA weights are still those before it.
        """
        started = time.perf_counter()
        rate = self._learning_rate()
        self.model.train()
        sums: dict[str, Tensor] = {}
        for part, batch in enumerate(self.batches.take(self.steps, *self._size())):
            with self._local(part):
                for name, value in self._backward(batch).items():
                    sums[name] = sums.get(name, value.new_zeros(())) + value / self.config.accumulate
        sums["gradient_norm"] = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        # One wait for the device a step: everything that is read comes in one piece.
        figures = dict(zip(sums, torch.stack([value.float() for value in sums.values()]).tolist(), strict=True))
        if not math.isfinite(figures["loss"]):
            self.optimizer.zero_grad()
            raise FloatingPointError(f"loss is {figures['loss']} at step {self.steps}; lower train.learning_rate.")
        self.optimizer.step(rate)
        self.optimizer.zero_grad()
        self.steps += 1
        self._average()
        self.spent_s += time.perf_counter() - started
        return figures | {"learning_rate": rate}

    def _draw(self, step: int, batch: int, patch: int) -> list[Batch]:
        """The batches of one step. The step alone decides what they are, so that a run continues with the same."""
        generator = torch.Generator(self.device)
        generator.manual_seed(zlib.crc32(f"{self.config.seed}/{self.rank}/{step}".encode()))
        return [training_batch(self.source, batch, patch, generator, self.pairs) for _ in range(self.config.accumulate)]

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        """Add the gradients of one batch; its losses."""
        batch = replace(batch, degraded_BCHW=batch.degraded_BCHW.contiguous(memory_format=torch.channels_last))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss, parts = self.forward(batch, self.config)
        (loss / self.config.accumulate).backward()
        figures: dict[str, Tensor] = {"loss": loss.detach(), **parts}
        return figures

    def _local(self, part: int) -> AbstractContextManager[None]:
        """Workers exchange gradients after the last of a step's batches, not before."""
        no_sync: Callable[[], AbstractContextManager[None]] | None = getattr(self.forward, "no_sync", None)
        return no_sync() if no_sync and part < self.config.accumulate - 1 else nullcontext()

    def _size(self) -> tuple[int, int]:
        """Patches a step and their side: large patches at the end, as many pixels as before."""
        if self.progress < 1 - self.config.finish_share:
            return self.config.batch, self.config.patch
        shrink = (self.config.patch / self.config.finish_patch) ** 2
        return max(2, round(self.config.batch * min(1.0, shrink))), self.config.finish_patch

    def _learning_rate(self) -> float:
        done = self.progress
        warm = min(1.0, (self.steps + 1) / 100)
        return self.config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    @torch.no_grad()
    def _average(self) -> None:
        # A short memory at first, so that the average does not carry the initial weights along.
        decay = min(self.config.ema, (1 + self.steps) / (10 + self.steps))
        weights, averages, copies = [], [], []
        current = self.model.state_dict(keep_vars=True)
        for name, averaged in self.ema.state_dict(keep_vars=True).items():
            if averaged.is_floating_point() and "codebook" not in name:
                averages.append(averaged)
                weights.append(current[name])
            else:
                copies.append((averaged, current[name]))
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for averaged, value in copies:
            averaged.copy_(value)

    def save(self, folder: Path, *, averaged_only: bool = False) -> None:
        """Write weights, EMA weights, optimizer and clock (`udair.checkpoint`).

        Args:
            folder: Made if it is not there.
            averaged_only: EMA weights alone, a quarter of the size; a run that continues from them
                warms its optimizer up again.
        """
        tensors = {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        if not averaged_only:
            tensors |= {f"model.{name}": value for name, value in self.model.state_dict().items()}
            tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.tensors().items()}
        clock = {
            "steps": self.steps, "spent_s": self.spent_s, "size": self.model_config.to_dict(),
            "train": asdict(self.config),
        }  # fmt: skip
        write_checkpoint(folder, tensors, clock)

    def load(self, folder: Path, *, continue_clock: bool = True) -> None:
        """Read what `save` wrote: the next step is the one that an undisturbed run would take.

        Args:
            folder: Where `save` wrote.
            continue_clock: False starts a new schedule from these weights.

        Raises:
            BundleError: The checkpoint is incomplete, or of another architecture.
        """
        tensors, clock = read_checkpoint(folder, self.device)

        def of(part: str) -> dict[str, Tensor]:
            return {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}

        try:
            self.ema.load_state_dict(of("ema."))
            self.model.load_state_dict(of("model.") or of("ema."))
        except RuntimeError as error:
            raise BundleError(
                f"{folder} holds a checkpoint of another architecture ({clock['size']}); "
                f"this run trains {self.model_config.to_dict()}. Train under another folder."
            ) from error
        if continue_clock:
            self.steps, self.spent_s = int(clock["steps"]), float(clock["spent_s"])
            self.optimizer.load_tensors(of("optimizer."))

    def start_from(self, bundle: Path) -> None:
        """Start from a published base model; the heads, which are not published, start afresh.

        Raises:
            BundleError: The model cannot be read or is of another architecture.
        """
        manifest = read_manifest(bundle)
        published = read_model(bundle, manifest)
        if replace(published.config, name=self.model_config.name) != self.model_config:
            raise BundleError(
                f"cannot start a {self.model_config.name} from {bundle}: it holds {published.config}; "
                f"this run trains {self.model_config}."
            )
        for model in (self.model, self.ema):
            model.restorer.load_state_dict(published.state_dict())

    def averaged(self) -> Restorer:
        """A copy of the averaged restorer: what gets published."""
        model: Restorer = copy.deepcopy(self.ema.restorer).eval()
        return model


@torch.inference_mode()
def validation_psnr_db(model: Restorer, source: PatchSource, *, batches: int = 4, batch: int = 16) -> float:
    """Mean PSNR on held-out photographs with the tasks of training; the same patches every time.

    Args:
        model: In evaluation mode.
        source: Photographs that training does not see.
        batches, batch: Patches of 128 x 128 pixels.
    """
    generator = torch.Generator(model.enter.weight.device).manual_seed(11)
    scores = []
    for _ in range(batches):
        drawn = training_batch(source, batch, 128, generator)
        scores.append(psnr_db(model(drawn.degraded_BCHW, tone=drawn.tone_B), drawn.clean_BCHW))
    return float(torch.cat(scores).mean())


def main() -> None:
    """Train on one device until the budget ends; print a line every 20 seconds."""
    parser = argparse.ArgumentParser(description="Train a base model on one device, without Ray.")
    parser.add_argument("--data", type=Path, required=True, help="folder of clean photographs")
    parser.add_argument("--pairs", type=Path, help="folder of real pairs: <class>/input and <class>/target")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint; continued when it holds one")
    parser.add_argument("--start-from", type=Path, help="base model to start from, if --out holds no checkpoint")
    parser.add_argument("--size", default="tiny", help="tiny or base")
    parser.add_argument("--restart-schedule", action="store_true", help="new schedule from the weights found")
    parser.add_argument("--averaged-only", action="store_true", help="checkpoints of half the size: EMA weights")
    parser.add_argument("--compile", action="store_true", help="fuse kernels; pays beyond some minutes")
    defaults = TrainConfig()
    for name, value in asdict(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    arguments = vars(parser.parse_args())
    config = TrainConfig(**{name: arguments[name] for name in asdict(defaults)})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = PatchSource(read_folder(arguments["data"]), device)
    model_config = ModelConfig.named(arguments["size"])
    pairs = read_pairs(arguments["pairs"], device) if arguments["pairs"] else None
    trainer = SourceTrainer(model_config, config, source, device, compile=arguments["compile"], pairs=pairs)
    if (arguments["out"] / CLOCK).is_file():
        trainer.load(arguments["out"], continue_clock=not arguments["restart_schedule"])
    elif arguments["start_from"]:
        trainer.start_from(arguments["start_from"])
    print(f"{len(source)} images, {arguments['size']} on {device}, from step {trainer.steps}", flush=True)
    shown = saved = time.monotonic()
    begun = (trainer.steps, trainer.spent_s)
    mean: dict[str, float] = {}
    while trainer.progress < 1.0:
        for name, value in trainer.step().items():
            mean[name] = value if name not in mean else 0.98 * mean[name] + 0.02 * value
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            rate = (trainer.steps - begun[0]) * config.batch / max(trainer.spent_s - begun[1], 1e-9)
            print(f"step {trainer.steps} {trainer.progress:6.1%} {rate:.1f} patches/s "
                  + " ".join(f"{k} {v:.4g}" for k, v in mean.items()), flush=True)  # fmt: skip
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            trainer.save(arguments["out"], averaged_only=arguments["averaged_only"])
    trainer.save(arguments["out"], averaged_only=arguments["averaged_only"])
    print(f"done at step {trainer.steps} after {trainer.spent_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
