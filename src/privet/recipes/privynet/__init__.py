"""PrivyNet (Li et al. 2017, arXiv:1709.06161): figures 3 to 15 and 19 to 24, tables 4c and 13b, appendices D and E, and
the attack on its anonymity that the paper lacks.

What the first layers of a pretrained network leak and give is measured by networks that saw public pictures only, as
`privet plan` does it. Where the paper has a VGG-16 padded by zeros, there is a VGG-19 padded by reflection, trained on
ImageNet; CIFAR-10 is the public and the private set, UTKFace the other one; no picture is augmented. The paper's
adversary is its reconstruction network, its utility the accuracy of its classification network; a fresh adversary draws
with the better of that network and the linear decoder, and a fresh cloud takes the better of both classifiers."""

from privet.recipes.claims import Paper
from privet.recipes.privynet.assertions import CLAIMS
from privet.recipes.privynet.drawings import FIGURES
from privet.recipes.privynet.sets import studies

PAPER = Paper(
    "PrivyNet: A Flexible Framework for Privacy-Preserving Deep Neural Network Training", "Li et al. 2017", "1709.06161"
)
EXACT = False  # another network of the same layers, Adam

__all__ = ["CLAIMS", "EXACT", "FIGURES", "PAPER", "studies"]
