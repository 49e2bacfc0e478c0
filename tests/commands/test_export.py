"""Export: what other programs get, where it lies, and what is refused."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.commands.export.options import ExportOptions
from scenewise.commands.export.run import export_scene
from scenewise.errors import ConventionError, DataFormatError, MissingDependencyError
from scenewise.io.json_fields import read_json_object
from scenewise.io.labels import read_labels
from scenewise.io.las import read_las
from scenewise.io.ply.gaussians import read_gaussians_ply
from scenewise.io.ply.points import read_points_ply, read_points_ply_with_extra
from scenewise.io.scene_folder import read_georeference, read_scene, write_scene, write_scene_description, write_scene_labels
from scenewise.io.spz import read_spz
from scenewise.parts.splats.merging import merged_to
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.georeference import Georeference
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.scenes import Provenance, Scene

_N = 40
# a quarter turn about up and a scale of 8.5: world x is north, world y is west
_REFERENCE = Georeference(32615, 8.5, np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([501234.25, 4512345.5, 120.0]))


def _gaussians():
    generator = torch.Generator().manual_seed(0)

    def values(*shape):
        return torch.randn(*shape, generator=generator)

    logits = torch.linspace(-6, 6, _N)
    return Gaussians(values(_N, 3) * 30, values(_N, 3), values(_N, 4), logits, values(_N, 1, 3), values(_N, 8, 3) / 4)


@pytest.fixture
def scene(tmp_path):
    gaussians = _gaussians()
    record = Scene(
        load_gaussians=lambda: gaussians,
        num_gaussians=_N,
        sh_degree=2,
        cameras=(),
        provenance=Provenance("a", "colmap", None, "x", "gaussian_splatting"),
        scale="arbitrary",
        up_in_world=np.array([0.0, 0.0, 1.0]),
        georeference=_REFERENCE,
    )
    write_scene(tmp_path / "scene", record)
    return tmp_path / "scene"


def _forget_georeference(scene):
    write_scene_description(scene, replace(read_scene(scene), georeference=None))


class TestSplats:
    def test_ply_in_local_coordinates_with_its_place_beside_it(self, scene, tmp_path):
        result = export_scene(ExportOptions(scene, "ply", tmp_path / "a.ply"))
        assert (result.path.read_bytes()) == (scene / "splats.ply").read_bytes()
        assert (result.count, result.frame, result.epsg, result.bytes) == (_N, "world", 32615, result.path.stat().st_size)
        description = json.loads((tmp_path / "a.ply.json").read_text())
        assert (description["frame"], description["scale"], description["up_in_world"]) == ("world", "arbitrary", [0.0, 0.0, 1.0])
        reference = read_georeference(read_json_object(tmp_path / "a.ply.json").object("georeference"))
        means = read_gaussians_ply(result.path).means.numpy().astype(np.float64)
        truth = _REFERENCE.projected_from_world(_gaussians().means.numpy().astype(np.float64))
        assert np.abs(reference.projected_from_world(means) - truth).max() <= 1e-3

    def test_spz_with_labels_and_less_colour(self, scene, tmp_path):
        labels = ElementLabels(np.arange(_N, dtype=np.int32), np.full(_N, -1, np.int32), np.ones(_N, np.float32))
        write_scene_labels(scene, "splats", labels)
        result = export_scene(ExportOptions(scene, "spz", tmp_path / "a.spz", sh_degree=1))
        again = read_spz(result.path)
        assert again.sh_degree == 1
        assert (again.means - _gaussians().means).abs().max() < 1e-4
        assert [path.name for path in result.sidecars] == ["a.spz.labels.safetensors", "a.spz.json"]
        assert read_labels(result.sidecars[0], count=_N).class_ids.tolist() == list(range(_N))

    @pytest.mark.parametrize("format", ["ply", "spz"])
    def test_fewer_by_merging(self, scene, tmp_path, format):
        labels = ElementLabels(np.arange(_N, dtype=np.int32), np.full(_N, -1, np.int32), np.ones(_N, np.float32))
        write_scene_labels(scene, "splats", labels)
        result = export_scene(ExportOptions(scene, format, tmp_path / f"a.{format}", max_gaussians=15, sh_degree=1))
        merged = merged_to(_gaussians().with_sh_degree(1), 15)
        assert (result.count, result.made_from) == (15, _N)
        again = read_gaussians_ply(result.path) if format == "ply" else read_spz(result.path)
        assert again.sh_degree == 1
        assert (again.means - merged.gaussians.means).abs().max() < 1e-4
        assert read_labels(result.sidecars[0], count=15).class_ids.tolist() == merged.source_rows.tolist()
        description = json.loads((tmp_path / f"a.{format}.json").read_text())
        assert (description["count"], description["made_from"]) == (15, _N)

    def test_few_enough_stay_as_they_are(self, scene, tmp_path):
        result = export_scene(ExportOptions(scene, "ply", tmp_path / "a.ply", max_gaussians=_N))
        assert result.path.read_bytes() == (scene / "splats.ply").read_bytes()
        assert (result.count, result.made_from) == (_N, _N)

    def test_what_is_refused_leaves_the_old_file(self, scene, tmp_path):
        (tmp_path / "a.ply").write_text("mine")
        content = bytearray((scene / "splats.ply").read_bytes())
        content[-4:] = b"\x00\x00\xc0\x7f"  # NaN
        (scene / "splats.ply").write_bytes(content)
        with pytest.raises(DataFormatError, match=f"vertex {_N - 1}, rot_3"):
            export_scene(ExportOptions(scene, "ply", tmp_path / "a.ply", overwrite=True))
        assert (tmp_path / "a.ply").read_text() == "mine"

    def test_default_place(self, scene):
        assert export_scene(ExportOptions(scene, "spz")).path == scene / "exports" / "splats.spz"


class TestPoints:
    def test_coloured_ply_of_what_is_opaque_enough(self, scene, tmp_path):
        labels = ElementLabels(np.arange(_N, dtype=np.int32), np.full(_N, -1, np.int32), np.ones(_N, np.float32))
        write_scene_labels(scene, "splats", labels)
        gaussians = _gaussians()
        kept = gaussians.opacities > 0.1
        result = export_scene(ExportOptions(scene, "points", tmp_path / "a.ply"))
        cloud, extra = read_points_ply_with_extra(result.path)
        assert result.count == len(cloud) == int(kept.sum()) < result.made_from == _N
        assert np.array_equal(cloud.points_in_world, gaussians.means[kept].double().numpy())
        assert extra["label"].tolist() == kept.nonzero()[:, 0].tolist()
        rgb = (0.5 + 0.28209479 * gaussians.sh0[kept][:, 0]).clamp(0, 1).numpy() * 255
        assert np.abs(cloud.colors_u8 - rgb).max() <= 0.5 + 1e-3

    @pytest.mark.parametrize("ending", [".las", ".laz"])
    def test_las_in_projected_coordinates_within_a_millimetre(self, scene, tmp_path, ending):
        pytest.importorskip("laspy", reason="laspy is an optional package")
        result = export_scene(ExportOptions(scene, "points", tmp_path / f"a{ending}", min_opacity=0.5))
        cloud, epsg = read_las(result.path)
        gaussians = _gaussians()
        x, y, z = gaussians.means[gaussians.opacities > 0.5].double().numpy().T
        truth = np.stack([501234.25 - 8.5 * y, 4512345.5 + 8.5 * x, 120.0 + 8.5 * z], axis=1)  # by hand
        assert np.abs(cloud.points_in_world - truth).max() <= 1e-3
        assert (epsg, result.epsg, result.frame) == (32615, 32615, "projected")
        back = _REFERENCE.world_from_projected(cloud.points_in_world)
        assert np.abs(back - np.stack([x, y, z], axis=1)).max() * 8.5 <= 1e-3

    def test_projected_ply_is_double(self, scene, tmp_path):
        result = export_scene(ExportOptions(scene, "points", tmp_path / "a.ply", georeferenced=True, min_opacity=0.0))
        truth = _REFERENCE.projected_from_world(_gaussians().means.double().numpy())
        assert np.abs(read_points_ply(result.path).points_in_world - truth).max() < 1e-8
        assert result.frame == "projected"

    def test_las_without_a_georeference_says_so(self, scene, tmp_path):
        pytest.importorskip("laspy", reason="laspy is an optional package")
        _forget_georeference(scene)
        result = export_scene(ExportOptions(scene, "points", tmp_path / "a.las"))
        assert (result.frame, result.epsg, read_las(result.path)[1]) == ("source", None, None)


class TestRefusals:
    def test_an_existing_file_stays_without_overwrite(self, scene, tmp_path):
        (tmp_path / "a.ply").write_text("mine")
        with pytest.raises(DataFormatError, match="--overwrite replaces it"):
            export_scene(ExportOptions(scene, "ply", tmp_path / "a.ply"))
        assert (tmp_path / "a.ply").read_text() == "mine"
        assert export_scene(ExportOptions(scene, "ply", tmp_path / "a.ply", overwrite=True)).count == _N

    @pytest.mark.parametrize(("format", "name"), [("ply", "a.spz"), ("spz", "a"), ("points", "a.spz")])
    def test_endings(self, scene, tmp_path, format, name):
        with pytest.raises(DataFormatError, match=f"for --format {format}"):
            export_scene(ExportOptions(scene, format, tmp_path / name))

    def test_the_scenes_own_files(self, scene):
        before = (scene / "splats.ply").read_bytes()
        with pytest.raises(DataFormatError, match=r"exports/splats\.ply"):
            export_scene(ExportOptions(scene, "points", scene / "splats.ply", overwrite=True))
        assert (scene / "splats.ply").read_bytes() == before

    def test_no_georeference_no_scene_no_points(self, scene, tmp_path):
        _forget_georeference(scene)
        with pytest.raises(ConventionError, match="a scene with a georeference"):
            export_scene(ExportOptions(scene, "points", tmp_path / "a.las", georeferenced=True))
        with pytest.raises(ConventionError, match="none above 1"):
            export_scene(ExportOptions(scene, "points", tmp_path / "a.ply", min_opacity=1.0))
        with pytest.raises(DataFormatError, match="a scene folder"):
            export_scene(ExportOptions(Path("nowhere")))

    def test_without_laspy_the_message_says_how_to_get_it(self, scene, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "laspy", None)
        with pytest.raises(MissingDependencyError, match=r'pip install "scenewise\[io\]"'):
            export_scene(ExportOptions(scene, "points", tmp_path / "a.las"))
