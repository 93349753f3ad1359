"""Read a TensorFlow checkpoint bundle without TensorFlow."""
from pathlib import Path
import numpy as np
class BundleError(Exception):
    """broken"""
def bundle_prefix(path: Path) -> Path | None:
    return None
def read_bundle(prefix: Path) -> dict[str, np.ndarray]:
    raise BundleError("x")
