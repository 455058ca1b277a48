"""Runs a torch network on pictures of any size and brings what it finds back to each picture's own pixels."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from defectctl.config.schema import InputConfig, PredictConfig
from defectctl.inference.base_runner import RawOutput, Runner, chosen_boxes
from defectctl.inference.device import autocast, compute_type
from defectctl.inference.maps import Maps, empty_maps, maps_from_logits
from defectctl.inference.tiling import tiled_maps
from defectctl.loading.network_input import to_network

if TYPE_CHECKING:
    from defectctl.checkpoints.contract import Contract


class TorchRunner(Runner):
    """A network in evaluation mode with the input geometry it was trained for.

    Args:
        model: `forward(images (N, C, H, W)) -> Output`; one that detects also has `decode(output) -> list[Boxes]`.
        input: size, mode, colour and normalisation of the network's input.
        device: where to compute; the model must lie there already.
        precision: `float32`, `bf16` or `fp16`, as `choose_precision` returns it.
        fold: run a copy of the model with batch norm folded into its convolutions and weights stored in
            `precision`. Leave it off for a model that is still being trained.
        predict: activation, overlap of boxes, and, with `input.mode: tile`, how many tiles go at once; None: the
            defaults.
        pixel_threshold: P(defect), 0..1, from which a pixel is a defect, as in `maps.decide`; None: the most probable
            class. The attribute of this name may be set between calls. A model without masks has no use for it.
    """

    def __init__(
        self,
        model: nn.Module,
        input: InputConfig,
        device: torch.device,
        precision: str = "float32",
        fold: bool = False,
        predict: PredictConfig | None = None,
        pixel_threshold: float | None = None,
    ) -> None:
        super().__init__(input, device, predict, pixel_threshold)
        self.precision = precision
        self.model = fold_batch_norm(copy.deepcopy(model).eval()) if fold else model
        if fold and precision != "float32":
            _store_weights_in(self.model, compute_type(precision))
        self.model.to(memory_format=torch.channels_last)

    def maps(self, pictures: list[np.ndarray]) -> list[Maps]:
        """Predict pictures, `(H, W)` or `(H, W, 3)`, uint8 or uint16, sizes may differ; maps stay on the device.

        The model is switched to evaluation mode and left there. For full memory see `Runner.maps`.

        Raises:
            RunError: not even a single picture fits.
        """
        self.model.eval()
        return super().maps(pictures)

    def _memory_is_full(self, error: Exception) -> bool:
        return out_of_memory(error)

    def _free_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _batch(self, pictures: list[np.ndarray]) -> list[Maps]:
        images, geometries = to_network(pictures, self.input, self.device)
        raw = self._run(images)
        if raw.logits is not None:
            found = maps_from_logits(raw.logits, geometries, self.predict.activation, self.pixel_threshold)
        else:
            found = [empty_maps(where.height, where.width, self.device) for where in geometries]
        if raw.probabilities is not None:
            for maps, chance in zip(found, raw.probabilities.tolist(), strict=True):
                maps.probability = chance
        if raw.boxes is not None:
            for maps, boxes in zip(found, chosen_boxes(raw.boxes, geometries, self.predict.box_iou), strict=True):
                maps.boxes = boxes
        return found

    @torch.inference_mode()
    def _tiles(self, pictures: list[np.ndarray], at_once: int) -> list[Maps]:
        how = self.predict
        return tiled_maps(
            pictures,
            self.input,
            self.device,
            self._run,
            at_once,
            how.activation,
            how.box_iou,
            self.pixel_threshold,
        )

    def _run(self, images: Tensor) -> RawOutput:
        """The network's heads on inputs `(N, C, H, W)`; second stages of detectors run in `precision` too."""
        with autocast(self.device, self.precision):
            output = self.model(images)
            boxes = None
            if output.detections is not None:
                boxes = self.model.decode(replace(output, detections=_in_float32(output.detections)))
        logits, verdict = output.mask_logits, output.image_logit
        return RawOutput(
            None if logits is None else logits.float(), None if verdict is None else verdict.float().sigmoid(), boxes
        )

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor | None:
        """Mask logits `(N, 1 + classes, h, w)`, float32, of network inputs `(N, C, H, W)`; None where it has none.

        The bare network is run, whatever it delivers: neither boxes are decoded nor maps resized.
        """
        with autocast(self.device, self.precision):
            found = self.model(images).mask_logits
            return None if found is None else found.float()


def _in_float32(found: list[Tensor]) -> list[Tensor]:
    """Raw detections in float32: bfloat16 has too few digits for the edges of a box."""
    return [level.float() for level in found]


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


def load_runner(
    path: Path, device: torch.device, precision: str = "float32", batch_size: int | None = None
) -> tuple[TorchRunner, Contract]:
    """Load `model.safetensors` for inference: evaluation mode, batch norm folded, channels-last, its pixel threshold.

    Args:
        batch_size: tiles at once with `input.mode: tile`; None: the preset's, else the device's.

    Raises:
        InputError: the file is missing, broken or not a defectctl model, or its pixel threshold is no probability.
    """
    from defectctl.checkpoints.weights import load_model

    model, contract = load_model(path, device)
    pixel = contract.pixel_threshold(path)
    preset = contract.preset_config()
    predict = preset.predict if batch_size is None else preset.predict.model_copy(update={"batch_size": batch_size})
    model.eval()
    runner = TorchRunner(model, preset.input, device, precision, fold=True, predict=predict, pixel_threshold=pixel)
    return runner, contract
