"""Reading images whose numbers matter: sensor counts in PNG and TIFF, floats in EXR.

Pillow reads 16-bit grey as it is, but reduces 16-bit colour to 8 bit without a word: here colour is refused.
"""

import io
import tempfile
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import Image

KINDS = {"L": np.uint8, "I;16": np.uint16, "I;16B": np.uint16}  # Pillow's names of one-channel images


def read_counts(data: bytes, name: Path | str) -> np.ndarray:
    """A one-channel PNG or TIFF, rows x columns, uint8 or uint16 as it is stored.

    Raises ValueError naming the file for one that is empty, truncated, in colour, of several pages or of another format.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "TIFF")) as image:
            if image.mode not in KINDS:
                raise ValueError(f"{name} is {image.mode}, not one channel of 8 or 16 bit: save one channel, such as green")
            if getattr(image, "n_frames", 1) > 1:
                raise ValueError(f"{name} holds {image.n_frames} pages: save each image as a file of its own")
            return np.array(image, KINDS[image.mode])
    except (OSError, SyntaxError, TypeError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is no readable PNG or TIFF, or only a part of one ({error})") from None


def read_exr(data: bytes, name: Path | str) -> np.ndarray:
    """The one channel of an EXR image, rows x columns, float32; several channels must be equal.

    Raises ValueError naming the file for one that is spoilt, has differing channels or holds NaN.
    """
    with tempfile.NamedTemporaryFile(suffix=".exr", delete=False) as file:  # the library reads files only
        file.write(data)
    try:
        with OpenEXR.File(file.name, separate_channels=True) as image:
            channels = {key: channel.pixels for key, channel in image.channels().items()}
    except (RuntimeError, ValueError, TypeError) as error:  # ValueError: what text there is isn't UTF-8, or no part is left
        raise ValueError(
            f"{name} is no readable EXR image, or only a part of one ({str(error).replace(file.name, 'the file')})"
        ) from None
    finally:
        Path(file.name).unlink()
    first, *others = channels.values()
    if first.dtype.kind != "f" or any(not np.array_equal(first, other) for other in others):
        raise ValueError(f"{name} holds the channels {', '.join(channels)} where one of floats is expected, or equal ones")
    if np.isnan(first).any():
        raise ValueError(f"{name} holds NaN")
    return first.astype(np.float32)
