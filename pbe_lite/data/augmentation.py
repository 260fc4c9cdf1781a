"""Exemplar augmentation (section 3.2): what the exemplar goes through in training, so
that the model cannot learn to paste it.

Order and parameters are the paper's code's, at 224 px: squashed to a square, mirrored
(p = .5), rotated by +-20 degrees (p = .5), box-blurred with a kernel of 3 to 7 px
(p = .3), "elastic" (p = .3).  The library version they used calls an operation elastic
that is in effect a random affine map; a port to a newer version silently loses it.
At another size all lengths scale with it.
"""

import numpy as np
from scipy import ndimage

from pbe_lite.data.images import squash

REFERENCE = 224
PROBABILITY = {"flip": .5, "rotate": .5, "blur": .3, "affine": .3}


def _warp(array, matrix, offset):
    """out[p] = array[matrix @ p + offset], p = (row, column), mirrored at the border."""
    warp = lambda plane: ndimage.affine_transform(plane, matrix, offset, order=1,
                                                  mode="mirror")
    planes = [warp(array[..., k]) for k in range(3)]
    return np.stack(planes, -1)


def flip(array, rng=None):
    """Mirror left and right."""
    return array[:, ::-1]


def rotate(array, rng, limit=20):
    """Rotate about the centre by U(-limit, limit) degrees."""
    angle = np.radians(rng.uniform(-limit, limit))
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(array.shape[:2]) - 1) / 2
    return _warp(array, matrix, centre - matrix @ centre)


def blur(array, rng, kernels=(3, 5, 7)):
    """Blur as a k x k box filter at 224 px does, k drawn from `kernels`.

    Done with the Gaussian of the same variance, (k^2 - 1) / 12 px^2, since a scaled box
    need not be a whole number of pixels wide."""
    k = rng.choice(kernels)
    sigma = np.sqrt((k ** 2 - 1) / 12) * len(array) / REFERENCE
    soft = ndimage.gaussian_filter(array.astype(np.float32), (sigma, sigma, 0))
    return np.round(soft).astype(np.uint8)  # scipy would cut off, and so darken, uint8


def affine(array, rng, reach=REFERENCE // 3, jitter=50):
    """The affine map hidden in the old ElasticTransform: three anchors at
    centre + (reach, reach), (reach, -reach), (-reach, -reach), each moved by
    U(-jitter, jitter) on both axes (pixels of 224)."""
    scale = len(array) / REFERENCE
    centre = np.array(array.shape[:2]) / 2
    source = centre + scale * reach * np.array([(1, 1), (1, -1), (-1, -1)])
    target = source + scale * rng.uniform(-jitter, jitter, (3, 2))
    homogeneous = np.column_stack([target, np.ones(3)])
    inverse = np.linalg.lstsq(homogeneous, source, rcond=None)[0].T
    return _warp(array, inverse[:, :2], inverse[:, 2])


def augment_exemplar(image, size, rng):
    """PIL image -> (size, size, 3) uint8, augmented with random draws from `rng`."""
    array = squash(image, size)
    for operation in (flip, rotate, blur, affine):
        if rng.uniform() < PROBABILITY[operation.__name__]:
            array = operation(array, rng)
    return np.ascontiguousarray(array)
