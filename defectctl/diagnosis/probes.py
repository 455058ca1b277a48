"""The list of probes, in the order in which they are asked and shown."""

from __future__ import annotations

from defectctl.diagnosis import devices, folders, installation, machine
from defectctl.diagnosis.checks import SELF_TEST, Probe
from defectctl.diagnosis.self_test import self_test, trial

LOADING_SECONDS = 180
"""How long a library may take to load: with a cold disk and a virus scanner torch takes a minute."""

PROBES = (
    Probe("defectctl", "installation", installation.this_program),
    Probe("python", "installation", installation.python),
    # Before OpenCV is loaded: that sets some of them.
    Probe("variables", "installation", folders.variables),
    Probe("packages", "installation", installation.packages),
    Probe("numpy", "installation", installation.numpy, seconds=LOADING_SECONDS),
    Probe("opencv", "installation", installation.opencv, ("numpy",), LOADING_SECONDS),
    Probe("torch", "installation", installation.torch_library, seconds=LOADING_SECONDS),
    Probe("torchvision", "installation", installation.torchvision_library, ("torch",), LOADING_SECONDS),
    Probe("optional", "installation", installation.optional, seconds=LOADING_SECONDS),
    Probe("system", "machine", machine.system),
    Probe("cores", "machine", machine.cores),
    Probe("memory", "machine", machine.memory),
    Probe("abilities", "machine", machine.torch_processor, ("torch",)),
    Probe("driver", "devices", devices.driver),
    Probe("gpu", "devices", devices.gpus, ("torch",)),
    Probe("precision", "devices", devices.precisions, ("torch",), LOADING_SECONDS),
    Probe("working folder", "folders", folders.working_folder),
    Probe("temporary folder", "folders", folders.temporary_folder),
    Probe("names", "folders", folders.names, ("numpy", "opencv")),
    Probe("locks", "folders", folders.locks),
    Probe("dataset", "what is found", folders.dataset, ("numpy",)),
    Probe("model", "what is found", folders.model),
    Probe("self-test", SELF_TEST, self_test, ("numpy", "opencv", "torch"), LOADING_SECONDS),
    Probe("model found", SELF_TEST, trial, ("numpy", "opencv"), LOADING_SECONDS),
)
