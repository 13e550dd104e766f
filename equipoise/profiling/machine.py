"""What a measurement depends on besides the model: the machine, and the library that runs the model."""

from __future__ import annotations

import importlib
import platform
from importlib.metadata import version
from pathlib import Path

from equipoise.engines.processors import usable_cpus
from equipoise.errors import ModelError

# Modules that run models of an ending, the preferred one first; a module's name says what `pip` calls it.
_RUNTIMES = {".onnx": ("onnxruntime",), ".tflite": ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")}
_NEEDED = {".onnx": "onnxruntime", ".tflite": "LiteRT: pip install 'equipoise[litert]'"}


def installed_runtime(model_file: Path) -> str:
    """Library and version that runs the file, as in "onnxruntime 1.32.0". Raises ModelError if none is installed.

    Imports the library, so that what is measured afterwards is not the import.
    """
    modules = _RUNTIMES.get(model_file.suffix.lower(), ())
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        package = name.partition(".")[0].replace("_", "-")
        # onnxruntime's version is that of the module: its packages have several names, one per accelerator.
        return f"{package} {getattr(module, '__version__', None) or version(package)}"
    needed = _NEEDED.get(model_file.suffix.lower(), "an engine that Equipoise does not have")
    raise ModelError(f"cannot be run here; it needs {needed}", path=model_file)


def machine_fingerprint() -> str:
    """What tells machines apart that run the same model at different speeds: CPU model and usable cores."""
    return f"{_cpu_model()}, {len(usable_cpus())} cores, {platform.system()} {platform.machine()}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown CPU"
    pairs = (line.partition(":") for line in lines)
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    # ARM kernels name the board ("Model") or the chip ("Hardware") where x86 has "model name".
    named = [fields[key] for key in ("model name", "Model", "Hardware", "CPU part") if key in fields]
    return named[0] if named else platform.processor() or "unknown CPU"
