"""Small ONNX files written node by node, whose answers are known without running a network of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import METADATA_KEY
from defectctl.config.presets import check_preset, preset_to_dict

HEIGHT, WIDTH = 32, 40
BOX = [4.0, 6.0, 20.0, 16.0]


def make_contract(model: str, mode: str = "resize", **others) -> Contract:
    """The contract of a model for grey images of 32 x 40 pixels."""
    preset = {
        "name": "toy",
        "description": "a toy",
        "model": {"name": model},
        "input": {"size": [HEIGHT, WIDTH], "colour": "grey", "mode": mode},
        "train": {
            "batch_size": 2,
            "stages": [
                {
                    "name": "all",
                    "epochs": 1,
                    "losses": {"ce": 1},
                    "optimiser": {"name": "adamw", "lr": 0.001},
                    "schedule": {"name": "constant"},
                },
            ],
        },
    }
    return Contract(preset_to_dict(check_preset(preset, "toy")), ["dent"], [(255, 0, 0)], **others)


def write_toy(path: Path, contract: Contract, *heads: str, one_image: bool = False) -> Path:
    """Write a network that calls bright pixels (over one half) defects.

    Args:
        heads: of `mask` (logits `[0, 20 (v - 0.5)]`), `decision` (logit 20 (max - 0.5)) and `boxes` (`BOX` twice, with
            scores 0.9 and 0.8, whatever is seen).
        one_image: whether it takes a single image at a time.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    batch = 1 if one_image else "batch"
    numbers = {
        "half": np.float32([0.5]),
        "twenty": np.float32([20]),
        "zero": np.float32([0]),
        "box": np.float32([[BOX, BOX]]),
        "score": np.float32([[0.9, 0.8]]),
        "label": np.int64([[1, 1]]),
        "axes": np.int64([1, 2, 3]),
    }
    nodes = [
        helper.make_node("Sub", ["images", "half"], ["above"]),
        helper.make_node("Mul", ["above", "twenty"], ["logit"]),
    ]
    outputs = []
    if "mask" in heads:
        nodes += [
            helper.make_node("Mul", ["logit", "zero"], ["nothing"]),
            helper.make_node("Concat", ["nothing", "logit"], ["mask_logits"], axis=1),
        ]
        outputs.append(helper.make_tensor_value_info("mask_logits", TensorProto.FLOAT, [batch, 2, HEIGHT, WIDTH]))
    if "decision" in heads:
        nodes.append(helper.make_node("ReduceMax", ["logit", "axes"], ["image_logit"], keepdims=0))
        outputs.append(helper.make_tensor_value_info("image_logit", TensorProto.FLOAT, [batch]))
    if "boxes" in heads:
        assert one_image
        for source, name in (("box", "boxes"), ("score", "box_scores"), ("label", "box_labels")):
            nodes.append(helper.make_node("Identity", [source], [name]))
            kind = TensorProto.INT64 if name == "box_labels" else TensorProto.FLOAT
            outputs.append(helper.make_tensor_value_info(name, kind, list(numbers[source].shape)))
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 1, HEIGHT, WIDTH])
    stored = [numpy_helper.from_array(value, name) for name, value in numbers.items()]
    graph = helper.make_graph(nodes, "toy", [image], outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.save(model, str(path))
    return path


def bright_picture(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Dark, with a bright patch of 10 rows and 12 columns at (5, 8)."""
    picture = np.full((height, width), 20, np.uint8)
    picture[5:15, 8:20] = 250
    return picture
