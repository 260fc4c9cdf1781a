"""What an editor without a generative model can do.

All take image (H, W, 3) uint8, hole (H, W) bool, exemplar PIL image, and return
(H, W, 3) uint8 that equals the image outside the hole.
"""

import numpy as np
from PIL import Image
from scipy import sparse
from scipy.sparse.linalg import spsolve

from pbe_lite.canvas import hole_box


def copy_paste(image, hole, exemplar):
    """The exemplar, background and all, squashed to the hole's box and cut to its shape."""
    x0, y0, x1, y1 = hole_box(hole)
    patch = exemplar.convert("RGB").resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC)
    pasted = image.copy()
    pasted[y0:y1, x0:x1] = np.asarray(patch)
    return np.where(hole[..., None], pasted, image)


def poisson_blend(image, hole, exemplar):
    """Poisson image editing (Perez et al. 2003): keep the exemplar's gradients, meet the
    picture at the hole's border.

    Solves, for the pixels p of the hole, sum_q (f_p - f_q) = sum_q (g_p - g_q): on the
    left over all neighbours q within the picture, with f = image outside the hole; on the
    right, with g the pasted exemplar, over those within the hole."""
    pasted = copy_paste(image, hole, exemplar).astype(float)
    index = np.full(hole.shape, -1)
    index[hole] = np.arange(hole.sum())
    ys, xs = np.nonzero(hole)
    rows, columns, degree = [], [], np.zeros(len(ys))
    right = np.zeros((len(ys), 3))
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = ys + dy, xs + dx
        inside = (0 <= y) & (y < hole.shape[0]) & (0 <= x) & (x < hole.shape[1])
        p = np.flatnonzero(inside)
        y, x = y[p], x[p]
        degree[p] += 1
        unknown = hole[y, x]
        # the guidance is the exemplar's own gradient; across the border it has none
        right[p[unknown]] += (pasted[ys, xs][p] - pasted[y, x])[unknown]
        right[p[~unknown]] += image[y, x][~unknown]
        rows.append(p[unknown])
        columns.append(index[y, x][unknown])
    r, c = np.concatenate(rows), np.concatenate(columns)
    laplacian = sparse.diags(degree) - sparse.coo_matrix((np.ones(len(r)), (r, c)),
                                                         (len(ys),) * 2)
    solved = spsolve(laplacian.tocsc(), right)
    result = image.copy()
    result[hole] = np.clip(np.round(solved), 0, 255).astype(np.uint8)
    return result
