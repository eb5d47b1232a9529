"""Flags: raised when a number is unreliable, with what it means and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Flag:
    """When a flag is raised, what it means, and what to do about it."""

    raised_if: str
    explanation: str
    what_to_do: str


FLAGS = {
    "calibration_failed": Flag(
        "a calibration of this audit missed its known answer",
        "The attacks did not find what was planted for them, or found something in nothing; their numbers cannot be "
        "trusted.",
        "Raise --effort, look at the calibration table, and do not quote the numbers that are struck through.",
    ),
    "weak_attack": Flag(
        "this attack found less than 90 % of a bit that was planted in the payload, or did not rebuild what was put "
        "before it as it is, or behind one layer",
        "In this many dimensions, with this many people, the attack overlooks even what is written out for it.",
        "Read the headline attack instead; raise --effort.",
    ),
    "nothing_to_hide": Flag(
        "the interval of the undefended attack touches the floor",
        "Even the raw representation gives these attacks no more than the floor, so the scale has no length and no "
        "share of it is printed.",
        "Do not conclude that a defense works here; audit another attribute, or more people.",
    ),
    "utility_lost": Flag(
        "the interval of the target accuracy touches the majority of the target",
        "The defended network does not answer its own question, so its low leakage is worth nothing.",
        "Weaken the defense.",
    ),
    "one_seed": Flag(
        "the study has a single seed",
        "The interval holds the chance of the victims only, not that of training.",
        "Use --seeds 3 or more.",
    ),
    "quick_effort": Flag(
        "the effort is quick",
        "A smoke test: networks and adversaries were trained briefly, so leakage is a lower bound of a lower bound.",
        "Use --effort standard for numbers that you quote.",
    ),
    "few_victims": Flag(
        "fewer than 100 victims carry this attribute's label, or were asked about",
        "The intervals are wide, and exposure at small error rates cannot be resolved.",
        "Audit more people.",
    ),
    "small_class": Flag(
        "a value of the attribute has fewer than 20 victims",
        "Metrics that give each value the same weight rest on a handful of people.",
        "Merge values, or read accuracy and bits instead.",
    ),
    "collapsed": Flag(
        "the attack names one value for more than 80 % of the victims, and for most of those who do not hold it",
        "The adversary has collapsed to a constant; that is not evidence of hiding.",
        "Read AUC, bits and exposure, and the other attacks.",
    ),
    "above_undefended": Flag(
        "the attack is better on the defended payload than on the raw one, beyond the interval",
        "A projection can make an attribute easier to learn; or the undefended attack was not trained to its end.",
        "Raise --effort; count the larger of the two as the undefended leakage.",
    ),
    "below_floor": Flag(
        "the headline attack stays below the floor, beyond the interval",
        "An adversary who ignores the payload does better than this attack, so the attack says nothing about the "
        "payload.",
        "Read the floor as what the adversary reaches; raise --effort.",
    ),
    "underfit": Flag(
        "the attack's best epoch was its last one",
        "The adversary was still improving when its epochs ended.",
        "Raise --effort.",
    ),
    "single_query": Flag(
        "the obfuscator is random and the threat sees one payload of each victim",
        "Fresh noise averages out over repeated payloads of one input, which this threat does not try.",
        "Audit it with --threat repeated, too.",
    ),
    "shared_noise": Flag(
        "one draw of the obfuscator's noise serves a whole batch",
        "The audit sends 256 people a batch; they share their luck, which the intervals do not hold.",
        "Draw for every sample, or audit more seeds.",
    ),
    "drop_missed": Flag(
        "no noise within the search costs what was asked for",
        "The noise does not stand at the loss of accuracy that the name of this defense says, so it matches nothing.",
        "Read the drop that was reached in the run's record; ask for another one, or raise tolerance.",
    ),
    "hardly_dynamic": Flag(
        "the learned filter gives more than ten people of task_val the same mask, on average",
        "It says that it chooses for each example, and it chooses nearly the same for everybody.",
        "Read it as one learned set of channels; a higher temperature lets it tell people apart.",
    ),
    "nothing_removed": Flag(
        "the payload has as many values as the representation, or more",
        "No dimension of the representation is removed: an adversary may recover it whole.",
        "Keep fewer coefficients, or cut where the next layer has a null space (a fully connected layer).",
    ),
    "saturated": Flag(
        "values outside the range of the wire's dtype were clipped",
        "The payload that travels differs from the representation that the network was trained on.",
        "Normalize in front of the cut.",
    ),
    "unresolved": Flag(
        "fewer than 1,000 victims do not hold the attribute's most frequent value",
        "One false positive in a thousand is then none at all: the figure is the share found before the first error.",
        "Audit more people, or read TPR at 1 %.",
    ),
    "payload_chunked": Flag(
        "the payloads of a part take more than 1 GiB as numbers",
        "Attacks that read a payload as a row of numbers saw the principal components of pieces of it; those that read "
        "z' as maps saw it whole.",
        "Read the server's own architecture (server_probe, finetuned_probe) as the attack that missed nothing; or cut "
        "where less travels.",
    ),
    "hidden_is_group": Flag(
        "the hidden attribute is the person itself",
        "The same people are in the adversary's part and among the victims: the question is recognition, not "
        "generalization.",
        "Read it as re-identification of known people.",
    ),
    "target_is_group": Flag(
        "the target is the person itself",
        "The service recognizes people it was trained on; the same people are in every part.",
        "Read every number as one about known people.",
    ),
    "target_determines_hidden": Flag(
        "the target says all about the hidden attribute",
        "Whoever learns the answer knows the attribute: the label-only floor is as high as leakage can be.",
        "Choose another target or another hidden attribute; no defense at the cut can help.",
    ),
    "many_removed": Flag(
        "many examples were removed because they stand in two parts",
        "The training data and the victims' data overlap; what is left may differ from what was given.",
        "Look at the notes of the data, and give victims of their own with --victims.",
    ),
    "fitted_on_unknown": Flag(
        "the bundle's manifest does not name these people as those it was fitted on",
        "Some victims may be among those whom the network learned from; what is found about them may be memory.",
        "Audit it on the data it was fitted on, dealt the same way, or on people who are surely new.",
    ),
    "groups_shared": Flag(
        "the victims' file and the other parts share people",
        "The adversary may know some victims from its own part.",
        "Give a file of other people with --victims.",
    ),
    "rows_skipped": Flag(
        "some examples could not be read",
        "They were left out; the notes of the data say how many.",
        "Mend the files, or use --on-bad stop.",
    ),
    "labels_missing": Flag(
        "some examples carry no label",
        "They take part wherever their label is not needed; the notes say how many.",
        "Label them, or check that they are missing at random.",
    ),
    "unfinished": Flag(
        "trials are missing because the study was stopped",
        "The numbers rest on fewer seeds or defenses than were asked for.",
        "Run the same command again: finished trials are not repeated.",
    ),
}  # fmt: skip
