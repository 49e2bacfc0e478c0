"""Who trains what when, how much a block has to say, and how the teacher follows."""

import math
from itertools import pairwise, product

import pytest
import torch
from tests.support.fabricated_capture import arc_camera, fabricated_capture
from tests.support.small_anchors import HIDDEN, INPUTS, first_layer, random_anchors, same_bits, second_layer, small_decoder

from scenewise.engine.randomness import RandomStreams
from scenewise.errors import ConventionError
from scenewise.methods.momentum_gs.slots import SlotOrder, SlotPlan
from scenewise.methods.momentum_gs.teaching import DecoderConsistency, MomentumTeacher, TeacherSettings
from scenewise.methods.momentum_gs.weighting import WeightingSettings, block_weights
from scenewise.parts.splats.anchors.decoder import HEADS
from scenewise.parts.splats.anchors.field import AnchorField, AnchorRates
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.strategies import StepContext
from scenewise.parts.splats.views import TrainingViews
from scenewise.rendering import render


class TestSlots:
    @pytest.mark.parametrize("order", ["round_robin", "random", "worst_first"])
    @pytest.mark.parametrize(("blocks", "workers"), [(1, 1), (4, 1), (4, 2), (4, 4), (5, 2), (7, 3), (8, 5)])
    def test_every_block_has_one_slot_in_a_round_at_its_own_worker(self, order: SlotOrder, blocks: int, workers: int) -> None:
        plan = SlotPlan(blocks, workers, slot_steps=3, rounds=2, order=order)
        own = [plan.own_blocks(worker) for worker in range(workers)]
        assert sorted(block for part in own for block in part) == list(range(blocks))
        assert [block for part in own for block in part] == list(range(blocks))  # neighbours by number
        assert max(map(len, own)) - min(map(len, own)) <= 1
        for round_ in range(5):
            slots = plan.round_order(round_, [20.0 + (3 * block) % blocks for block in range(blocks)])
            assert len(slots) == plan.slots_per_round == math.ceil(blocks / workers)
            for worker in range(workers):
                queue = [slot[worker] for slot in slots]
                there = [block for block in queue if block is not None]
                assert sorted(there) == list(own[worker]) and queue[: len(there)] == there  # who is through sits out the rest

    def test_five_blocks_of_two_workers(self) -> None:
        plan = SlotPlan(blocks=5, workers=2, slot_steps=10, rounds=3)
        assert plan.round_order(0, []) == plan.round_order(7, []) == ((0, 2), (1, 3), (None, 4))
        # the worse ones first; of equals the lower number
        worst = SlotPlan(blocks=5, workers=2, slot_steps=10, rounds=3, order="worst_first")
        assert worst.round_order(0, [25.0, 21.0, 30.0, 22.0, 22.0]) == ((1, 3), (0, 4), (None, 2))

    def test_random_orders_change_from_round_to_round_and_follow_the_seed(self) -> None:
        def orders(seed: int) -> list[tuple[int | None, ...]]:
            plan = SlotPlan(blocks=6, workers=1, slot_steps=1, rounds=9, order="random", seed=seed)
            return [tuple(slot[0] for slot in plan.round_order(round_, [])) for round_ in range(9)]

        assert orders(0) == orders(0) != orders(1) and len(set(orders(0))) > 4
        # what a worker's order is does not depend on how many others there are
        two = SlotPlan(blocks=6, workers=2, slot_steps=1, rounds=9, order="random")
        assert len({two.round_order(round_, []) for round_ in range(9)}) > 4

    @pytest.mark.parametrize(("is_frozen", "rounds"), [(True, 4), (False, 3)])
    def test_steps_of_a_run_with_and_without_a_frozen_round(self, is_frozen: bool, rounds: int) -> None:
        plan = SlotPlan(blocks=5, workers=2, slot_steps=10, rounds=3, frozen_round=is_frozen)
        assert plan.all_rounds == rounds and plan.block_steps == 10 * rounds
        assert plan.total_steps == 3 * 10 * rounds and plan.learning_steps == 3 * 10 * 3
        steps = dict.fromkeys(range(5), 0)
        for round_ in range(plan.all_rounds):
            for slot in plan.round_order(round_, []):
                for block in slot:
                    if block is not None:
                        steps[block] += plan.slot_steps
        assert set(steps.values()) == {plan.block_steps}

    @pytest.mark.errors
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"workers": 0}, "workers: expected 1 to 4, as there are 4 blocks, got 0"),
            ({"workers": 5}, "workers: expected 1 to 4, as there are 4 blocks, got 5"),
            ({"blocks": 0}, "workers: expected 1 to 0"),
            ({"slot_steps": 0}, "slots: expected at least one of at least one step, got 3 × 0"),
            ({"rounds": 0}, "slots: expected at least one of at least one step, got 0 × 10"),
        ],
    )
    def test_plans_that_are_none(self, change: dict[str, int], message: str) -> None:
        with pytest.raises(ConventionError, match=message):
            SlotPlan(**({"blocks": 4, "workers": 2, "slot_steps": 10, "rounds": 3} | change))


class TestWeights:
    @pytest.mark.parametrize(("gap", "similarity", "expected"), [(2.0, 0.05, 1.0259), (4.0, 0.1, 1.10), (6.0, 0.15, 1.21)])
    def test_hand_values(self, gap: float, similarity: float, expected: float) -> None:
        found = block_weights([(27.0, 0.85), (27.0 - gap, 0.85 - similarity)], WeightingSettings(sigma=9.0))
        assert found == [1.0, pytest.approx(expected, abs=5e-3 if gap > 2.0 else 5e-5)]

    def test_the_best_of_each_figure_may_be_different_blocks(self) -> None:
        found = block_weights([(30.0, 0.7), (26.0, 0.9), (28.0, 0.8)], WeightingSettings(sigma=3.0))
        # gaps: 0 dB and 2 of SSIM; 4 dB and 0; 2 dB and 1 of SSIM
        expected = [2.0 - math.exp(-square / 18.0) for square in (4.0, 16.0, 5.0)]
        assert found == pytest.approx(expected)

    def test_one_figure_alone(self) -> None:
        quality = [(30.0, 0.9), (27.0, 0.7)]
        for signal, square in (("both", 9.0 + 4.0), ("psnr", 9.0), ("ssim", 4.0)):
            found = block_weights(quality, WeightingSettings(sigma=5.0, signal=signal))  # type: ignore[arg-type]
            assert found == pytest.approx([1.0, 2.0 - math.exp(-square / 50.0)]), signal

    def test_blocks_that_were_never_looked_at(self) -> None:
        settings = WeightingSettings()
        assert block_weights([None, None], settings) == [1.0, 1.0] and block_weights([], settings) == []
        weights = block_weights([None, (25.0, 0.8), None, (29.0, 0.9)], settings)
        assert weights[0] == weights[2] == weights[3] == 1.0 < weights[1] < 2.0

    def test_figures_that_are_none(self) -> None:
        """A view whose mask hides all of it has no PSNR, a perfect one an infinite one: neither says how bad others are."""
        settings = WeightingSettings()
        for odd in ((math.nan, 0.5), (20.0, math.nan), (math.inf, 1.0)):
            expected = block_weights([None, (25.0, 0.8), (29.0, 0.9)], settings)
            assert block_weights([odd, (25.0, 0.8), (29.0, 0.9)], settings) == expected

    def test_worse_is_heavier_and_never_twice_as_heavy(self) -> None:
        quality = [(30.0 - gap, 0.95 - 0.01 * gap) for gap in range(0, 60, 3)]
        weights = block_weights(quality, WeightingSettings(sigma=9.0))
        assert all(first <= second for first, second in pairwise(weights)) and weights[0] == 1.0 and weights[-1] <= 2.0


class TestTeacher:
    @pytest.mark.parametrize(("momentum", "period"), list(product((0.0, 0.9, 0.99), (1, 3))))
    def test_after_n_steps_it_is_the_closed_form(self, momentum: float, period: int) -> None:
        student = small_decoder()
        teacher = MomentumTeacher(student, TeacherSettings(momentum=momentum, period=period))
        held = teacher.heads
        first = {name: value.double().clone() for name, value in student.parameters.parameter_tensors().items()}
        history = []
        generator = torch.Generator().manual_seed(1)
        for step in range(8):
            teacher.follow(step)
            if step % period == 0:
                history.append({name: value.double().clone() for name, value in student.parameters.parameter_tensors().items()})
            student.set_flat_gradient(torch.randn(len(student.flat_gradient()), generator=generator))
            student.parameters.step()
        n = len(history)
        assert n == (8 if period == 1 else 3)
        for name in HEADS:
            expected = momentum**n * first[name]
            for index, value in enumerate(history):
                expected = expected + (1.0 - momentum) * momentum ** (n - 1 - index) * value[name]
            torch.testing.assert_close(getattr(held, name).double(), expected, rtol=0, atol=2e-6)
            assert not getattr(held, name).requires_grad
        assert teacher.heads is held

    def test_distance(self) -> None:
        student = small_decoder()
        teacher = MomentumTeacher(student, TeacherSettings())
        assert teacher.distance() == 0.0
        count = len(student.flat_gradient())
        teacher.heads.color[4] += 3.0
        teacher.heads.covariance[0] -= 4.0
        assert teacher.distance() == pytest.approx(5.0 / math.sqrt(count), rel=1e-5)

    def test_it_is_loaded_in_place(self) -> None:
        teacher, other = (MomentumTeacher(small_decoder(seed), TeacherSettings()) for seed in (0, 1))
        held = teacher.heads
        other_tensors = {name: value.clone() for name, value in other.tensors().items()}
        assert not same_bits(teacher.tensors(), other_tensors)
        teacher.load(other_tensors)
        assert teacher.heads is held and same_bits(teacher.tensors(), other_tensors)
        teacher.heads.color.zero_()
        assert same_bits(other.tensors(), other_tensors)  # a copy


class TestConsistency:
    CAPTURE = fabricated_capture(views=3, width=48, height=32)

    def _value(self, field: AnchorField) -> torch.Tensor | None:
        view = TrainingViews(self.CAPTURE.train_frames).load(0)
        decoded = field.decoded(view.camera)
        context = StepContext(0, Schedule(10), field, 1.0, RandomStreams(0), decoded)
        output = render(decoded.gaussians, view.camera)
        return DecoderConsistency(50.0).value(context, view, output, output.color)

    def test_it_is_the_sum_of_four_mean_squares_and_nothing_without_a_teacher(self) -> None:
        field = AnchorField(random_anchors(30), small_decoder(), AnchorRates())
        assert self._value(field) is None
        assert DecoderConsistency(50.0).name == "consistency"
        field.teacher = small_decoder(1).heads()
        differences = field.decoded(TrainingViews(self.CAPTURE.train_frames).camera(0)).differences
        found = self._value(field)
        assert found is not None and differences is not None and differences.shape == (4,)
        assert float(found.detach()) == pytest.approx(sum(differences.tolist()), rel=1e-6)

    @pytest.mark.parametrize("passes", [False, True])
    def test_the_teacher_is_a_target_and_moves_anchors_only_where_it_is_to(self, passes: bool) -> None:
        student, anchors = small_decoder(), random_anchors(30)
        teacher = MomentumTeacher(student, TeacherSettings(passes_gradients=passes))
        teacher.heads.color[:] += 0.3 * torch.randn(len(teacher.heads.color), generator=torch.Generator().manual_seed(0))

        def difference(of_student: AnchorField, of_teacher: AnchorField) -> torch.Tensor:
            """Mean square of the difference of colours, each of anchors of its own."""
            camera = arc_camera(0.1, 48, 32)
            shown = of_student.decoded(camera)
            assert shown.row_of is not None and shown.slot_of is not None
            own, others = (
                _colors(field, camera.centers_in_world.float(), flat, shown.row_of, shown.slot_of)
                for field, flat in ((of_student, student.heads().color), (of_teacher, teacher.heads.color))
            )
            return (own - others).square().mean()

        field = AnchorField(anchors, student, AnchorRates())
        field.teacher, field.teacher_passes_gradients = teacher.heads, teacher.settings.passes_gradients
        differences = field.decoded(arc_camera(0.1, 48, 32)).differences
        assert differences is not None
        differences[0].backward()
        found = field.store["features"].grad
        one, other = (AnchorField(anchors, student, AnchorRates()) for _ in range(2))
        expected = difference(one, one if passes else other)
        assert float(expected.detach()) == pytest.approx(float(differences[0].detach()), rel=1e-4)
        expected.backward()
        wanted = one.store["features"].grad
        assert found is not None and wanted is not None and found.any()
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-7)


def _colors(
    field: AnchorField, center: torch.Tensor, flat: torch.Tensor, rows: torch.Tensor, slots: torch.Tensor
) -> torch.Tensor:
    """Colours of children by one dot product after the other."""
    weights, biases = second_layer(flat, "color")
    hidden_bias = flat[HIDDEN * INPUTS : HIDDEN * (INPUTS + 1)]
    colors = []
    for row, slot in zip(rows.tolist(), slots.tolist()):
        away = (field.store["positions"][row] - center).detach()
        x = torch.cat([field.store["features"][row], away / away.norm()])
        hidden = torch.relu(first_layer(flat) @ x + hidden_bias)
        colors.append(torch.sigmoid((weights @ hidden + biases)[3 * slot : 3 * slot + 3]))
    return torch.stack(colors)
