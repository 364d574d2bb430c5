"""Arrays and tensors that hold pictures, in whatever order and range: told apart, and brought to bytes."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Pixels = npt.NDArray[np.uint8]


def channels_last(tensor: Tensor) -> npt.NDArray[np.generic]:
    """Turn (H, W), (C, H, W) or (N, C, H, W) into an array with the channels, if 3, last."""
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # which numpy does not know
    array: npt.NDArray[np.generic] = tensor.detach().cpu().numpy()
    if array.ndim < 3:
        return array
    if array.shape[-3] not in (1, 3):
        raise ValueError(
            f"expected a tensor of (C, H, W) or (N, C, H, W) with 1 or 3 channels, found {tuple(tensor.shape)}"
        )
    return array.squeeze(-3) if array.shape[-3] == 1 else np.moveaxis(array, -3, -1)


def unstack(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic] | list[npt.NDArray[np.generic]]:
    """Tell one picture from many by the shape."""
    if array.ndim >= 3 and array.shape[-1] == 1:
        array = array[..., 0]
    coloured = array.ndim >= 3 and array.shape[-1] in (3, 4)
    picture_dimensions = 3 if coloured else 2
    if array.ndim == picture_dimensions:
        return array
    if array.ndim == picture_dimensions + 1:
        return list(array)
    raise ValueError(f"expected an array of (H, W), (H, W, 3 or 4), or many of these, found a shape of {array.shape}")


def to_bytes(array: npt.NDArray[np.generic]) -> Pixels:
    """Bring numbers of any type to uint8: integers are from 0 to 255, floats in [0, 1]; ValueError for others."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    top = 1.0 if np.issubdtype(array.dtype, np.floating) else 255.0
    values = array.astype(np.float64)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # false for NaN, too
        raise ValueError(f"expected values from 0 to {top:g} in an array of {array.dtype}, found {low:g} to {high:g}")
    return np.rint(values * (255 / top)).astype(np.uint8)
