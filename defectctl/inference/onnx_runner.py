"""Runs an exported network with onnxruntime, numpy and OpenCV alone; where torch is not installed, too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import read_onnx_contract
from defectctl.config.schema import InputConfig, PredictConfig
from defectctl.errors import InputError
from defectctl.inference.abilities import tasks_of
from defectctl.inference.array_maps import empty_arrays, maps_from_logit_array, sigmoid
from defectctl.inference.array_tiling import tiled_array_maps
from defectctl.inference.base_runner import RawOutput, Runner, chosen_boxes
from defectctl.inference.detections import FoundBoxes
from defectctl.inference.device import Place, allowed_cores, check_device_name, check_precision_name
from defectctl.inference.maps import Maps
from defectctl.loading.array_input import to_network_array

if TYPE_CHECKING:
    import onnxruntime

INPUT = "images"
MASK, DECISION = "mask_logits", "image_logit"
BOXES = ("boxes", "box_scores", "box_labels")
"""Names of the input and the outputs in an exported file."""

CUDA = "CUDAExecutionProvider"
ERRORS_ONLY = 3
"""onnxruntime's level of messages: it warns of much that no user can change."""

MEMORY_WORDS = ("allocate memory", "bad allocation", "bad_alloc", "out of memory")
"""By which onnxruntime's errors tell of full memory; it has no class for it."""


class OnnxRunner(Runner):
    """An exported network with the input geometry it was trained for: the counterpart of `TorchRunner`.

    Args:
        session: the network, with the input and outputs that `export.graph` names.
        input, device, predict, pixel_threshold: as of `Runner`.
    """

    precision = "float32"

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        input: InputConfig,
        device: Place,
        predict: PredictConfig | None = None,
        pixel_threshold: float | None = None,
    ) -> None:
        super().__init__(input, device, predict, pixel_threshold)
        self.session = session
        self.outputs = [output.name for output in session.get_outputs()]
        batch = session.get_inputs()[0].shape[0]
        self._fixed_batch = batch if isinstance(batch, int) else None

    def _batch(self, pictures: list[np.ndarray]) -> list[Maps]:
        images, geometries = to_network_array(pictures, self.input)
        raw = self.run(images)
        how = self.predict
        if raw.logits is not None:
            found = maps_from_logit_array(raw.logits, geometries, how.activation, self.pixel_threshold)
        else:
            found = [empty_arrays(where.height, where.width) for where in geometries]
        if raw.probabilities is not None:
            for maps, chance in zip(found, raw.probabilities.tolist(), strict=True):
                maps.probability = chance
        if raw.boxes is not None:
            for maps, boxes in zip(found, chosen_boxes(raw.boxes, geometries, how.box_iou), strict=True):
                maps.boxes = boxes
        return found

    def _tiles(self, pictures: list[np.ndarray], at_once: int) -> list[Maps]:
        return tiled_array_maps(pictures, self.input, self.run, at_once, self.predict, self.pixel_threshold)

    def run(self, images: np.ndarray) -> RawOutput:
        """The network's heads on inputs `(N, C, H, W)` float32, normalised."""
        step = self._fixed_batch or len(images)
        parts = [self._pass(images[start : start + step]) for start in range(0, len(images), step)]
        logits, verdicts = (
            np.concatenate([part[name] for part in parts]) if name in self.outputs else None
            for name in (MASK, DECISION)
        )
        boxes = None
        if BOXES[0] in self.outputs:
            boxes = [FoundBoxes(*one) for part in parts for one in zip(*(part[name] for name in BOXES), strict=True)]
        return RawOutput(logits, None if verdicts is None else sigmoid(verdicts), boxes)

    def _pass(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self.session.run(self.outputs, {INPUT: images}), strict=True))

    def _memory_is_full(self, error: Exception) -> bool:
        text = str(error).lower()
        return isinstance(error, MemoryError) or any(word in text for word in MEMORY_WORDS)

    def _free_memory(self) -> None:
        """onnxruntime keeps what it has for the next pass, which is smaller."""


def load_onnx_runner(
    path: Path,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
) -> tuple[OnnxRunner, Contract]:
    """Load an exported model for inference.

    Args:
        device: as `--device`; `auto` is the CPU.
        precision: as `--precision`; an exported model computes in float32.
        threads: that onnxruntime computes with on the CPU; None: `OMP_NUM_THREADS` where it is set, else the cores
            less one.
        batch_size: tiles at once with `input.mode: tile`; None: the preset's, else the device's.

    Raises:
        InputError: the file is missing, broken or not exported by defectctl, onnxruntime is not installed, or device
            or precision cannot be had.
    """
    contract = read_onnx_contract(path)
    preset = contract.preset_config()
    pixel = contract.pixel_threshold(path)
    check_precision_name(precision)
    if precision not in ("auto", "float32"):
        raise InputError(f"precision '{precision}' is not for an exported model, which computes in float32; use auto")
    place = choose_place(device)
    session = open_session(path, place, threads)
    _check_session(session, path, contract)
    predict = preset.predict if batch_size is None else preset.predict.model_copy(update={"batch_size": batch_size})
    return OnnxRunner(session, preset.input, place, predict, pixel), contract


def choose_place(name: str) -> Place:
    """The device that `--device` stands for.

    Raises:
        InputError: the name is unknown, or CUDA is asked for and this onnxruntime has none.
    """
    check_device_name(name)
    if name in ("auto", "cpu"):
        return Place("cpu")
    if CUDA not in _onnxruntime().get_available_providers():
        raise InputError(
            f"device '{name}' is not available: this onnxruntime computes on the CPU only; "
            "install onnxruntime-gpu in its place, or use --device cpu"
        )
    return Place("cuda", int(name.partition(":")[2] or 0))


def open_session(path: Path, place: Place, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open the network of an ONNX file.

    Raises:
        InputError: onnxruntime is missing, cannot use the file, or cannot use the device.
    """
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = thread_count(threads)
    providers: list[Any] = ["CPUExecutionProvider"]
    if place.type == "cuda":
        providers.insert(0, (CUDA, {"device_id": place.index}))
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own classes share no base but Exception
        reason = " ".join(str(error).split())
        raise InputError(f"onnxruntime cannot use '{path}': {reason}") from error
    if place.type == "cuda" and CUDA not in session.get_providers():
        raise InputError(
            f"device '{place}' cannot be used by this onnxruntime (CUDA or cuDNN is missing or of another version); "
            "use --device cpu"
        )
    return session


def thread_count(asked: int | None = None) -> int:
    """Threads that onnxruntime computes with: as asked, else by `OMP_NUM_THREADS`, else the cores less one."""
    if asked is not None:
        return max(1, asked)
    text = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(text)) if text.isdecimal() else max(1, allowed_cores() - 1)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "an exported model needs onnxruntime, which is not installed; run: pip install onnxruntime"
        ) from error
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    return onnxruntime


def _check_session(session: onnxruntime.InferenceSession, path: Path, contract: Contract) -> None:
    """Refuse a network whose input or outputs are not those that its contract tells of."""
    config, tasks = contract.preset_config().input, tasks_of(contract)
    wanted = {MASK} if "segmentation" in tasks else set()
    wanted |= {DECISION} if "decision" in tasks else set()
    wanted |= set(BOXES) if "detection" in tasks else set()
    inputs = session.get_inputs()
    channels = 1 if config.colour == "grey" else 3
    fits = len(inputs) == 1 and inputs[0].name == INPUT and inputs[0].shape[1:] == [channels, *config.size]
    if not fits or {output.name for output in session.get_outputs()} != wanted:
        raise InputError(f"the network in '{path}' does not fit its contract; export the model again")
