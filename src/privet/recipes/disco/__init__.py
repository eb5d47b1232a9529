"""DISCO (Singh et al. 2021, arXiv:2012.11025): figures 2 and 3, and the text.

The paper trains a ResNet-18 on FairFace from scratch and prints the accuracy of the adversary that was trained beside
the filter: that is the verdict "as published", and an audit asks fresh ones. Its cut "after six convolutions" lies
inside a residual block, where no cut is legal; ours is the last convolution of a small network, with the earlier ones
beside it. In place of FairFace stand UTKFace (both directions), CelebA and CIFAR-10. Operating points ("equal target
accuracy") cost at most two points on task_val, and are chosen on aux_val; victims have no say. Every study holds the
control: the same pruning and training without hiding."""

from privet.recipes.claims import Paper
from privet.recipes.disco.assertions import CLAIMS
from privet.recipes.disco.drawings import FIGURES
from privet.recipes.disco.sets import studies
from privet.recipes.evidence import COTRAINED

PAPER = Paper(
    "DISCO: Dynamic and Invariant Sensitive Channel Obfuscation for Deep Neural Networks", "Singh et al. 2021",
    "2012.11025",
)  # fmt: skip
PUBLISHED = (COTRAINED, "server_probe")  # beside nothing no adversary is trained

__all__ = ["CLAIMS", "FIGURES", "PAPER", "PUBLISHED", "studies"]
