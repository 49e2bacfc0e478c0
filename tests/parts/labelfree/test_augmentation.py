"""Augmentation: whatever belongs together moves together, and draws depend on seed, epoch and scan alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support.tiny_training import CLASSES, HEIGHT, WIDTH, tiny_scan

from scenewise.errors import ConventionError
from scenewise.parts.labelfree import augmentation
from scenewise.parts.labelfree.augmentation import BatchMember, BatchSettings, Draws, drawn, training_batch
from scenewise.parts.labelfree.fixed_labels import fixed_labels
from scenewise.parts.labelfree.recipes import PointLabels
from scenewise.parts.labelfree.settings import Augmentation


def _member(seed, by="view_vote"):
    scan = tiny_scan(seed)
    return BatchMember(seed, scan, fixed_labels(scan, PointLabels(by), CLASSES))


def _batch(members, *, settings=None, epoch=1, views=2, **changes):
    wanted = {"voxel": 0.5, "views_per_step": views, "seed": 9, "with_pictures": True, "with_images": True}
    augmentation = Augmentation() if settings is None else settings
    return training_batch(members, BatchSettings(augmentation, **{**wanted, **changes}), epoch=epoch)


def test_points_are_turned_then_shifted(monkeypatch):
    """Quarter turn about +Z, then the shift in voxels: (1, 2, 3) m → (−2, 1, 3) m → (−4, 2, 6) → + (¼, ½, ¾)."""
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    shift = torch.tensor([0.25, 0.5, 0.75])
    monkeypatch.setattr(augmentation, "drawn", lambda *_: Draws(turn, shift, (0,), (False,)))
    member = _member(0)
    member.scan.points_in_scan[0] = 1, 2, 3
    cloud = _batch([member]).cloud
    assert cloud.positions[0].tolist() == [-3.75, 2.5, 6.75]
    place = cloud.voxels.grid.coords[cloud.voxels.voxel_of_point[0]]
    assert place.tolist() == [0, -4, 2, 6]


def test_draws_are_rotations_about_up_with_mirrors_and_a_bounded_scale():
    flipped, angles = set(), []
    for epoch in range(40):
        draw = drawn(Augmentation(scale=0.2, shift_voxels=5.0), 4, 2, 1, epoch, 3)
        scale = float(draw.matrix[2, 2])
        assert 0.8 <= scale <= 1.2 and draw.matrix[2, :2].tolist() == [0, 0] == draw.matrix[:2, 2].tolist()
        torch.testing.assert_close(draw.matrix.T @ draw.matrix, scale**2 * torch.eye(3))
        flipped.add(round(float(torch.linalg.det(draw.matrix)) / scale**3))
        angles.append(float(torch.atan2(draw.matrix[1, 1], draw.matrix[0, 1])))
        assert bool(((draw.shift >= 0) & (draw.shift < 5)).all())
        assert len(draw.views) == 2 and list(draw.views) == sorted(set(draw.views))
    assert flipped == {-1, 1} and max(angles) > 2 and min(angles) < -2
    still = drawn(Augmentation(rotate_up=False, flip=False, shift_voxels=0.0, flip_pictures=False), 4, None, 1, 1, 1)
    assert torch.equal(still.matrix, torch.eye(3)) and not any(still.flipped) and still.views == (0, 1, 2, 3)


def test_a_flipped_picture_takes_labels_regions_targets_and_links_with_it():
    member = _member(2)
    seen = set()
    for epoch in range(8):
        batch = _batch([_member(5), member], epoch=epoch)
        draw = drawn(Augmentation(), 3, 2, 9, epoch, 2)
        pictures, links, begin = batch.pictures, batch.links, int(batch.first_point[1])
        assert pictures.scan.tolist() == [0, 0, 1, 1] and pictures.images.shape == (4, 3, HEIGHT, WIDTH)
        for number, (view, flipped) in enumerate(zip(draw.views, draw.flipped), start=2):
            seen.add(flipped)
            source = member.scan.views[view]
            mine = links.view == number
            point, row, column = links.point[mine] - begin, links.row[mine], links.column[mine]
            assert len(point) == HEIGHT * WIDTH // 2
            # A link's pixel still shows its point: same colour, and the label the teacher gave that pixel.
            color = torch.from_numpy(np.clip((member.scan.inputs + 1) * 127.5, 0, 255).astype(np.uint8))[point]
            shown = (pictures.images[number, :, row, column].T * 255).round()
            assert torch.equal(shown, color.float())
            here = member.scan.pixels.view == view
            original = source.labels.class_ids[member.scan.pixels.row[here], member.scan.pixels.column[here]]
            assert pictures.labels[number, row, column].tolist() == original.tolist()
            turned = (lambda values: values[:, ::-1]) if flipped else (lambda values: values)
            numbers = pictures.regions[number]
            assert np.array_equal((numbers - numbers.min()).numpy(), turned(source.regions))
            assert np.array_equal(pictures.targets[number].permute(1, 2, 0).numpy(), turned(source.targets).astype(np.float32))
    assert seen == {True, False}


def test_what_is_drawn_for_a_scan_does_not_depend_on_the_batch_but_on_the_epoch():
    members = [_member(seed) for seed in (3, 1, 2)]
    settings = Augmentation(color_jitter=0.1)
    together, alone = _batch(members, settings=settings), _batch(members[2:], settings=settings)
    begin = int(together.first_point[2])
    assert torch.equal(together.cloud.positions[begin:], alone.cloud.positions)
    assert torch.equal(together.cloud.inputs[begin:], alone.cloud.inputs)
    assert torch.equal(together.pictures.images[4:], alone.pictures.images)
    assert not torch.equal(alone.cloud.positions, _batch(members[2:], settings=settings, epoch=2).cloud.positions)
    assert (together.scans, together.names) == ((3, 1, 2), ("scan3", "scan1", "scan2"))
    # Numbers of sets are never shared between scans.
    for first, second in ((0, 1), (1, 2)):
        parts = [together.segments[int(together.first_point[i]) : int(together.first_point[i + 1])] for i in (first, second)]
        assert parts[0].max() < parts[1].min()


def test_rows_of_pairs_come_from_the_views_of_the_step():
    member = _member(4, by="pairs")
    rows = member.labels.points
    draw = drawn(Augmentation(), 3, 2, 9, 1, 4)
    batch = _batch([_member(0), member])
    here = np.isin(rows.view, draw.views)
    assert 0 < here.sum() < len(here)
    begin = int(batch.first_point[1])
    mine = batch.points.element >= begin
    assert (batch.points.element[mine] - begin).tolist() == rows.element[here].tolist()
    assert batch.points.class_ids[mine].tolist() == rows.class_ids[here].tolist()


def test_without_pictures_there_are_none():
    batch = _batch([_member(0)], with_pictures=False)
    assert batch.pictures is None and batch.links is None
    assert _batch([_member(0)], with_images=False).pictures.images is None


@pytest.mark.errors
def test_scans_that_do_not_fit_together_are_named():
    member = _member(0)
    gray = replace(member, scan=replace(member.scan, inputs=member.scan.inputs[:, :1].copy()))
    with pytest.raises(ConventionError, match=r"scans of a batch: expected the same number of input channels, got \[1, 3\]"):
        _batch([member, gray])
    blind = replace(member, scan=replace(member.scan, views=tuple(replace(v, image_u8=None) for v in member.scan.views)))
    with pytest.raises(ConventionError, match=r"view view\d of scan0: expected its picture, got none"):
        _batch([blind])
    with pytest.raises(ConventionError, match=r"labels of scan0: expected −1 or a class from 0 to 0, got 2"):
        fixed_labels(member.scan, PointLabels("view_vote"), 1)
