"""The linear probe: what a linear classifier can read from frozen features."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sap.errors import SapError

STEPS = 1000  # of L-BFGS, at most; standardised features need some hundred


def linear_probe(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, where: str
) -> np.ndarray:
    """(n,) uint8: is the label of each test image predicted, after training on (N, E) features with labels (N,)?

    Multinomial logistic regression with an L2 penalty (scikit-learn, C = 1) on features standardised by the training
    images (Alain & Bengio 2016, arXiv:1610.01644). Nothing in it is random. SapError naming `where` for a single class.
    """
    if len(np.unique(train_labels)) < 2:
        raise SapError(
            f"{where}: a linear probe needs training images of two classes or more, got {len(train_labels)} image(s) "
            "of one. Raise the number of its images."
        )
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=STEPS))
    probe.fit(train.astype(np.float64), train_labels)
    return (probe.predict(test.astype(np.float64)) == test_labels).astype(np.uint8)
