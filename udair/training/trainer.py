"""One training run on one device: optimizer, schedule, averaged weights, guard and clock.

Axes: B patches, C channels, H x W pixels.
"""

from __future__ import annotations

import copy
import math
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from udair.captured import CapturedStep
from udair.checkpoint import read_checkpoint, write_checkpoint
from udair.config import ModelConfig, TrainConfig
from udair.data.pairs import PairSource
from udair.data.patches import PatchSource
from udair.data.stream import BatchStream
from udair.data.tasks import Batch, training_batches
from udair.errors import BundleError
from udair.models.restorer import Restorer
from udair.models.stored import read_model
from udair.optimizer import MatrixOptimizer
from udair.training.guard import Guard
from udair.training.source_model import SourceModel
from udair.weights import read_manifest

# On a GPU, where launches cost: steps whose batches are drawn together, and steps between two waits for the device.
CHUNK_STEPS, WAIT_STEPS = 16, 8
# Steps between two looks of the guard, each of which waits for the device.
LOOK_STEPS = {"cuda": 64, "cpu": 8}
FIGURES = (
    "loss", "restoration", "tone", "commitment", "contrast", "class", "severity", "psnr_db", "gradient_norm",
)  # fmt: skip
LARGEST_GRADIENT = 1.0


class SourceTrainer:
    """Optimizer, schedule, EMA weights and clock of one training run on one device.

    On a GPU a whole step, from patches to averaged weights, is one CUDA graph; wrapped for several workers, or on a
    CPU, the same step runs eagerly.

    Args:
        model_config, config: Architecture and recipe.
        source: Clean photographs.
        device: Where to train; bfloat16 autocast where the device computes in it, else float32.
        rank: Of this worker; ranks draw different patches.
        wrap: Turns the model into its distributed form, e.g. `ray.train.torch.prepare_model`.
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
        pairs: PairSource | None = None,
    ) -> None:
        self.config, self.source, self.pairs, self.device = config, source, pairs, torch.device(device)
        cuda = self.device.type == "cuda"
        self.bfloat16 = cuda or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.model_config, self.rank = model_config, rank
        torch.manual_seed(config.seed)
        self.model = SourceModel(model_config).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.forward = wrap(self.model) if wrap else self.model
        self.optimizer = MatrixOptimizer(self.model, config.learning_rate)
        self.guard = Guard(self.ema.state_dict)
        self._chunk_steps = CHUNK_STEPS if cuda else 1
        self.batches = BatchStream(self._draw, steps=self._chunk_steps * config.accumulate, ahead=cuda)
        # Buckets of workers' gradients are filled by hooks, which a graph would not see.
        self._capture = cuda and wrap is None
        self._run: tuple[tuple[int, int], CapturedStep] | None = None
        self._figures = torch.zeros(len(FIGURES), device=self.device)
        self._forgets = torch.zeros((), device=self.device)
        self.steps = 0
        self.spent_s = 0.0

    @property
    def progress(self) -> float:
        """Share of the run that is done: of steps or of time, whichever is further."""
        return min(1.0, max(self.steps / self.config.steps, self.spent_s / (60 * self.config.minutes)))

    def step(self) -> dict[str, float]:
        """Take one optimizer step and return its losses; waits for the device.

        Raises:
            FloatingPointError: The loss left what is usual too often, or at once; the EMA weights are healthy.
        """
        rate = self.advance()
        figures = self.figures()
        if not math.isfinite(figures["loss"]) and not _together():
            self._look(figures["loss"])  # workers look at the same step, or they would wait for each other
        return figures | {"learning_rate": rate}

    def advance(self) -> float:
        """Take one optimizer step without waiting for it; the learning rate that it took.

        Raises:
            FloatingPointError: As for `step`.
        """
        started = time.perf_counter()
        self.model.train()
        size = self._size()
        parts = [
            self.batches.take(self.steps * self.config.accumulate + k, *size) for k in range(self.config.accumulate)
        ]
        inputs = [getattr(batch, item.name) for batch in parts for item in fields(Batch)]
        if self._run is None or self._run[0] != size:
            self._run = size, CapturedStep(self._take, inputs, capture=self._capture)
        rate = self._learning_rate()
        self.optimizer.rate.fill_(rate)
        # A short memory at first, so that the average does not carry the initial weights along.
        self._forgets.fill_(1 - min(self.config.ema, (2 + self.steps) / (11 + self.steps)))
        self._run[1](inputs)
        self.steps += 1
        if self.device.type == "cuda" and self.steps % WAIT_STEPS == 0:
            torch.cuda.current_stream().synchronize()
        if self.steps % LOOK_STEPS.get(self.device.type, 8) == 0:
            self._look(self.figures()["loss"])
        self.spent_s += time.perf_counter() - started
        return rate

    def figures(self) -> dict[str, float]:
        """Losses, PSNR and gradient norm of the last step; waits for the device."""
        return dict(zip(FIGURES, self._figures.tolist(), strict=True))

    def _take(self, inputs: Sequence[Tensor]) -> None:
        """The whole of one step, on the tensors of its batches; may be recorded once and replayed."""
        self.optimizer.zero_grad()
        width, count = len(fields(Batch)), self.config.accumulate
        sums = torch.zeros_like(self._figures)
        for part in range(count):
            with self._local(part):
                figures = self._backward(Batch(*inputs[part * width : (part + 1) * width]))
            sums = sums + torch.stack([figures.get(name, sums[0]).float() for name in FIGURES]) / count
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        # A step whose gradient is not finite is not taken; the guard looks at the loss later.
        scale = (LARGEST_GRADIENT / (norm + 1e-6)).clamp(max=1.0)
        scale = torch.where(torch.isfinite(norm), scale, torch.zeros_like(scale))
        for gradient in gradients:
            gradient.nan_to_num_(0.0, 0.0, 0.0)
        torch._foreach_mul_(gradients, scale)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._average()
        self._figures.copy_(torch.cat([sums[:-1], norm.float()[None]]))

    def _draw(self, chunk: int, batch: int, patch: int) -> list[Batch]:
        """The batches of a chunk of steps. Its number alone decides what they are: a run continues with the same."""
        generator = torch.Generator(self.device)
        generator.manual_seed(zlib.crc32(f"{self.config.seed}/{self.rank}/{chunk}".encode()))
        drawn = training_batches(
            self.source, self._chunk_steps * self.config.accumulate, batch, patch, generator, self.pairs
        )
        layout = torch.channels_last
        return [
            replace(
                part,
                degraded_BCHW=part.degraded_BCHW.contiguous(memory_format=layout),
                clean_BCHW=part.clean_BCHW.contiguous(memory_format=layout),
            )
            for part in drawn
        ]

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        """Add the gradients of one batch; its losses."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16, cache_enabled=False):
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
        warm = min(1.0, (self.steps + 1) / self.config.warm_steps)
        cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress))
        return self.config.learning_rate * self.guard.rate_scale * warm * cosine

    @torch.no_grad()
    def _look(self, loss: float) -> None:
        """Let the guard see the loss, the same for all workers, and go back where it says so."""
        if _together():
            shared = torch.tensor(loss, device=self.device)
            dist.all_reduce(shared)
            loss = float(shared) / dist.get_world_size()
        healthy = self.guard.look(loss)
        if healthy is None:
            return
        for model in (self.model, self.ema):
            for name, value in model.state_dict().items():
                value.copy_(healthy[name])
        self.optimizer.forget()

    @torch.no_grad()
    def _average(self) -> None:
        weights, averages, copies = [], [], []
        current = self.model.state_dict(keep_vars=True)
        for name, averaged in self.ema.state_dict(keep_vars=True).items():
            if averaged.is_floating_point() and "codebook" not in name:
                averages.append(averaged)
                weights.append(current[name])
            else:
                copies.append((averaged, current[name]))
        steps = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(steps, self._forgets)
        torch._foreach_add_(averages, steps)
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
            "train": asdict(self.config), "guard": self.guard.facts(),
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
            self.guard.continue_with(clock.get("guard", {}))

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


def _together() -> bool:
    """Whether several workers train one model."""
    return dist.is_available() and dist.is_initialized()
