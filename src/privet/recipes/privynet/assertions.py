"""The claims: what the paper asserts, where, and what is to be found here."""

from __future__ import annotations

from privet.recipes.claims import Both, Claim, Part
from privet.recipes.privynet import channels, grid, networks
from privet.recipes.privynet.estimates import loss, utility
from privet.recipes.privynet.sizes import HALF, SETS

LAYERS = ("the middle layer", "the deepest layer")
SETTINGS = {1: "pruned by characterization", 2: "pruned by Fisher's criterion"}


def part(data: str, said: str, both: Both, *keys: str) -> Part:
    """A part on one data set."""
    return Part(f"{data}: {said}", both[0], tuple(f"{data}/{key}" for key in keys), both[1])


def cost(said: str, both: Both, key: str) -> Part:
    """A part that needs no data."""
    return Part(said, both[0], (key,), both[1])


def single(data: str) -> list[Part]:
    """Table 4c on one data set."""
    made = []
    for which, layer in enumerate(LAYERS):
        made += [
            part(data, f"accuracies differ at {layer}", channels.spread(data, which, "accuracy"), "single"),
            part(data, f"PSNRs differ at {layer}", channels.spread(data, which, "psnr"), "single"),
            part(data, f"one says little of the other at {layer}", channels.unrelated(data, which), "single"),
        ]
    return made


def anonymity(data: str) -> list[Part]:
    """Section 4 on one data set."""
    made = [
        part(data, f"{100 * share:.0f} % of the inner filters, {n:,} picture{'s' if n > 1 else ''}",
             networks.anonymous(data, share, n), "guesses")
        for share in (1.0, HALF, 0.25)
        for n in (1, 10, 100, 1000)
        if data != "digits" or n < 1000
    ]  # fmt: skip
    return [
        *made,
        part(data, "knowing it helps not at the shallowest layer", networks.knowing_helps_not(data, 0), "known"),
        part(data, "knowing it helps not at the deepest layer", networks.knowing_helps_not(data, 1), "known"),
    ]


CLAIMS = (
    Claim(
        "2a", "The privacy loss falls with the layer and rises with the number of channels; accuracy suffers only "
        "where few channels of a deep layer are released; at equal low loss the deeper layer is worth more.",
        "Figure 3",
        "PSNR falls with m and rises with D'; accuracy drops only when m is large and D' is small",
        "Mean rank correlation of PSNR with the layer below 0 and with the depth above 0; the deepest layer loses more "
        "accuracy from most to fewest channels than the shallowest, and with the fewest is worth less; at the lowest "
        "PSNR that two layers both reach, the deeper one is worth more.",
        tuple(
            p for d in SETS for p in (
                part(d, "PSNR falls with the layer", grid.trend(d, "layer"), "grid"),
                part(d, "PSNR rises with the channels", grid.trend(d, "depth"), "grid"),
                part(d, "channels matter more at the deepest layer", grid.lost_where_deep(d), "grid"),
                part(d, "few channels of the deepest layer are worth less", grid.lost_with_depth(d), "grid"),
                part(d, "at equal low PSNR deeper is worth more", grid.envelope(d), "grid"),
            )
        ), ("3a", "3b", "3c", *(f"panels-{d}" for d in SETS)),
    ),
    Claim(
        "2b", "Single channels differ in what they are worth and in what they leak, and one says little of the other.",
        "Figure 4, table 4c", "m=4: accuracy .16 to .64, PSNR 12.9 to 18.1 dB; m=6: .29 to .43, 13.0 to 16.2 dB",
        "At the middle and the deepest layer: best over worst accuracy at least 1.5, PSNR over at least 2 dB, |r| of "
        "both below .3; the extremes of all channels as their deviation puts them, without what counting adds.",
        tuple(p for d in SETS for p in single(d)), ("4",),
    ),
    Claim(
        "2c", "Layer and number of channels matter more than which channels.", "Figure 5",
        "the deviation over random channels is small beside the effect of m and D'",
        "Components of the variance of PSNR and accuracy: layer, and depth, each above the choice of channels.",
        tuple(
            part(d, f"{factor} above choice, {name}", grid.matters(d, i, figure, name), "grid")
            for d in SETS for figure, name in ((loss, "PSNR"), (utility, "accuracy"))
            for i, factor in enumerate(("layer", "depth"))
        ), ("5",),
    ),
    Claim(
        "2d", "Less than a thousand public pictures characterize the privacy loss.", "Figure 7a",
        "the PSNR settles below 1,000 pictures (augmented; here they are not)",
        "PSNR from 1,000 pictures (the most below them on a small set) within .5 dB of that from the most, by networks "
        "that take as many steps, and as many others to stop by.",
        tuple(part(d, "a thousand pictures suffice", grid.enough(d), "samples") for d in SETS), ("7a",),
    ),
    Claim(
        "2e", "A characterization carries over to other classes.", "Figures 7b, 7c", "same trend on CIFAR-10 and 100",
        "Rank correlation of at least .9 between extractors on either half of the classes.",
        tuple(part(d, "either half of the classes", grid.transfers(d), "halves") for d in SETS), ("7b",),
    ),
    Claim(
        "2f", "A loose limit takes a shallow layer, a tight one the deepest.", "Figure 8",
        "28 dB: m = 1, D' = 4; 17 dB: m = 6, D' = 4",
        "By construction of the strategy, wherever two layers keep the limits: it takes a shallower layer under 28 dB "
        "than under 17 dB (a tenth inside of what the grid spans, "
        "where it does not span them).",
        tuple(part(d, "the loose limit takes the shallower layer", grid.plans(d), "grid") for d in SETS), ("8",),
    ),
    Claim(
        "2g", "What a channel leaks is nearly independent of what it is worth.", "Figure 10",
        "of the 32 channels that leak most, 4 are among the 32 that are worth least (chance: 8)",
        "Less than half of the quarter that leaks most is among the quarter that is worth least, twice what chance "
        "puts there.",
        tuple(part(d, "leaking channels are not useless ones", channels.independent(d), "single") for d in SETS),
        ("10",),
    ),
    Claim(
        "2h", "Fisher's criterion finds useless channels on little private data.", "Figures 11, 12",
        "pruning 64 of 128 finds 69.7 % of the worst 32 (50.3 % at random); 10 to 50 mini-batches alike",
        "Half of the channels pruned by it hold at least 60 % of the worst quarter; ranks of 10 and of the most "
        "mini-batches correlate by at least .9.",
        tuple(
            p for d in SETS for p in (
                part(d, "finds the worst channels", channels.fisher_finds(d), "single", "fisher"),
                part(d, "ten mini-batches suffice", channels.fisher_settles(d), "fisher"),
            )
        ), ("11",),
    ),
    Claim(
        "2i", "Pruned channels are worth more and leak less than random ones.", "Figure 13, table 13b",
        "accuracy .684, .701, .696; PSNR 18.3, 17.5, 17.05 dB (random, characterization, Fisher)",
        "Welch's interval of the difference in PSNR above 0; accuracy at most a point below.",
        tuple(
            p for d in SETS for i, name in SETTINGS.items() for p in (
                part(d, f"{name}: leaks less", channels.better(d, i, "psnr"), "settings"),
                part(d, f"{name}: worth no less", channels.better(d, i, "accuracy"), "settings"),
            )
        ), ("13",),
    ),
    Claim(
        "2j", "Half of the filters of the first inner layer, or of every one, may go: features stay as good, the "
        "extractor is faster and harder to know.",
        "Figures 14, 15", "accuracy and PSNR about the same, time falls strongly",
        "Without half of the filters of the first inner layer, and of every one: accuracy within 2 points, PSNR within "
        ".7 dB, a fifth of the time saved, and fewer channels identified from ten pictures.",
        tuple(
            p for d in SETS for every, where in ((False, "first"), (True, "every")) for p in (
                part(d, f"{where} layer halved: accuracy stays", networks.unharmed(d, "accuracy", every), "widths"),
                part(d, f"{where} layer halved: PSNR stays", networks.unharmed(d, "psnr", every), "widths"),
                part(d, f"{where} layer halved: a fifth of the time is saved", networks.faster(d, every), "widths"),
                part(d, f"{where} layer halved: fewer channels are identified", networks.harder_to_guess(d, every),
                     "widths"),
            )
        ), ("14", "15"),
    ),
    Claim(
        "2k", "Two clusters of residual blocks are enough for the reconstruction network.", "Figure 19",
        "PSNR saturates at two clusters", "The second cluster gains some dB, and more than the third.",
        tuple(
            part(d, said, networks.saturates(d, gains), "clusters")
            for d in SETS
            for gains, said in ((True, "the second gains"), (False, "the second gains more than the third"))
        ),
        ("19",),
    ),
    Claim(
        "2l", "Of a whole VGG-16 the convolutions take the time and the dense layers the storage, the more so the "
        "larger the picture.", "Figure 20, appendix D", "shown by bars for each block",
        "At every size of the picture convolutions take over half of the time and dense layers over half of the bytes; "
        "the share of these grows with the size.",
        (
            cost("convolutions take most of the time", networks.dominates("ms"), "vgg16/cost"),
            cost("dense layers take most of the bytes", networks.dominates("bytes"), "vgg16/cost"),
            cost("their share grows with the picture", networks.dense_grows(), "vgg16/cost"),
        ), ("20-time", "20-storage"),
    ),
    Claim(
        "2m", "Fisher's criterion costs O((K + N) d^2 + d^3) for each channel.", "Appendix E", "derived, not measured",
        "Fitted powers of the time: at most 1.2 in people and in channels, at most 2.5 in values, where N d^2 + d^3 "
        "itself has 2.1 for the sizes that are timed.",
        tuple(
            cost(f"at most {most:g} in {what}", networks.grows_as(what, most), "fisher/cost")
            for what, most in (("people", 1.2), ("channels", 1.2), ("values", 2.5))
        ),
    ),
    Claim(
        "2n", "A characterization carries over to another data set.", "Figure 7c", "CIFAR-10 and CIFAR-100; here faces",
        "Rank correlation of at least .9 between the same extractors on both sets.",
        (
            Part("cifar10 and utkface", grid.transfers_to("cifar10", "utkface")[0], ("cifar10/grid", "utkface/grid"),
                 grid.transfers_to("cifar10", "utkface")[1]),
        ), ("7c",),
    ),
    Claim(
        "2o", "The extractor stays unknown: who may have pictures of their own released does not learn which network, "
        "layer and channels it is, nor reconstructs better.", "Section 4", "argued, not attacked",
        "Less than half of the channels are identified from 1 to 1,000 pictures, with all, half and a quarter of the "
        "inner filters; attacks that know the network draw at most .5 dB better.",
        tuple(p for d in SETS for p in anonymity(d)), ("guess",),
    ),
)  # fmt: skip
