"""Choosing a context by measurement: the best mean that spoils no image, written as manifests take it."""

from __future__ import annotations

from dataclasses import replace

from restore_cli.weights.entry import BestContext, entry_from_json, entry_to_json
from tests.contexts import Gain, best_of, contexts
from tests.weights.facts import entry_for

LOCAL, HALF, MOST = contexts([64], [0.0, 0.5, 0.75])
GAINS = [
    Gain(context=LOCAL, each=(0.9, -0.5)),
    Gain(context=HALF, each=(0.3, -0.1)),
    Gain(context=MOST, each=(0.1, 0.05)),
]


def test_a_share_of_nothing_is_cells_alone():
    assert (LOCAL.kind, LOCAL.share) == ("local", None)
    assert (MOST.kind, MOST.cell, MOST.share) == ("mixed", 64, 0.75)


def test_the_best_mean_is_chosen_among_contexts_that_spoil_no_image():
    assert best_of(GAINS, 0.15, "here").share == 0.5
    assert best_of(GAINS, 0.0, "here").share == 0.75
    assert best_of(GAINS, 0.6, "here").kind == "local"


def test_the_whole_image_stays_where_every_context_loses():
    worse = [replace(gain, each=(-0.01, -0.01)) for gain in GAINS]

    assert best_of(worse, 0.15, "here").kind == "global"
    assert best_of(GAINS[:1], 0.15, "here").kind == "global"


def test_what_is_chosen_stands_in_a_manifest_with_all_figures():
    chosen = best_of(GAINS, 0.15, "here")
    entry = replace(entry_for(b"weights", "https://example.org/tiny.pth"), context=chosen)

    assert entry_from_json(entry_to_json(entry), "entry").context == chosen
    assert chosen == BestContext(
        kind="mixed",
        cell=64,
        share=0.5,
        measured="here: +0.100 dB in the mean, -0.100 to +0.300; "
        "local 64 +0.200, -0.500 to +0.900; mixed 64/0.75 +0.075, +0.050 to +0.100",
    )
