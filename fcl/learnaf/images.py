"""Reading images whose numbers matter: sensor counts in PNG and TIFF, floats in EXR.

Pillow reads 16-bit grey as it is, but reduces 16-bit colour to 8 bit without a word: here colour is refused.
"""

import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import ExifTags, Image, UnidentifiedImageError

KINDS = {"L": np.uint8, "I;16": np.uint16, "I;16B": np.uint16}  # Pillow's names of one-channel images
OTHERS = {"F": "floats", "I": "signed or 32-bit numbers", "1": "single bits", "P": "colours of a palette"}
UNDO = dict(enumerate("FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_90 TRANSVERSE ROTATE_270".split(), 2))


def read_counts(data: bytes, name: Path | str) -> np.ndarray:
    """A one-channel PNG or TIFF, rows x columns, uint8 or uint16 as it is stored, whatever its Orientation tag says.

    Raises ValueError naming the file for one that is empty, damaged, truncated, of another kind of numbers, in colour, of
    several pages or of another format.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=("PNG", "TIFF")) as image:
            image.verify()  # the checksums of a PNG, which loading skips
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            mode, pages, counts = image.mode, getattr(image, "n_frames", 1), None
            if mode in KINDS and pages == 1:
                turned = image.getexif().get(ExifTags.Base.Orientation) if image.format == "TIFF" else None
                image.load()  # turns a TIFF as its tag says
                stored = image.transpose(Image.Transpose[UNDO[turned]]) if turned in UNDO else image
                counts = np.array(stored, KINDS[mode])
    except Exception as error:  # a damaged header makes Pillow raise nearly anything
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"  # that one's text holds an address
        raise ValueError(f"{name} is no readable PNG or TIFF, or only a part of one{reason}") from None
    if mode not in KINDS:
        kind = OTHERS.get(mode, f"{mode}, not one channel")
        raise ValueError(f"{name} is {kind}: save one channel, such as green, of 8 or 16 bit without sign")
    if pages > 1:
        raise ValueError(f"{name} holds {pages} pages: save each image as a file of its own")
    return counts


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
