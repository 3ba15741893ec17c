"""What a trained network says of images: classes with their probabilities.

source      weights by name, in a file or in the folder of a training, made ready to be asked
classifier  asking
picture     an image and what was said of it, side by side
"""

from minicnn.predict.classifier import Classifier, Guess
from minicnn.predict.source import from_run, from_weights

__all__ = ["Classifier", "Guess", "from_run", "from_weights"]
