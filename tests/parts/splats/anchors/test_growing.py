"""Anchors come and go as slow loops say: which cells, with what, what is remembered and what is forgotten."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fabricated_capture import arc_camera, true_gaussians
from tests.support.small_anchors import CHANNELS, SLOTS, random_anchors, random_heads, small_decoder
from torch import Tensor

from scenewise.engine.randomness import RandomStreams
from scenewise.errors import ConventionError
from scenewise.parts.splats.anchors.decoder import AnchorDecoder
from scenewise.parts.splats.anchors.field import AnchorField, AnchorRates, DecodedAnchors
from scenewise.parts.splats.anchors.growing import AnchorGrowth, GrowthSettings, grow
from scenewise.parts.splats.fields import ExplicitGaussians
from scenewise.parts.splats.schedules import LearningRates, Schedule
from scenewise.parts.splats.store import ParameterStore
from scenewise.parts.splats.strategies import StepContext, ViewResult
from scenewise.rendering import render
from scenewise.scenes.anchors import Anchors

PAPER = Schedule(30_000)
CELL = 0.02
RECORDS = ("anchors.gradient_sum", "anchors.child_views", "anchors.opacity_sum", "anchors.views")


def _field(anchors: Anchors, heads_seed: int = 0) -> AnchorField:
    return AnchorField(anchors, small_decoder(heads_seed), AnchorRates())


def _context(field: AnchorField, step: int, *, extent: float = 1.0, schedule: Schedule = PAPER) -> StepContext:
    return StepContext(step, schedule, field, extent, RandomStreams(0))


def _with_statistics(n: int, seed: int) -> ParameterStore:
    """Anchors of which about half of the children have moved enough for the coarsest level."""
    field = _field(random_anchors(n, seed))
    AnchorGrowth(GrowthSettings(), CELL).start(_context(field, 0))
    generator = torch.Generator().manual_seed(seed + 1)
    views = torch.randint(0, 9, (n, SLOTS), generator=generator).float()
    field.store.record(RECORDS[0])[:] = 4e-4 * torch.rand(n, SLOTS, generator=generator) ** 2 * 3.0 * views
    field.store.record(RECORDS[1])[:] = views
    return field.store


@dataclass(frozen=True)
class _Born:
    """What a slow loop says of an anchor that comes."""

    level: int
    cell: tuple[int, ...]
    feature: list[float]


def _slow_growth(
    store: ParameterStore, rules: GrowthSettings, seen: Tensor, seed: int, where: Callable[[Tensor], Tensor] | None
) -> list[_Born]:
    generator = torch.Generator().manual_seed(seed)
    positions, offsets, features = (store[name].detach() for name in ("positions", "offsets", "features"))
    means = positions[:, None] + offsets * store["log_scales"].detach()[:, None, :3].exp()
    occupied = [tuple(map(float, place)) for place in positions]
    born: list[_Born] = []
    for level, multiple in enumerate(rules.levels):
        draws = torch.rand(len(positions) * SLOTS, generator=generator).tolist()
        size = CELL * multiple
        taken = {tuple(round(x / size) for x in place) for place in occupied}
        wanted: dict[tuple[int, ...], list[tuple[float, int]]] = {}
        for row in range(len(positions)):
            for slot in range(SLOTS):
                gradient = float(store.record(RECORDS[0])[row, slot] / max(1.0, float(store.record(RECORDS[1])[row, slot])))
                if not seen[row, slot] or gradient < rules.grow_gradient * 2.0**level:
                    continue
                if draws[row * SLOTS + slot] <= 0.5 ** (level + 1):
                    continue
                cell = tuple(round(float(x) / size) for x in means[row, slot])
                if cell not in taken and (where is None or bool(where(torch.tensor([cell]).double().mul(size).float())[0])):
                    wanted.setdefault(cell, []).append((gradient, row))
        cells = sorted(wanted)
        if rules.max_anchors is not None:
            cells.sort(key=lambda cell: -max(wanted[cell])[0])
            cells = sorted(cells[: max(0, rules.max_anchors - len(occupied))])
        for cell in cells:
            parents = [features[row].tolist() for _, row in wanted[cell]]
            born.append(_Born(level, cell, [max(column) for column in zip(*parents)]))
            occupied.append(tuple(float(torch.tensor(index * size).float()) for index in cell))
    return born


@pytest.mark.parametrize("cap", [None, 130, 83, 80, 60])
@pytest.mark.parametrize("half", [False, True])
def test_growth_equals_a_slow_loop(cap: int | None, half: bool) -> None:
    rules = GrowthSettings(max_anchors=cap, levels=(16, 4, 1))
    where: Callable[[Tensor], Tensor] | None = (lambda places: places[:, 0] > 0.1) if half else None
    store = _with_statistics(80, seed=5)
    before = {name: store[name].detach().clone() for name in store}
    seen = store.record(RECORDS[1]) > 2.0
    expected = _slow_growth(store, rules, seen, 3, where)
    grow(store, rules, CELL, seen, torch.Generator().manual_seed(3), where)
    assert len(store) == 80 + len(expected)
    if cap is None:
        assert {each.level for each in expected} == {0, 1, 2} and len(expected) > 30
    else:
        assert len(store) <= max(cap, 80)
    for name, value in before.items():
        assert torch.equal(store[name].detach()[:80], value)
    for row, born in enumerate(expected, start=80):
        size = CELL * rules.levels[born.level]
        assert store["positions"][row].tolist() == torch.tensor([index * size for index in born.cell]).float().tolist()
        assert store["features"][row].tolist() == born.feature
        assert store["log_scales"][row].tolist() == pytest.approx([math.log(size)] * 6)
        assert not store["offsets"][row].any()
    assert all(not store.record(name)[80:].any() for name in RECORDS)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), shrink=st.floats(0.01, 1.0), far=st.sampled_from([0.0, 1e3, 1e6]))
@settings(max_examples=40, deadline=None)
def test_no_cell_of_a_level_gets_a_second_anchor(seed: int, n: int, shrink: float, far: float) -> None:
    rules, cell = GrowthSettings(), 0.05
    store = _with_statistics(n, seed)
    # One group may be so far away that cells cannot be numbered by one integer.
    store.replace_all("positions", store["positions"].detach() * shrink, moments="keep")
    if far:
        store.replace(torch.tensor([0]), {"positions": torch.full((1, 3), far)}, moments="keep")
    grow(store, rules, cell, torch.ones(n, SLOTS, dtype=torch.bool), torch.Generator().manual_seed(seed))
    positions, levels = store["positions"].detach().double(), store["log_scales"].detach()[n:, 0]
    sizes = [cell * multiple for multiple in rules.levels]
    level_of = torch.stack([(levels - math.log(size)).abs() for size in sizes], dim=1).argmin(dim=1)
    assert torch.equal(level_of, level_of.sort().values)  # coarse ones first
    for level, size in enumerate(sizes):
        rows = (level_of == level).nonzero()[:, 0] + n
        if not len(rows):
            continue
        new = {tuple(place) for place in (positions[rows] / size).round().long().tolist()}
        held = {tuple(place) for place in (positions[: int(rows[0])] / size).round().long().tolist()}
        assert len(new) == len(rows) and not new & held


def test_cells_that_one_number_cannot_tell_apart() -> None:
    """Numbered along z, y and x in 64 bits, the cell of the children would be that of their anchor: 65,536 · 2⁴⁸ wraps to 0."""
    wide = 2.0**24 - 1.0
    anchors = Anchors(
        torch.tensor([[0.0, 0.0, 0.0], [0.0, wide, wide]]),
        torch.tensor([65_536.0, 0.0, 0.0]).expand(2, SLOTS, 3).contiguous(),
        torch.zeros(2, CHANNELS),
        torch.zeros(2, 6),
    )
    field = _field(anchors)
    AnchorGrowth(GrowthSettings(), 1.0).start(_context(field, 0))
    field.store.record(RECORDS[0])[0] = 1.0
    grow(field.store, GrowthSettings(levels=(1,)), 1.0, torch.ones(2, SLOTS, dtype=torch.bool), torch.Generator().manual_seed(0))
    assert field.store["positions"][2:].tolist() == [[65_536.0, 0.0, 0.0]]


def test_nothing_comes_where_every_cell_has_an_anchor() -> None:
    field = _field(random_anchors(5))
    AnchorGrowth(GrowthSettings(), CELL).start(_context(field, 0))
    field.store.record(RECORDS[0])[:] = 1.0
    rules = GrowthSettings(levels=(10**6,))
    grow(field.store, rules, CELL, torch.ones(5, SLOTS, dtype=torch.bool), torch.Generator().manual_seed(0))
    assert len(field.store) == 5


def test_a_part_of_the_children_is_looked_at_that_grows_from_level_to_level() -> None:
    n = 4000
    generator = torch.Generator().manual_seed(0)
    anchors = Anchors(  # far from each other, each with children in cells of their own
        10.0 * torch.arange(n).float()[:, None].expand(n, 3).contiguous(),
        1.0 + torch.rand(n, SLOTS, 3, generator=generator) * 0.01 + torch.arange(SLOTS).float()[:, None],
        torch.zeros(n, CHANNELS),
        torch.zeros(n, 6),
    )
    for level, chance in ((0, 0.5), (1, 0.75), (2, 0.875)):
        field = _field(anchors)
        AnchorGrowth(GrowthSettings(), CELL).start(_context(field, 0))
        field.store.record(RECORDS[0])[:] = 1.0
        field.store.record(RECORDS[1])[:] = 1.0
        # Only this level's cells are small enough for the children to leave their anchors' cell.
        rules = GrowthSettings(levels=(*(10**9,) * level, 1))
        grow(field.store, rules, CELL, torch.ones(n, SLOTS, dtype=torch.bool), torch.Generator().manual_seed(level))
        assert (len(field.store) - n) / (n * SLOTS) == pytest.approx(chance, abs=0.02)


class TestStatistics:
    def test_they_are_summed_by_row_and_slot_over_views(self) -> None:
        field = AnchorField(random_anchors(40), AnchorDecoder(small_decoder().settings, random_heads(2)), AnchorRates())
        growth, generator = AnchorGrowth(GrowthSettings(), CELL), torch.Generator().manual_seed(7)
        growth.start(_context(field, 0))
        expected = [torch.zeros(40, SLOTS), torch.zeros(40, SLOTS), torch.zeros(40), torch.zeros(40)]
        hidden = 0
        for angle, width in ((-0.5, 48), (0.1, 24), (0.6, 48)):
            camera = arc_camera(angle, width, 32)
            decoded = field.decoded(camera)
            assert decoded.row_of is not None and decoded.slot_of is not None and decoded.visible is not None
            assert decoded.opacities is not None
            n = len(decoded.row_of)
            gradients = torch.randn(n, 2, generator=generator)
            radii = torch.randint(0, 2, (n,), generator=generator).float()
            output = replace(render(decoded.gaussians, camera), radii=radii)
            context = replace(_context(field, 700), decoded=decoded)
            with torch.no_grad():
                growth.after_view(context, ViewResult("a", camera, 1, output, gradients, decoded.row_of))
            for child in range(n):
                row, slot = int(decoded.row_of[child]), int(decoded.slot_of[child])
                u, v = gradients[child].tolist()
                expected[0][row, slot] += math.hypot(u * width / 2, v * 32 / 2)
                expected[1][row, slot] += float(radii[child] > 0)
            for index, row in enumerate(decoded.visible.tolist()):
                expected[2][row] += sum(max(0.0, value) for value in decoded.opacities[index].tolist())
                expected[3][row] += 1.0
            hidden += 40 - len(set(decoded.row_of.tolist()))
        assert hidden  # some anchors have no child that can be seen
        for name, value in zip(RECORDS, expected):
            torch.testing.assert_close(field.store.record(name), value, rtol=1e-5, atol=1e-6)

    def test_they_are_asked_for_as_long_as_a_round_is_to_come(self) -> None:
        field = _field(random_anchors(4))
        growth = AnchorGrowth(GrowthSettings(), CELL)
        asked = [growth.screen_gradient_columns(_context(field, step)) for step in (0, 499, 500, 14_999, 15_000)]
        assert asked == [0, 0, 2, 2, 0]
        growth.start(_context(field, 0))
        camera = arc_camera(0.0, 48, 32)
        decoded = field.decoded(camera)
        assert isinstance(decoded, DecodedAnchors)
        output = render(decoded.gaussians, camera)
        gradients = torch.ones(len(decoded.gaussians), 2)
        for step, asked_for in ((499, gradients), (600, None)):  # another strategy's gradients; nobody's
            context = replace(_context(field, step), decoded=decoded)
            growth.after_view(context, ViewResult("a", camera, 1, output, asked_for, decoded.row_of))
        assert not any(field.store.record(name).any() for name in RECORDS)

    def test_rounds_of_the_paper_and_of_short_runs(self) -> None:
        rules = GrowthSettings()
        rounds = [done for done in range(30_001) if rules.refines(done, PAPER)]
        assert rounds == [done for done in range(30_001) if 1500 < done < 15_000 and done % 100 == 0]
        short = Schedule(3000)  # a tenth: from 150 to 1,500, every 50 rather than every 10
        assert [done for done in range(3001) if rules.refines(done, short)] == list(range(200, 1500, 50))
        assert rules.interval(short) == 50 and rules.gathers(50, short) and not rules.gathers(49, short)

    @pytest.mark.errors
    def test_what_cannot_grow(self) -> None:
        growth = AnchorGrowth(GrowthSettings(max_anchors=3), CELL)
        assert growth.max_gaussians == 3
        with pytest.raises(ConventionError, match="initial anchors: expected at most 3, got 4"):
            growth.start(_context(_field(random_anchors(4)), 0))
        explicit = ExplicitGaussians(true_gaussians(4), LearningRates(), 1.0)
        with pytest.raises(ConventionError, match="field: expected anchors, got ExplicitGaussians"):
            growth.start(StepContext(0, PAPER, explicit, 1.0, RandomStreams(0)))


class TestRound:
    """One round at step 1,600: children count that were seen more than 40 times, anchors more than 80 times."""

    def _after(self, field: AnchorField, growth: AnchorGrowth | None = None, *, step: int = 1599) -> None:
        (growth or AnchorGrowth(GrowthSettings(), CELL)).after_step(_context(field, step))

    def _started(self, anchors: Anchors) -> AnchorField:
        field = _field(anchors)
        AnchorGrowth(GrowthSettings(), CELL).start(_context(field, 0))
        return field

    def test_what_was_seen_enough_begins_anew(self) -> None:
        field = self._started(random_anchors(3))
        store = field.store
        store.record(RECORDS[0])[:] = 1e-6
        store.record(RECORDS[1])[:] = torch.tensor([[40.0, 41.0, 0.0], [41.0, 100.0, 12.0], [0.0, 0.0, 40.0]])
        store.record(RECORDS[2])[:] = 50.0
        store.record(RECORDS[3])[:] = torch.tensor([80.0, 81.0, 3.0])
        self._after(field, step=1598)
        assert store.record(RECORDS[1])[0, 1] == 41.0  # no round
        self._after(field)
        assert store.record(RECORDS[1]).tolist() == [[40.0, 0.0, 0.0], [0.0, 0.0, 12.0], [0.0, 0.0, 40.0]]
        kept = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
        torch.testing.assert_close(store.record(RECORDS[0]), 1e-6 * kept)
        assert store.record(RECORDS[2]).tolist() == [50.0, 0.0, 50.0]
        assert store.record(RECORDS[3]).tolist() == [80.0, 0.0, 3.0]

    def test_children_that_were_seldom_seen_bring_no_anchors(self) -> None:
        for views, grows in ((40.0, False), (41.0, True)):
            field = self._started(random_anchors(60))
            field.store.record(RECORDS[0])[:] = 100.0
            field.store.record(RECORDS[1])[:] = views
            self._after(field)
            assert (len(field.store) > 60) == grows

    def test_anchors_that_nobody_sees_anything_of_go(self) -> None:
        field = self._started(random_anchors(5))
        store = field.store
        features = store["features"].detach().clone()
        #                                        seen, faint     seldom seen   seen, on the line   never seen   seen, bright
        store.record(RECORDS[3])[:] = torch.tensor([100.0, 80.0, 128.0, 0.0, 81.0])
        store.record(RECORDS[2])[:] = torch.tensor([0.49, 0.0, 128 * 0.005, 0.0, 30.0])
        self._after(field)
        assert torch.equal(store["features"].detach(), features[[1, 2, 3, 4]])
        assert store.record(RECORDS[3]).tolist() == [80.0, 0.0, 0.0, 0.0]

    def test_the_last_anchors_stay(self) -> None:
        field = self._started(random_anchors(3))
        field.store.record(RECORDS[3])[:] = 100.0
        self._after(field)
        assert len(field.store) == 3

    def test_moments_stay_with_their_rows(self) -> None:
        field = self._started(random_anchors(60))
        store = field.store
        for name in ("offsets", "features", "log_scales"):
            tag = torch.arange(1.0, 61.0).view(-1, *[1] * (store[name].ndim - 1))
            store[name].grad = tag.expand(store[name].shape).clone()
        store.step()
        before = {name: [moment.clone() for moment in store.moments(name)] for name in store}
        store.record(RECORDS[0])[:] = 100.0
        store.record(RECORDS[1])[:] = 50.0
        store.record(RECORDS[3])[:] = 100.0
        store.record(RECORDS[2])[:] = torch.where(torch.arange(60) % 7 == 3, 0.0, 9.0)
        self._after(field)
        kept = torch.arange(60) % 7 != 3
        assert len(store) > int(kept.sum())  # some have come, too
        for name, moments in before.items():
            for old, new in zip(moments, store.moments(name)):
                assert new.shape == store[name].shape
                assert torch.equal(new[: int(kept.sum())], old[kept]) and not new[int(kept.sum()) :].any()
                assert old.any() == (name != "positions")

    def test_children_do_not_outgrow_the_scene(self) -> None:
        field = self._started(random_anchors(40, scale=3.0))
        before = field.store["log_scales"].detach().clone()
        AnchorGrowth(GrowthSettings(largest_child=0.5), CELL).after_step(_context(field, 1599, extent=5.0))
        limit = math.log(2.5)
        assert (before[:, 3:] > limit).any() and (before[:, :3] > limit).any()
        assert torch.equal(field.store["log_scales"].detach()[:, :3], before[:, :3])
        assert torch.equal(field.store["log_scales"].detach()[:, 3:], before[:, 3:].clamp(max=limit))

    def test_draws_come_from_a_stream_of_their_own(self) -> None:
        ends = []
        for seed in (0, 0, 1):
            field = self._started(random_anchors(60))
            field.store.record(RECORDS[0])[:] = 100.0
            field.store.record(RECORDS[1])[:] = 50.0
            context = StepContext(1599, PAPER, field, 1.0, RandomStreams(seed))
            AnchorGrowth(GrowthSettings(), CELL).after_step(context)
            assert list(context.random.state_tensors()) == ["anchors.grow"]
            ends.append(field.store["positions"].detach())
        assert torch.equal(ends[0], ends[1]) and not (len(ends[0]) == len(ends[2]) and torch.equal(ends[0], ends[2]))
