"""The transforms of Winograd convolution F(m x m, 3 x 3).

    Y = A^T [ (G g G^T) * (B^T d B) ] A        elementwise product, d a tile of m + 2 by m + 2 inputs

From Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, sections 4.1 and 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KERNEL_SIZE = 3
_STANDARD_DEVIATIONS = 8


@dataclass(frozen=True)
class WinogradTransform:
    """One algorithm F(m x m, 3 x 3).

    Attributes:
        outputs: ``m``, outputs of a tile along each axis.
        data: ``B^T``, ``[m + 2, m + 2]``.
        kernel: ``G``, ``[m + 2, 3]``.
        result: ``A^T``, ``[m, m + 2]``.
    """

    outputs: int
    data: np.ndarray
    kernel: np.ndarray
    result: np.ndarray

    @property
    def size(self) -> int:
        """Inputs of a tile along each axis."""
        return self.outputs + KERNEL_SIZE - 1

    def transform_weight(self, weight: np.ndarray) -> np.ndarray:
        """``G g G^T`` of every kernel, computed in float64.

        Args:
            weight: ``[out_channels, in_channels, 3, 3]``.

        Returns:
            ``[size * size, out_channels, in_channels]`` of the weight's type.
        """
        # G g G^T of all kernels as one product of matrices, with the kernels as columns.
        both = np.kron(self.kernel, self.kernel)
        columns = weight.reshape(-1, KERNEL_SIZE**2).T.astype(np.float64)
        return (both @ columns).astype(weight.dtype).reshape(self.size**2, *weight.shape[:2])

    def expected_error(self) -> float:
        """Estimate of the largest rounding error in float32, as a share of the output's range.

        For data and weights of variance 1, a place of a transformed tile has the variance ``|B_i|^2 |G_i|^2`` along
        each axis, and each product is rounded at that size before ``A^T`` sums it; the direct sum has the variance 3.
        The largest of many errors is some standard deviations away: the factor fits layers of 64 to 512 channels.
        """
        places = np.linalg.norm(self.data, axis=1) * np.linalg.norm(self.kernel, axis=1)
        gain = np.linalg.norm(self.result * places, axis=1).max() / np.sqrt(KERNEL_SIZE)
        return float(_STANDARD_DEVIATIONS * gain**2 * np.finfo(np.float32).eps / 2)


F2 = WinogradTransform(
    outputs=2,
    data=np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float64),
    kernel=np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float64),
    result=np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float64),
)

F4 = WinogradTransform(
    outputs=4,
    data=np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        np.float64,
    ),
    kernel=np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        np.float64,
    ),
    result=np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64),
)

TRANSFORMS = {2: F2, 4: F4}
