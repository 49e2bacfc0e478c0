"""The indoor bench of label-free learning: procedural rooms and one teacher's answers on them.

Rooms are written once in ScanNet's layout and read by the same reader; the embedded small CLIP answers once per picture.  All
arms share rooms, answers, segments and regions.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int

from scenewise.catalogue import LABEL_FREE_METHODS, Needs
from scenewise.engine.memory import keep_freed_memory
from scenewise.parts.scans.data_sets import instruments_of, prepare_data
from scenewise.parts.scans.scan_files import ScanSet
from scenewise.parts.scans.scans import TrainingScan
from scenewise.parts.scans.settings import PreparationSettings
from scenewise.parts.sources.opening import open_scans
from scenewise.parts.sources.raw_scans import ScanSource
from scenewise.parts.sources.room_scans import RoomScanSettings, write_room_data_set
from scenewise.parts.sources.truths import frame_truths, truth_of_scan, vocabulary_of_sources
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.studies.arms import digest
from scenewise.studies.bench import say
from scenewise.teachers.cached import CachedTeacher
from scenewise.teachers.choose import SMALL_CLIP, SMALL_CLIP_READ_OUT, open_teacher
from scenewise.teachers.noisy_truth import NoiseRates, NoisyTruth, read_noise_rates
from scenewise.teachers.protocol import Teacher
from scenewise.worlds.seeds import BENCHMARK_SEEDS, LEARNING_SEEDS, VALIDATION_SEEDS

NOISE_RATES = Path(__file__).resolve().parents[1] / "noise_rates.json"
_TEACHER_BYTES = 4 << 30

EMBEDDED = "embedded"
STAND_IN_TARGETS = "random-convolutions"
"""In the place of SAM's image features: fixed random filters and simple statistics of colour, which nobody trained."""
REGIONS = "slic"
"""In the place of SAM's masks."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """How much is run.

    Attributes:
        training: rooms that are learned from.
        test: rooms that figures are of.
        validation: rooms that learning rates are chosen on.
        views: of each room.
        width: of a picture, pixels.
        height: of a picture, pixels.
        spacing: of the mesh's vertices, metres.
        seeds: of each arm.
        rates: learning rates that are tried, for every method.
        changes: of the preset "rooms", by the names of settings, "record.name" of those in a record; those a method does not
            have are left out.
    """

    training: int = 24
    test: int = 8
    validation: int = 4
    views: int = 12
    width: int = 160
    height: int = 120
    spacing: float = 0.05
    seeds: int = 3
    rates: tuple[float, ...] = (0.003, 0.01, 0.03)
    changes: tuple[tuple[str, float | int], ...] = ()


QUICK = Sizes(
    training=2,
    test=1,
    validation=1,
    views=2,
    width=96,
    height=72,
    spacing=0.06,
    seeds=1,
    rates=(0.01,),
    changes=(
        ("epochs", 2),
        ("batch_scans", 2),
        ("tokens", 32),
        ("width", 0.125),
        ("voxel", 0.3),
        ("views_per_step", 2),
        ("augmentation.most_points", 3000),
    ),
)


@dataclass(frozen=True)
class Scans:
    """Prepared scans in memory, with nothing in them that a method does not use."""

    scans: tuple[TrainingScan, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> TrainingScan:
        return self.scans[index]


@final
class Rooms:
    """The rooms and the teachers' answers on them.

    Args:
        sizes: how much.
        cache: folder of everything that is kept; the four methods share it.
        say: told what happens.
    """

    def __init__(self, sizes: Sizes, cache: Path, say: Say = say) -> None:
        self.sizes, self.cache, self.say = sizes, cache, say
        keep_freed_memory()
        self._sources: dict[str, Sequence[ScanSource]] = {}
        self._prepared: dict[tuple[str, str | None], ScanSet] = {}
        self._in_memory: dict[tuple[str, str, Needs], Scans] = {}
        self._truths: dict[str, list[Int[np.ndarray, " n"]]] = {}
        self._frame_truths: dict[str, list[list[Int[np.ndarray, "height width"]]]] = {}

    # --------------------------------------------------------------------------------------------------------------- rooms

    @cached_property
    def data(self) -> Path:
        """The data set's folder; written when it is first asked for."""
        sizes = self.sizes
        about = [sizes.training, sizes.test, sizes.validation, sizes.views, sizes.width, sizes.height, sizes.spacing]
        folder = self.cache / f"rooms_{digest(about)}"
        started = time.monotonic()
        write_room_data_set(
            folder,
            [LEARNING_SEEDS[i] for i in range(sizes.training)],
            [BENCHMARK_SEEDS[i] for i in range(sizes.test)],
            [VALIDATION_SEEDS[i] for i in range(sizes.validation)],
            settings=RoomScanSettings(frames=sizes.views, width=sizes.width, height=sizes.height, spacing=sizes.spacing),
        )
        if time.monotonic() - started > 1:
            self.say(f"rooms written in {time.monotonic() - started:.0f} s: {folder}")
        return folder

    def sources(self, split: str) -> Sequence[ScanSource]:
        """Rooms of "train", "val" or "test"."""
        if split not in self._sources:
            self._sources[split] = open_scans(self.data, split)
        return self._sources[split]

    @cached_property
    def embedded(self) -> Teacher:
        """The small CLIP with the read-out that suits it; its answers are kept."""
        return CachedTeacher(
            open_teacher(SMALL_CLIP, read_out=SMALL_CLIP_READ_OUT, device="cpu"), self.cache / "answers", _TEACHER_BYTES
        )

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The classes of the rooms in the embedded teacher's words."""
        return vocabulary_of_sources(self.sources("train"), self.embedded.default_templates())

    @cached_property
    def noise(self) -> Mapping[str, NoiseRates]:
        """Rates of each kind, fixed before the first run."""
        return read_noise_rates(NOISE_RATES)

    def prepared(self, split: str, targets: str | None = None) -> ScanSet:
        """Rooms with the embedded teacher's answers.

        Args:
            split: "train", "val" or "test".
            targets: frozen features that are kept beside them, or None.
        """
        key = split, targets
        if key not in self._prepared:
            started = time.monotonic()
            sizes = self.sizes
            settings = PreparationSettings(picture_width=sizes.width, most_views=sizes.views, regions=REGIONS, targets=targets)
            instruments = instruments_of(self.embedded, self.vocabulary, settings)
            self._prepared[key] = prepare_data(self.sources(split), instruments, settings, self.cache / "scans")
            if time.monotonic() - started > 5:
                self.say(f"{split} rooms prepared in {time.monotonic() - started:.0f} s")
        return self._prepared[key]

    def ready(self, methods: Sequence[str]) -> None:
        """Prepares what the arms of some methods need."""
        for needs in {LABEL_FREE_METHODS[method].needs for method in methods}:
            self.prepared("train", needs.targets)
        for split in ("val", "test"):
            self.prepared(split)

    def rooms(self, split: str, teacher: str = EMBEDDED) -> tuple[TrainingScan, ...]:
        """Rooms with a teacher's answers: "embedded", or "noise KIND SEED", the truth with errors of a kind."""
        return self.scans(split, teacher, Needs(pictures=True)).scans

    def scans(self, split: str, teacher: str, needs: Needs) -> Scans:
        """The same in memory, without what a method does not use: a step costs what the method costs."""
        key = split, teacher, needs
        if key not in self._in_memory:
            found = self.prepared(split, needs.targets)
            told = _as_told if teacher == EMBEDDED else self._as_noisy(split, teacher)
            scans = tuple(_only(told(scan), needs) for scan in found[:])
            self._in_memory[key] = Scans(scans, digest([found.fingerprint, teacher, asdict(needs)]))
        return self._in_memory[key]

    def _as_noisy(self, split: str, teacher: str) -> Callable[[TrainingScan], TrainingScan]:
        """Puts the labels of an erring teacher into the views; segments, links and regions stay."""
        _, kind, seed = teacher.split(" ")
        truths = frame_truths(self.sources(split), self.vocabulary)
        noisy = NoisyTruth(truths, self.vocabulary, self.noise[kind], int(seed), kind)

        def told(scan: TrainingScan) -> TrainingScan:
            views = []
            for view in scan.views:
                name = f"{scan.name}/{view.name}"
                known = truths(name)
                assert known is not None
                views.append(replace(view, labels=LabelField.certain(noisy.spoiled(known, name).astype(np.int32))))
            return replace(scan, views=tuple(views))

        return told

    def text(self) -> Float[torch.Tensor, "classes features"]:
        """Unit embedding per class, the embedded model's."""
        return torch.from_numpy(self.prepared("train").text)

    def truths(self, split: str) -> list[Int[np.ndarray, " n"]]:
        """Class per vertex of each room."""
        if split not in self._truths:
            found = [truth_of_scan(source, self.vocabulary) for source in self.sources(split)]
            self._truths[split] = [ids for ids in found if ids is not None]
            assert len(self._truths[split]) == len(found)
        return self._truths[split]

    def frame_truths(self, split: str) -> list[list[Int[np.ndarray, "height width"]]]:
        """Class per pixel of each view of each room."""
        if split not in self._frame_truths:
            of_frame = frame_truths(self.sources(split), self.vocabulary)
            rooms = []
            for scan in self.rooms(split):
                found = [of_frame(f"{scan.name}/{view.name}") for view in scan.views]
                rooms.append([ids for ids in found if ids is not None])
                assert len(rooms[-1]) == len(scan.views)
            self._frame_truths[split] = rooms
        return self._frame_truths[split]


def _as_told(scan: TrainingScan) -> TrainingScan:
    return scan


def _only(scan: TrainingScan, needs: Needs) -> TrainingScan:
    views = tuple(
        replace(
            view,
            image_u8=view.image_u8 if needs.pictures else None,
            targets=view.targets if needs.targets is not None else None,
        )
        for view in scan.views
    )
    return replace(scan, views=views)
