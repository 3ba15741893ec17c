"""The data set inside the package: 1,797 handwritten digits of 8×8 pixels.

``digits.npz`` holds `images`, uint8 (1797, 8, 8) with the values 0 (paper) to 16 (ink), and `labels`,
uint8 (1797,).  Thirteen people wrote them; each image was a bitmap of 32×32, and its pixels count the
inked ones in blocks of 4×4.  The numbers are those that scikit-learn carries as ``load_digits``, and
were only converted to bytes.  They are the *test* part of the published data set.  Who wrote which is not
recorded, so any split has the same writers on both sides, and an accuracy on it tells how well handwritings
are read that the network has seen, not those of strangers.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits.
Licence: Creative Commons Attribution 4.0 International (CC BY 4.0),
https://creativecommons.org/licenses/by/4.0/.
"""

from importlib import resources

import numpy as np


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """All images and labels.

    Shapes: (1797, 8, 8) and (1797,).  Dtype: uint8; pixels are stretched from 0..16 to 0..255.

    >>> images, labels = read_digits()
    >>> images.shape, labels[:4].tolist()
    ((1797, 8, 8), [0, 1, 2, 3])
    >>> images[0, 3]
    array([  0,  64, 191,   0,   0, 128, 128,   0], dtype=uint8)
    """
    resource = resources.files("minicnn.data").joinpath("digits.npz")
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return np.rint(images * (255 / 16)).astype(np.uint8), labels
