"""PrivyNet (Li et al. 2017): characterize, plan, prune, release."""
