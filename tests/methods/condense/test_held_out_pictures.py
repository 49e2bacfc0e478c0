"""Figures and maps of held-out pictures, and the monitor that watches for collapse."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.support.tiny_posed import TinyScans, posed, tiny_scans, tiny_trainer

from scenewise.engine.training import run_steps
from scenewise.errors import CaptureWarning
from scenewise.methods.condense import monitor
from scenewise.methods.condense.batches import consistency_batch
from scenewise.methods.condense.held_out import HeldOutFigures, feature_maps, held_out_figures
from scenewise.methods.condense.monitor import WatchedTrainer, collapse, warn_of_collapse
from scenewise.methods.condense.objective import Memory, effective_rank
from scenewise.methods.condense.objectives import image_features, ray_features
from scenewise.networks.consistent.point_branch import PointFeatures

FIGURES = HeldOutFigures(scans=1, views=2, pixels=30, cosine=0.8, image_rank=12.0, volume_rank=11.0, matched=0.5)


def alike(batch, pair, frozen, config):
    """Random 2D features, and 3D ones that are like them: those of untrained branches are never told from others."""
    rays, seen = ray_features(batch, pair, frozen, config)
    generator = torch.Generator().manual_seed(len(rays.point))
    noise, more = torch.randn(2, *rays.image.shape, generator=generator)
    image = F.normalize(rays.image + 0.3 * noise, dim=1)
    return replace(rays, image=image, volume=F.normalize(image + 0.1 * more, dim=1)), seen


def test_figures_are_means_over_the_pixels_of_all_scans(monkeypatch: pytest.MonkeyPatch):
    """A loop over scans and pixels, written out."""
    monkeypatch.setattr("scenewise.methods.condense.held_out.ray_features", alike)
    trainer, scans = tiny_trainer(), tiny_scans(2)
    scans = TinyScans([scans[0].with_views([1]), scans[1].with_views([0, 2])], [1.0, 1.0])
    pair, frozen, config = trainer.pair, trainer.frozen, trainer.config
    pair.train()
    before = {name: value.clone() for name, value in pair.state_dict().items()}
    found = held_out_figures(pair, frozen, scans, config)
    assert found is not None and (found.scans, found.views) == (2, 3)
    assert pair.training and all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())
    pair.eval()
    cosines, matched, images, volumes = [], [], [], []
    for row in range(2):
        shown = replace(config, views_per_scan=9)
        batch = consistency_batch([(row, scans[row])], shown, 0, 0, varied=False)
        with torch.no_grad():
            rays, _ = alike(batch, pair, frozen, shown)
        kept = torch.nonzero(rays.stopped)[:, 0].tolist()
        for ray in kept:
            right = float(rays.image[ray] @ rays.volume[ray])
            far = [other for other in kept if math.dist(rays.point[ray].tolist(), rays.point[other].tolist()) >= config.far]
            wrong = [float(rays.image[ray] @ rays.volume[other]) for other in far]
            wrong += [float(rays.volume[ray] @ rays.image[other]) for other in far]
            cosines.append(right)
            matched.append(right > max(wrong, default=-1.0))
        images.append(rays.image[kept])
        volumes.append(rays.volume[kept])
    assert found.pixels == len(cosines) > 40
    assert 0 < found.matched < 1
    assert found.cosine == pytest.approx(np.mean(cosines), abs=1e-5) and found.matched == pytest.approx(
        np.mean(matched), abs=1e-6
    )
    assert found.image_rank == pytest.approx(effective_rank(torch.cat(images)), rel=1e-6)
    assert found.volume_rank == pytest.approx(effective_rank(torch.cat(volumes)), rel=1e-6)


def test_no_pixel_with_depth_gives_no_figures():
    trainer, scan = tiny_trainer(), posed(0)
    blind = replace(scan, depths=np.zeros_like(scan.depths))
    assert held_out_figures(trainer.pair, trainer.frozen, TinyScans([blind], [1.0]), trainer.config) is None
    maps = feature_maps(trainer.pair, trainer.frozen, blind, 0, trainer.config)
    assert not maps.is_rendered.any() and not maps.volume.any()


def test_maps_show_what_lies_at_each_cell(monkeypatch: pytest.MonkeyPatch):
    """Voxels say where they are: what is rendered into a cell is the place that its pixels measure."""
    trainer, scan = tiny_trainer(dim=4), posed(0)
    trainer.pair.eval()

    def places(cloud) -> PointFeatures:
        centers = cloud.voxels.grid.coords[:, 1:].float() + 0.5
        features = F.normalize(torch.cat([centers, torch.full((len(centers), 1), 10.0)], dim=1), dim=1)
        return PointFeatures(features, torch.zeros(len(centers)))

    monkeypatch.setattr(trainer.pair.points, "forward", places)
    maps = feature_maps(trainer.pair, trainer.frozen, scan, 1, trainer.config)
    rows, columns = maps.is_rendered.shape
    assert (rows, columns) == (12, 16) and np.array_equal(maps.picture_u8, scan.pictures_u8[1]) and maps.is_rendered.mean() > 0.5
    shown = torch.from_numpy(scan.pictures_u8[1:2].copy()).permute(0, 3, 1, 2).float() / 255.0
    with torch.no_grad():
        seen = image_features(trainer.pair, trainer.frozen, shown).features[0].permute(1, 2, 0)
    assert np.allclose(maps.image, seen.numpy(), atol=1e-6)
    scan_from_camera = np.linalg.inv(scan.camera_from_scan[1])
    missed = []
    for row in range(rows):
        for column in range(columns):
            depth = scan.depths[1, 4 * row + 2, 4 * column + 2]
            if not maps.is_rendered[row, column]:
                assert not maps.volume[row, column].any()
                continue
            assert depth > 0
            at = depth * np.linalg.inv(scan.K[1]) @ [4 * column + 2, 4 * row + 2, 1.0]
            place = (scan_from_camera @ [*at, 1.0])[:3] / trainer.config.voxel
            said = maps.volume[row, column]
            assert np.linalg.norm(said) == pytest.approx(1.0, abs=1e-5)
            missed.append(np.linalg.norm(10.0 * said[:3] / said[3] - place))
    assert np.median(missed) < 1.0 and np.quantile(missed, 0.95) < 3.0, "in voxels"


# ------------------------------------------------------------------------------------------------------------------ collapse


def test_features_of_few_directions_or_of_one_have_collapsed():
    assert collapse(0.9, 12.0, 11.0) is None and collapse(0.999, 4.0, 4.0) is None
    assert collapse(0.9, 3.9, 11.0) == "the effective rank of the 2D features is 3.9, below 4"
    assert collapse(0.9, 12.0, 1.0) == "the effective rank of the 3D features is 1.0, below 4"
    both = collapse(0.9995, 3.0, 2.0)
    assert both is not None and "2D features is 3.0" in both and "3D features is 2.0" in both and "cosine 0.9995" in both
    assert not warn_of_collapse(FIGURES)
    with pytest.warns(CaptureWarning, match=r"held-out pictures: the effective rank of the 3D .* collapsed. Fix: train longer"):
        assert warn_of_collapse(replace(FIGURES, volume_rank=1.5))


def test_reports_tell_ranks_and_now_and_then_figures_of_held_out_pictures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(monitor, "LEAST_RANK", 0.0)  # tiny features are not said to collapse
    trainer = tiny_trainer(steps=4, remembered=64)
    looked = []
    watched = WatchedTrainer(trainer, lambda: looked.append(trainer.steps_done) or FIGURES, every=2)
    reports = []
    run_steps(watched, listener=reports.append)
    assert looked == [2], "at the end the finished file is measured"
    assert [("held_out/cosine" in report.line) for report in reports] == [False, True, False, False]
    assert reports[1].figures["held_out/matched"] == 0.5 and reports[1].shown["held_out"] == 0.8
    for report in reports:
        assert {"image_rank", "volume_rank", "collapsed", "seconds", "prior"} <= report.line.keys()
    assert reports[-1].line["image_rank"] == pytest.approx(effective_rank(trainer.memory.image))
    assert reports[-1].line["volume_rank"] == pytest.approx(effective_rank(trainer.memory.volume))
    assert watched.seconds == trainer.seconds > 0 and (watched.steps_done, watched.total_steps) == (4, 4)


def test_a_watched_training_is_the_same_training_and_goes_on_bit_for_bit(monkeypatch: pytest.MonkeyPatch):
    """Looking moves nothing; a run that stops after two steps and is taken up ends as the unbroken one."""
    monkeypatch.setattr(monitor, "LEAST_RANK", 0.0)
    plain, scans = tiny_trainer(steps=4), tiny_scans()
    run_steps(plain)
    held_out = TinyScans([scans[0].with_views([0])], [1.0])

    def watched() -> WatchedTrainer:
        trainer = tiny_trainer(scans, steps=4)
        return WatchedTrainer(
            trainer, lambda: held_out_figures(trainer.average, trainer.frozen, held_out, trainer.config), every=1
        )

    first, second = watched(), watched()
    run_steps(first, until=2, listener=lambda report: None)
    second.restore(first.checkpoint().copied())
    run_steps(second, listener=lambda report: None)
    one, two = plain.checkpoint(), second.checkpoint()
    for part in ("parameters", "optimizer", "state"):
        wanted, found = getattr(one, part), getattr(two, part)
        assert wanted.keys() == found.keys() and all(torch.equal(found[name], value) for name, value in wanted.items()), part


def test_collapse_is_warned_of_once_and_not_at_the_beginning(monkeypatch: pytest.MonkeyPatch):
    trainer = tiny_trainer(steps=10)
    monkeypatch.setattr(monitor, "LEAST_RANK", 1000.0)
    trainer.memory = Memory(torch.randn(3000, 16), torch.randn(3000, 16))
    watched = WatchedTrainer(trainer, lambda: None, every=50)
    said = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in (1, 2, 3):
            watched.step()
            assert watched.describe().line["collapsed"] is True
            said.append(len(caught))
            assert watched.steps_done == step
    assert said == [0, 1, 1] and str(caught[0].message).startswith("step 2: the effective rank of the 2D features is ")


def test_without_remembered_rays_there_is_nothing_to_tell():
    trainer = tiny_trainer(steps=1)
    watched = WatchedTrainer(trainer, lambda: None, every=1)
    watched.step()
    trainer.memory = Memory.empty(16, torch.device("cpu"))
    assert "image_rank" not in watched.describe().line
