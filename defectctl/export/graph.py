"""Writes a network as ONNX: named outputs, any number of images at once, and the contract in the metadata."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import METADATA_KEY
from defectctl.errors import RunError
from defectctl.export.dense_boxes import BoxDecoder, box_decoder
from defectctl.inference.onnx_runner import BOXES, DECISION, INPUT, MASK
from defectctl.inference.runner import fold_batch_norm
from defectctl.models.registry import find_entry
from defectctl.version import __version__

OPSET = 18
"""Version of the ONNX operators; onnxruntime reads it from 1.14 (2023) on."""

EXAMPLE_IMAGES = 2
"""Images of the input that the network is traced with: the tracer takes one for a number that never changes."""


class NamedHeads(nn.Module):
    """A network whose `forward` returns a tuple of tensors, in the order of `output_names`.

    `mask_logits` `(N, 1 + classes, h, w)`; `image_logit` `(N,)`; `boxes` `(N, M, 4)` in network pixels, after decoding
    and before non-maximum suppression, with `box_scores` `(N, M)` and `box_labels` `(N, M)`.
    """

    def __init__(self, model: nn.Module, decoder: BoxDecoder | None) -> None:
        super().__init__()
        self.model = model
        self.decoder = decoder

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        output = self.model(images)
        found = [head for head in (output.mask_logits, output.image_logit) if head is not None]
        if self.decoder is not None:
            found += self.decoder(self.model, output)
        return tuple(found)


def output_names(tasks: tuple[str, ...]) -> list[str]:
    """Names of an exported network's outputs, by what it delivers."""
    names = [name for name, task in ((MASK, "segmentation"), (DECISION, "decision")) if task in tasks]
    return names + (list(BOXES) if "detection" in tasks else [])


def write_graph(model: nn.Module, contract: Contract, path: Path) -> None:
    """Write the network as ONNX to `path`; height and width are the preset's input, and so is what is read from it.

    Batch norm is folded into its convolutions where `fold_batch_norm` finds it; onnxruntime folds the rest when it
    opens the file. Names of files and lines that the exporter leaves in the graph are taken out.

    Args:
        model: in evaluation mode, on the CPU; it stays as it is.

    Raises:
        RunError: torch cannot export it.
    """
    import onnx

    preset = contract.preset_config()
    tasks = find_entry(preset.model.name).tasks
    decoder = box_decoder(preset.model.name) if "detection" in tasks else None
    heads = NamedHeads(fold_batch_norm(copy.deepcopy(model).eval()), decoder).eval()
    channels = 1 if preset.input.colour == "grey" else 3
    images = 1 if decoder is not None and decoder.one_image else EXAMPLE_IMAGES
    example = torch.rand(images, channels, *preset.input.size, generator=torch.Generator().manual_seed(0))
    names = output_names(tasks)
    try:
        with torch.no_grad(), _silence():
            if decoder is not None and decoder.one_image:
                _trace(heads, example, names, path)
            else:
                _export(heads, example, names, path)
    except Exception as error:  # the exporter's failures share no base
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"torch cannot export '{preset.model.name}' to ONNX: {reason}") from error
    network = onnx.load(str(path))
    _strip(network)
    network.producer_name, network.producer_version = "defectctl", __version__
    onnx.helper.set_model_props(network, {METADATA_KEY: contract.to_json()})
    onnx.save(network, str(path))


def _export(heads: nn.Module, example: Tensor, names: list[str], path: Path) -> None:
    torch.onnx.export(
        heads,
        (example,),
        str(path),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=names,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        external_data=False,
        verbose=False,
    )


def _trace(heads: nn.Module, example: Tensor, names: list[str], path: Path) -> None:
    """By the older exporter, which follows one image through and knows torchvision's own ways for its detectors."""
    sizes = {name: {1: "found"} for name in names if name in BOXES}
    torch.onnx.export(
        heads,
        (example,),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=names,
        dynamic_axes=sizes,
        verbose=False,
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's remarks off the screen: none of them is about the user's model."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _strip(network: object) -> None:
    """Take out of an ONNX model what tells of the machine that made it: doc strings, and the nodes' stack traces."""
    graph = network.graph  # type: ignore[attr-defined]
    parts = [network, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for function in network.functions:  # type: ignore[attr-defined]
        parts += [function, *function.node]
    for part in parts:
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
