"""SC-CLIP, MaskCLIP and their peers on procedural rooms nobody trained on; figures and claims in docs/results/sc_clip.json.

    python -m scenewise.studies sc_clip [--quick] [--cache build/reproduce/sc_clip]

A seed is a set of eight benchmark rooms of its own, because nothing here is trained: the weights are the embedded ones.  Every
read-out's settings are chosen on validation rooms from grids of the same size, by pixel mIoU, and then fixed.  Kept outcomes are
reused, so an interrupted run goes on where it stopped.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scenewise.io.atomic import atomic_write_json
from scenewise.studies.arms import Arm
from scenewise.studies.bench import Bench, Flat, Keeping, cache_folder, checkout, say
from scenewise.studies.claims import Claim, paired_claim, threshold_claim, verdict
from scenewise.studies.read_outs.arms import ReadOutArms
from scenewise.studies.read_outs.pictures import anomaly_figure, picture_of_rooms
from scenewise.studies.read_outs.rooms import HEIGHT, WIDTH
from scenewise.studies.read_outs.settings import QUICK, Sizes, choose_settings, choose_whole, grids, steps_in_turn
from scenewise.studies.read_outs.tables import results_section
from scenewise.studies.results import Results, publish
from scenewise.studies.runs import Runs
from scenewise.teachers.choose import SMALL_CLIP_READ_OUT
from scenewise.teachers.read_outs import MaskClipSettings, ReadOutSettings, ScClipSettings

PEERS = ("clearclip", "sclip", "naclip")


@dataclass(frozen=True)
class Options:
    """Of this study."""

    keeping: Flat[Keeping] = field(default_factory=Keeping)


@dataclass(frozen=True)
class Chosen:
    """Settings that were chosen on validation rooms.

    Attributes:
        read_outs: setting and mIoU by read-out.
        whole: of SC-CLIP without windows, and how much the view is enlarged.
        whole_maskclip: likewise of MaskCLIP.
    """

    read_outs: Mapping[str, tuple[ReadOutSettings, float]]
    whole: tuple[ScClipSettings, float]
    whole_maskclip: tuple[MaskClipSettings, float]

    @property
    def tuned(self) -> ScClipSettings:
        """SC-CLIP's."""
        settings = self.read_outs["sc_clip"][0]
        assert isinstance(settings, ScClipSettings)
        return settings

    @property
    def best_peer(self) -> str:
        """The best of those SC-CLIP is compared with."""
        return max(PEERS, key=lambda name: self.read_outs[name][1])


def chosen_settings(arms: ReadOutArms, cache: Path) -> Chosen:
    """All settings, chosen now or kept from before."""
    teacher, sizes = arms.teacher, arms.sizes
    read_outs = choose_settings(teacher, sizes, cache, say)
    tuned, tuned_maskclip = read_outs["sc_clip"][0], read_outs["maskclip"][0]
    assert isinstance(tuned, ScClipSettings) and isinstance(tuned_maskclip, MaskClipSettings)
    whole = choose_whole(teacher, tuned, sizes, cache, say)
    return Chosen(read_outs, whole, choose_whole(teacher, tuned_maskclip, sizes, cache, say))


def all_arms(arms: ReadOutArms, chosen: Chosen) -> list[Arm]:
    """Every arm of the study."""
    tuned, (whole, whole_scale), (whole_maskclip, whole_maskclip_scale) = chosen.tuned, chosen.whole, chosen.whole_maskclip
    published = {name: options[0] for name, options in grids().items()}
    wanted = [arms.guess("chance"), arms.guess("most_frequent"), arms.colors(), arms.control()]
    wanted += [arms.pixels(f"{name}_published", settings) for name, settings in published.items() if name != "clip"]
    wanted += [arms.pixels(name, settings) for name, (settings, _) in chosen.read_outs.items()]
    wanted += [arms.pixels(name, settings) for name, settings in steps_in_turn(tuned).items()]
    wanted.append(arms.pixels("embedded_default", SMALL_CLIP_READ_OUT))
    wanted += [
        arms.pixels("sc_clip_no_windows", whole, whole=whole_scale),
        arms.pixels("maskclip_no_windows", whole_maskclip, whole=whole_maskclip_scale),
    ]
    wanted += [
        arms.injected("injected_anomalies", tuned),
        arms.injected("injected_anomalies_published", ScClipSettings()),
        arms.injected("injected_anomalies_no_windows", whole, whole=whole_scale),
        arms.points(tuned),
        arms.crops(),
    ]
    return wanted


def judge(runs: Runs, best_peer: str) -> list[Claim]:
    """The claims."""
    of = runs.of
    return [
        paired_claim(
            "sc_over_maskclip", "SC-CLIP's mIoU exceeds MaskCLIP's, both tuned on validation rooms", of("sc_clip"), of("maskclip")
        ),
        paired_claim(
            "sc_over_best_peer",
            f"SC-CLIP's mIoU exceeds the best of ClearCLIP, SCLIP and NACLIP ({best_peer} on validation rooms), all tuned",
            of("sc_clip"),
            of(best_peer),
        ),
        threshold_claim(
            "repair_recovers_injected",
            "of the pixels that injected anomalous tokens cost, the repair brings back at least 80 %",
            of("injected_anomalies", "recovered_share"),
            80.0,
            why=_why_repair(of("injected_anomalies", "recovered_share"), of("injected_anomalies", "lost_share")),
        ),
        paired_claim(
            "set_vote_helps",
            "on points, the vote within own segments exceeds the vote over views",
            of("points", "set_vote_miou"),
            of("points", "view_vote_miou"),
        ),
        paired_claim(
            "dense_over_window_control",
            "SC-CLIP's mIoU is at least 6 points above painting each window's image-level answer on the window",
            of("sc_clip"),
            of("window_cls_control"),
            at_least=6.0,
        ),
        threshold_claim(
            "color_below_half_of_oracle",
            "a classifier of region colours trained with labels on true regions stays below half of what the truth itself gets",
            [50.0 - value for value in of("color_with_labels")],
            0.0,
        ),
        threshold_claim("dense_25", "dense mIoU of the embedded model is at least 25 % over 15 classes", of("sc_clip"), 25.0),
        threshold_claim(
            "dense_14_without_windows",
            "without sliding windows it is at least 14 %",
            [max(pair) for pair in zip(of("sc_clip_no_windows"), of("maskclip_no_windows"))],
            14.0,
        ),
    ]


def main(options: Options) -> int:
    """Chooses, runs, judges and writes."""
    keeping, started = options.keeping, time.monotonic()
    sizes = QUICK if keeping.quick else Sizes()
    folder = cache_folder("sc_clip", keeping)
    cache = folder / "quick" if keeping.quick else folder
    bench = Bench("sc_clip", tuple(range(sizes.seeds)), cache, quick=keeping.quick, out=keeping.out)
    arms, runs = ReadOutArms(sizes, coarse=bench.quick), Runs(bench)
    chosen = chosen_settings(arms, cache)
    for arm in all_arms(arms, chosen):
        runs.run(arm, bench.seeds)
    claims = judge(runs, chosen.best_peer)
    for claim in claims:
        say(f"{verdict(claim)} {claim.per_seed}")
    seconds = seconds_so_far(cache, started)
    results = Results("sc_clip", "miou", runs.seeds, runs.outcomes, claims, seconds, notes_of(bench, sizes, chosen))
    publish(bench, results, results_section, whole=not bench.quick, reduced=cache / "quick.json")
    sources = checkout()
    images = cache if bench.quick or sources is None else sources / "docs" / "results" / "img"
    anomaly_figure(arms, chosen.tuned, images / "sc_clip_anomalies.png")
    picture_of_rooms(arms, {name: chosen.read_outs[name][0] for name in ("maskclip", "sc_clip")}, images / "sc_clip_rooms.png")
    return 0


def notes_of(bench: Bench, sizes: Sizes, chosen: Chosen) -> list[str]:
    """What has to be said beside the figures."""
    notes = [
        f"Seeds are disjoint sets of {sizes.rooms} benchmark rooms with {sizes.views} views of {WIDTH}×{HEIGHT} each; "
        "the weights are one training run.",
        "Settings chosen on validation rooms: "
        + "; ".join(f"{name}: {settings}" for name, (settings, _) in chosen.read_outs.items())
        + ".",
        "The small CLIP has no anomalous tokens of its own; the repair is measured on injected ones.",
    ]
    if bench.quick:
        notes.append("quick: one seed of one room with two views, few windows, two settings of each read-out")
    return notes


def seconds_so_far(cache: Path, started: float) -> float:
    """Time of all calls that filled the cache, this one included."""
    path = cache / "seconds.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else 0.0
    atomic_write_json(path, before + time.monotonic() - started)
    return float(before + time.monotonic() - started)


def _why_repair(recovered: Sequence[float], lost: Sequence[float]) -> str:
    return f"{np.mean(recovered):.0f} % come back; on this model the tokens cost only {np.mean(lost):.1f} % of the right pixels"
