"""Unsupervised information obfuscation (Samragh et al. 2021, arXiv:2104.11413): figures 2 to 7, and the text.

The paper's network (Table 1) is cut in front of its layers 2 to 5, trained on with content removed, and sends what
`signal_content` leaves of it in the paper's order. Where the paper has EMNIST writers, FaceScrub identities and its own
splits, we have QMNIST writers, identities of CelebA, and people of their own for the adversary: the paper's adversary
learns from the owner's training data. Operating points ("at most one point of target accuracy") are chosen on task_val,
by the mean over seeds, and only then scored on the victims."""

from privet.recipes.claims import Paper
from privet.recipes.signal_content.assertions import CLAIMS
from privet.recipes.signal_content.drawings import FIGURES
from privet.recipes.signal_content.sets import studies

PAPER = Paper(
    "Unsupervised Information Obfuscation for Split Inference of Neural Networks", "Samragh et al. 2021", "2104.11413"
)

__all__ = ["CLAIMS", "FIGURES", "PAPER", "studies"]
