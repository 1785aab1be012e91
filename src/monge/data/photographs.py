"""The two real photographs that come with scikit-learn."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge.errors import InputError

__all__ = ["photographs"]


def photographs() -> tuple[Float[Tensor, "427 640 3"], Float[Tensor, "427 640 3"]]:
    """Two photographs, a temple in China and a flower, as red, green and blue in [0, 1].

    They come with scikit-learn, so nothing is downloaded.

    Returns:
        The temple and the flower, 427 rows of 640 pixels each.

    Raises:
        InputError: If scikit-learn or Pillow is not installed.

    Example:
        >>> from monge.data import photographs
        >>> temple, flower = photographs()
        >>> temple.shape, flower.shape
        (torch.Size([427, 640, 3]), torch.Size([427, 640, 3]))
    """
    try:
        from sklearn.datasets import load_sample_image

        pictures = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    except ImportError as error:
        raise InputError(
            f"The photographs come with scikit-learn and are opened by Pillow, but {error.name or error} is missing: "
            "pip install 'monge[embed,plot]'."
        ) from error
    temple, flower = (torch.tensor(picture, dtype=torch.float32) / 255 for picture in pictures)
    return temple, flower
