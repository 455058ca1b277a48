"""Runs a torch network on pictures of any size and brings class and defect maps back to each picture's own pixels."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from defectctl.config.schema import InputConfig
from defectctl.errors import RunError
from defectctl.imaging.geometry import Geometry
from defectctl.inference.device import autocast, compute_type
from defectctl.loading.network_input import to_network
from defectctl.messages import warn

if TYPE_CHECKING:
    from defectctl.checkpoints.contract import Contract

UPSAMPLE_VALUES = 1 << 26
"""Logits held at full size at once (256 MB in float32); larger groups are brought back in parts."""


@dataclass(slots=True)
class Maps:
    """One picture's result, on the device, at the picture's own size.

    Attributes:
        class_map: `(H, W)` uint8, class index, 0 background.
        defect: `(H, W)` uint8, round(255 * (1 - P(background))).
    """

    class_map: Tensor
    defect: Tensor


class TorchRunner:
    """A network in evaluation mode with the input geometry it was trained for.

    Args:
        model: `forward(images (N, C, H, W)) -> Output` with `mask_logits`.
        input: size, mode, colour and normalisation of the network's input.
        device: where to compute; the model must lie there already.
        precision: `float32`, `bf16` or `fp16`, as `choose_precision` returns it.
        fold: run a copy of the model with batch norm folded into its convolutions and weights stored in
            `precision`. Leave it off for a model that is still being trained.
    """

    def __init__(
        self, model: nn.Module, input: InputConfig, device: torch.device, precision: str = "float32", fold: bool = False
    ) -> None:
        self.input = input
        self.device = device
        self.precision = precision
        self.model = fold_batch_norm(copy.deepcopy(model).eval()) if fold else model
        if fold and precision != "float32":
            _store_weights_in(self.model, compute_type(precision))
        self.model.to(memory_format=torch.channels_last)
        self._largest_batch: int | None = None

    def maps(self, pictures: list[np.ndarray]) -> list[Maps]:
        """Predict pictures, `(H, W)` or `(H, W, 3)`, uint8 or uint16, sizes may differ.

        The model is switched to evaluation mode and left there. Where the device's memory does not hold the batch it
        is halved, with a warning, and stays so.

        Raises:
            RunError: not even a single picture fits.
        """
        self.model.eval()
        results: list[Maps] = []
        while len(results) < len(pictures):
            size = min(len(pictures) - len(results), self._largest_batch or len(pictures))
            try:
                results += self._batch(pictures[len(results) : len(results) + size])
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                self._halve(size, error)
        return results

    def _halve(self, size: int, error: RuntimeError) -> None:
        if size <= 1:
            raise RunError(
                f"the memory of {self.device} does not hold a single picture; use a smaller picture or another --device"
            ) from error
        self._largest_batch = size // 2
        warn(f"out of memory on {self.device} with {size} pictures at once; going on with {self._largest_batch}")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _batch(self, pictures: list[np.ndarray]) -> list[Maps]:
        images, geometries = to_network(pictures, self.input, self.device)
        return maps_from_logits(self.logits(images), geometries)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Mask logits `(N, 1 + classes, h, w)`, float32, of network inputs `(N, C, H, W)`."""
        with autocast(self.device, self.precision):
            return self.model(images).mask_logits.float()


def maps_from_logits(logits: Tensor, geometries: list[Geometry]) -> list[Maps]:
    """Bring logits `(N, 1 + classes, h, w)` back to each image's own pixels and decide there.

    The order is fixed for every command: bilinear to the network's input size, crop the padding, bilinear to the
    image's own size (both `align_corners=False`), then softmax and arg-max. Images of one geometry go together.
    """
    found: dict[int, Maps] = {}
    for geometry in dict.fromkeys(geometries):
        members = [i for i, other in enumerate(geometries) if other == geometry]
        values = logits.shape[1] * max(geometry.width * geometry.height, geometry.net_width * geometry.net_height)
        step = max(1, UPSAMPLE_VALUES // values)
        for start in range(0, len(members), step):
            part = members[start : start + step]
            chosen = logits if len(part) == len(geometries) else logits[part]
            classes, defects = _decide(_to_image(chosen, geometry))
            found.update({i: Maps(classes[n], defects[n]) for n, i in enumerate(part)})
    return [found[i] for i in range(len(geometries))]


def _to_image(logits: Tensor, geometry: Geometry) -> Tensor:
    logits = _resize(logits, geometry.net_height, geometry.net_width)
    rows, columns = geometry.inside
    return _resize(logits[:, :, rows, columns], geometry.height, geometry.width)


def _resize(logits: Tensor, height: int, width: int) -> Tensor:
    if logits.shape[-2:] == (height, width):
        return logits
    return functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)


def _decide(logits: Tensor) -> tuple[Tensor, Tensor]:
    class_map = logits.argmax(dim=1).to(torch.uint8)
    background = torch.exp(logits[:, 0] - torch.logsumexp(logits, dim=1))
    return class_map, ((1 - background) * 255).round_().clamp_(0, 255).to(torch.uint8)


def out_of_memory(error: BaseException) -> bool:
    """Whether torch raised `error` because the device's or the machine's memory was full."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Fold each `BatchNorm2d` that follows a `Conv2d` in an `nn.Sequential` into it, in place; return the model.

    Only for evaluation mode: y = gamma (conv(x) - mean) / sqrt(var + eps) + beta is one convolution there (Jacob et
    al., "Quantization and Training of Neural Networks", CVPR 2018, section 3.2). Only plain sequences are touched:
    nowhere else is it certain that nothing reads the value between the two.
    """
    for module in model.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for first in range(len(module) - 1):
            convolution, norm = module[first], module[first + 1]
            plain = type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d
            if plain and norm.track_running_stats and not (convolution.training or norm.training):
                module[first] = fuse_conv_bn_eval(convolution, norm)
                module[first + 1] = nn.Identity()
    return model


def _store_weights_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the weights that autocast would cast at every call.

    The results are the same, but for modules that add weights up before they use them (`MSAA`): there each is rounded
    before the sum as well as after it.
    """
    for module in model.modules():
        if type(module) in (nn.Conv2d, nn.ConvTranspose2d, nn.Linear):
            module.to(dtype)


def load_runner(path: Path, device: torch.device, precision: str = "float32") -> tuple[TorchRunner, Contract]:
    """Load `model.safetensors` for inference: evaluation mode, batch norm folded, channels-last.

    Raises:
        InputError: the file is missing, broken or not a defectctl model.
    """
    from defectctl.checkpoints.weights import load_model

    model, contract = load_model(path, device)
    return TorchRunner(model.eval(), contract.preset_config().input, device, precision, fold=True), contract
