"""Weights to start from: none, ImageNet's through a library, or a file."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from defectctl.errors import InputError
from defectctl.messages import say

WRAPPERS = ("state_dict", "state_dict_ema", "model", "model_state_dict")
"""Keys under which training scripts of others keep the tensors in a `.pth` file."""

BROKEN_FILE = (
    SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError
)  # fmt: skip
"""What reading a damaged or foreign file raises, depending on where it is damaged."""

HUB = "https://huggingface.co"
"""Where timm and segmentation-models-pytorch keep their ImageNet weights; `$HF_ENDPOINT` names another place."""
HUB_SECONDS = 3.0
"""How long to wait for the hub to answer."""
NOT_THERE = (OSError, RuntimeError, ValueError, KeyError)
"""What the libraries raise where weights are not cached, not offered, or not to be downloaded."""


def load_weights(network: nn.Module, weights: str) -> None:
    """Give `network` its first weights, in place, and say in one line what was taken.

    Args:
        network: a network of the registry; its part `encoder` takes ImageNet's weights.
        weights: `none`, `imagenet`, or the path of a `.safetensors`, `.pth` or `.pt` file that holds the whole network
            or its encoder.

    Raises:
        InputError: the weights cannot be had, cannot be read, or no tensor fits.
    """
    if weights == "none":
        initialise = getattr(network, "initialise", None)
        if initialise is not None:
            initialise()
    elif weights == "imagenet":
        take(network.parts["encoder"], fetch_imagenet(network), "ImageNet weights")
    else:
        state = read_weights(Path(weights))
        whole = count_matches(network.state_dict(), state)
        encoder = network.parts.get("encoder", network)
        target = network if whole >= count_matches(encoder.state_dict(), state) else encoder
        take(target, state, f"weights '{weights}'")


def fetch_imagenet(network: nn.Module) -> dict[str, Tensor]:
    """Return the encoder's ImageNet weights through the library that offers them (downloads unless cached).

    Raises:
        InputError: the network or the library has none, or they cannot be downloaded here.
    """
    fetch = getattr(network, "pretrained_encoder", None)
    if fetch is None:
        raise InputError(f"model.weights: {type(network).__name__} has no ImageNet weights; use 'none' or a file")
    try:
        with _hub(offline=True):
            return fetch()
    except ImportError as error:
        raise InputError(
            f"model.weights: 'imagenet' needs the package '{error.name}'; install it, or use 'none' or a file"
        ) from error
    except NOT_THERE as error:
        if not hub_answers():
            raise _not_to_be_had(f"they are not in the cache, and {_hub_address()} does not answer") from error
    try:
        with _hub(offline=False):
            return fetch()
    except NOT_THERE as error:
        raise _not_to_be_had((str(error).strip() or type(error).__name__).splitlines()[0]) from error


def _not_to_be_had(reason: str) -> InputError:
    return InputError(
        f"model.weights: 'imagenet' cannot be had here ({reason}); where there is no network, fetch the weights on "
        "another machine and name the file: --set model.weights=FILE.safetensors (or .pth), or use 'none'"
    )


def _hub_address() -> str:
    return os.environ.get("HF_ENDPOINT") or HUB


def hub_answers() -> bool:
    """Whether the hub, or the proxy that leads to it, takes a connection within `HUB_SECONDS`.

    Asked because the hub's own client retries for the better part of a minute before it gives up.
    """
    proxies = urllib.request.getproxies()
    target = proxies.get("https") or proxies.get("all") or _hub_address()
    try:
        parts = urlsplit(target if "://" in target else f"http://{target}")
        port = parts.port or (80 if parts.scheme == "http" else 443)
        with socket.create_connection((parts.hostname or "", port), HUB_SECONDS):
            return True
    except (OSError, ValueError):
        return False


@contextmanager
def _hub(offline: bool) -> Iterator[None]:
    """While the block runs, the hub's client keeps its retries to itself, and to its cache where `offline`."""
    from huggingface_hub import constants

    logger = logging.getLogger("huggingface_hub")
    before = constants.HF_HUB_OFFLINE, logger.level
    constants.HF_HUB_OFFLINE = offline or before[0]
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before[0]
        logger.setLevel(before[1])


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file's tensors by name; nothing in the file is ever executed.

    Raises:
        InputError: missing, broken, or holding more than tensors.
    """
    try:
        if path.suffix.lower() == ".safetensors":
            content = load_safetensors(path.read_bytes())
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"weights '{path}' cannot be read: {error.strerror or error}") from error
    except BROKEN_FILE as error:
        raise InputError(
            f"weights '{path}' are not a file of tensors ({type(error).__name__}); a .pth file must have been saved "
            "from a state dict"
        ) from error
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise InputError(f"weights '{path}' hold no table of named tensors; save the model's state dict instead")
    return {str(name).removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}


def count_matches(own: dict[str, Tensor], state: dict[str, Tensor]) -> int:
    """Return how many of `state`'s tensors fit `own` by name and shape."""
    return sum(name in own and fit(value, own[name]) is not None for name, value in state.items())


def fit(value: Tensor, own: Tensor) -> Tensor | None:
    """Return `value` in the shape of `own`, or None where it does not fit.

    A first convolution for 3 channels becomes one for grey by adding its channels up: a grey image stands for three
    equal channels.
    """
    if value.shape == own.shape:
        return value
    grey = value.dim() == 4 and value.shape[1] == 3 and own.shape == (value.shape[0], 1, *value.shape[2:])
    return value.sum(1, keepdim=True) if grey else None


def take(network: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Load the tensors that fit by name and shape, and say how many did; the others keep their start.

    Raises:
        InputError: not one tensor fits.
    """
    own = network.state_dict()
    fitting = {name: fit(value, own[name]) for name, value in state.items() if name in own}
    taken = {name: value for name, value in fitting.items() if value is not None}
    if not any(own[name].is_floating_point() and own[name].dim() > 0 for name in taken):
        raise InputError(f"{what}: none of the {len(state)} tensors fits {type(network).__name__} by name and shape")
    # Not the network's own method: some library encoders override it without `strict`.
    nn.Module.load_state_dict(network, taken, strict=False)
    other_shape = sorted(name for name, value in fitting.items() if value is None)
    remark = f", {len(other_shape)} of another shape left out ({', '.join(other_shape[:3])})" if other_shape else ""
    say(f"{what}: {len(taken)} of the {len(own)} tensors of {type(network).__name__} loaded{remark}")
