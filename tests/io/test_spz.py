"""SPZ: hand-built files with every axis different, quantisation bounds, and hostile files."""

import gzip
import hashlib
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.geometry.spherical_harmonics import sh_basis
from scenewise.io import spz
from scenewise.io.ply.gaussians import open_gaussians_ply, write_gaussians_ply
from scenewise.io.spz import read_spz, write_spz
from scenewise.scenes.gaussians import SH_COEFFICIENTS, Gaussians

_SH_LEVELS = [[16 * (1 + (3 * k + channel) % 7) for channel in range(3)] for k in range(15)]
# by hand: +1 where the function holds an even number of factors y and z together
_SIGNS = [-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1]


def _anchor_file(version: int) -> bytes:
    """One splat whose numbers were worked out by hand.

    Stored axes are right-up-back: position (1.5, 2.25, −3) in 1/4096, quaternion xyzw (0.7, 0.5, −0.5, 0.1).
    """
    header = struct.pack("<IIIBBBB", 0x5053474E, version, 1, 3, 12, 0, 0)
    position = b"\x00\x18\x00" + b"\x00\x24\x00" + b"\x00\xd0\xff"  # 6144, 9216, −12288
    opacity, colour, log_scales = b"\xcc", b"\x80\x66\x99", bytes([160 + 16, 160 - 32, 160 + 8])
    if version == 2:
        rotation = bytes([217, 191, 64])  # 0.7, 0.5, −0.5 times 127.5 plus 127.5, rounded
    else:  # x is largest; y: 361/511·√½, z: the same, negative; w: 72/511·√½
        rotation = struct.pack("<I", (0 << 30) | (361 << 20) | ((512 | 361) << 10) | 72)
    harmonics = bytes(128 + level for row in _SH_LEVELS for level in row)
    return gzip.compress(header + position + opacity + colour + log_scales + rotation + harmonics)


def _random_gaussians(n, degree, seed=0, extent=5.0):
    generator = np.random.default_rng(seed)

    def values(low, high, *shape):
        return torch.from_numpy(generator.uniform(low, high, shape).astype(np.float32))

    rest = SH_COEFFICIENTS[degree] - 1
    quats = torch.from_numpy(generator.normal(size=(n, 4)).astype(np.float32))
    return Gaussians(
        values(-extent, extent, n, 3),
        values(-9, 5, n, 3),
        quats,
        values(-4, 4, n),
        values(-3, 3, n, 1, 3),
        values(-0.9, 0.9, n, rest, 3),
    )


class TestAnchor:
    @pytest.mark.parametrize("version", [2, 3])
    def test_reads_the_hand_built_file(self, tmp_path, version):
        (tmp_path / "a.spz").write_bytes(_anchor_file(version))
        gaussians = read_spz(tmp_path / "a.spz")
        assert gaussians.means.tolist() == [[1.5, -2.25, 3.0]]
        assert gaussians.log_scales.tolist() == [[1.0, -2.0, 0.5]]
        assert gaussians.opacities.tolist() == pytest.approx([0.8])
        assert gaussians.sh0[0, 0].tolist() == pytest.approx([0.5 / 38.25, -25.5 / 38.25, 25.5 / 38.25], abs=1e-6)
        # wxyz with y and z turned: a swapped order or a missing sign is off by at least 0.4
        assert gaussians.quats[0].tolist() == pytest.approx([0.1, 0.7, -0.5, 0.5], abs=0.03 if version == 2 else 0.002)
        expected = [[sign * level / 128 for level in row] for sign, row in zip(_SIGNS, _SH_LEVELS)]
        assert gaussians.shN[0].tolist() == expected

    @pytest.mark.parametrize("version", [2, 3])
    def test_writes_the_hand_built_file(self, tmp_path, version):
        (tmp_path / "a.spz").write_bytes(_anchor_file(version))
        write_spz(tmp_path / "b.spz", read_spz(tmp_path / "a.spz"), version=version)
        ours, hand = (gzip.decompress(data) for data in ((tmp_path / "b.spz").read_bytes(), _anchor_file(version)))
        assert ours[:13] == hand[:13]
        assert ours[13] == 20  # finer steps, since everything lies within ±4
        steps = [int.from_bytes(ours[start : start + 3], "little", signed=True) for start in (16, 19, 22)]
        assert steps == [int(1.5 * 2**20), int(2.25 * 2**20), (-3 * 2**20)]
        assert ours[25:] == hand[25:]

    def test_signs_are_those_of_a_half_turn_about_x(self):
        directions = torch.nn.functional.normalize(
            torch.tensor([[0.3, -0.5, 0.8], [-0.7, 0.2, 0.4]], dtype=torch.float64), dim=-1
        )
        turned = directions * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
        ratio = sh_basis(turned, 3)[:, 1:] / sh_basis(directions, 3)[:, 1:]
        assert torch.allclose(ratio, torch.tensor(_SIGNS, dtype=torch.float64).expand(2, 15))
        assert spz._SIGN_SH.tolist() == _SIGNS


class TestRoundTrip:
    @settings(deadline=None, max_examples=40, derandomize=True)
    @given(
        n=st.integers(0, 30),
        degree=st.integers(0, 3),
        seed=st.integers(0, 1000),
        exponent=st.floats(-3, 4.2),
        version=st.sampled_from([2, 3]),
    )
    def test_errors_stay_within_half_a_step(self, tmp_path_factory, n, degree, seed, exponent, version):
        path = tmp_path_factory.mktemp("spz") / "a.spz"
        gaussians = _random_gaussians(n, degree, seed, extent=10.0**exponent)
        write_spz(path, gaussians, version=version)
        again = read_spz(path)
        assert len(again) == n
        assert again.sh_degree == degree
        if n == 0:
            return
        assert (again.means - gaussians.means).abs().max() <= max(2.0**-21, 10.0**exponent * 2.0**-22) * 1.01
        assert (again.log_scales - gaussians.log_scales).abs().max() <= 1 / 32 + 1e-5
        assert (again.opacities - gaussians.opacities).abs().max() <= 0.5 / 255 + 1e-5
        assert (again.sh0 - gaussians.sh0).abs().max() <= 0.5 / 38.25 + 1e-5
        if degree:
            assert (again.shN - gaussians.shN).abs().max() <= 17 / 256
        rotations = rotation_from_quat(again.quats) - rotation_from_quat(gaussians.quats)
        assert rotations.abs().max() <= (0.005 if version == 3 else 0.25)

    def test_saturated_opacity_stays_finite(self, tmp_path):
        gaussians = _random_gaussians(2, 0)
        gaussians.logit_opacities[:] = torch.tensor([-50.0, 50.0])
        write_spz(tmp_path / "a.spz", gaussians)
        stored = gzip.decompress((tmp_path / "a.spz").read_bytes())[16 + 18 : 16 + 20]
        assert list(stored) == [1, 254]
        assert read_spz(tmp_path / "a.spz").opacities.tolist() == pytest.approx([1 / 255, 254 / 255], rel=1e-4)

    @pytest.mark.parametrize(
        ("version", "degree", "n", "digest"),
        [
            (2, 0, 1000, "6050a0f23f17d0e8"),
            (2, 1, 333, "f98b76eb4a9e1104"),
            (2, 3, 150, "be1bfce9f10c3f75"),
            (3, 0, 1000, "189541198f9ecb1d"),
            (3, 1, 333, "4da1492643e8f5f6"),
            (3, 3, 150, "5bd074c31763b507"),
        ],
    )
    def test_block_by_block_it_is_the_file_of_all_at_once(self, tmp_path, monkeypatch, version, degree, n, digest):
        """Digests are of the content as it was packed in one piece; the bytes are those of one call of zlib."""
        gaussians = _random_gaussians(n, degree, seed=degree + 7, extent=40.0)
        whole = spz.spz_bytes(gaussians, version=version, antialiased=degree == 1)
        content = gzip.decompress(whole)
        assert hashlib.sha256(content).hexdigest()[:16] == digest
        assert whole == zlib.compress(content, 6, wbits=31)
        monkeypatch.setattr(spz, "ROWS_PER_BLOCK", 7)
        write_spz(tmp_path / "a.spz", gaussians, version=version, antialiased=degree == 1)
        assert (tmp_path / "a.spz").read_bytes() == whole

    def test_as_tightly_packed(self):
        alike = _random_gaussians(5_000, 0)
        alike.means.round_()  # so that there is something to find
        content = gzip.decompress(spz.spz_bytes(alike))
        assert spz.spz_bytes(alike) == zlib.compress(content, 6, wbits=31) != zlib.compress(content, 5, wbits=31)

    def test_from_the_disk(self, tmp_path):
        gaussians = _random_gaussians(50, 2)
        write_gaussians_ply(tmp_path / "a.ply", gaussians)
        on_disk = open_gaussians_ply(tmp_path / "a.ply")
        assert spz.spz_bytes(on_disk) == spz.spz_bytes(gaussians)
        assert spz.spz_bytes(on_disk.with_sh_degree(1)) == spz.spz_bytes(gaussians.with_sh_degree(1))

    def test_same_splats_give_the_same_file(self, tmp_path):
        for name in ("a", "b"):
            write_spz(tmp_path / name, _random_gaussians(5, 1))
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.errors
class TestErrors:
    def test_too_far_out(self, tmp_path):
        gaussians = _random_gaussians(2, 0)
        gaussians.means[1, 2] = 17_000.0
        with pytest.raises(ConventionError, match=r"within ±16,384 units, got 17,000.*export as ply"):
            write_spz(tmp_path / "a.spz", gaussians)

    @pytest.mark.parametrize("log_scale", [-11.0, 7.0])
    def test_sizes_the_format_does_not_have(self, tmp_path, log_scale):
        gaussians = _random_gaussians(200, 0)
        gaussians.log_scales[0] = log_scale  # one among many is clamped
        gaussians.log_scales[2, 1] = -11.0  # so is a thin axis of a larger splat
        write_spz(tmp_path / "few.spz", gaussians)
        gaussians.log_scales[:4] = log_scale
        with pytest.raises(ConventionError, match=r"splats between e\^-10 and e\^5.9375 units, got 2% outside.*export as ply"):
            write_spz(tmp_path / "a.spz", gaussians)

    def test_zero_rotation_and_nan(self, tmp_path):
        gaussians = _random_gaussians(2, 0)
        gaussians.quats[1] = 0
        with pytest.raises(ConventionError, match="quats of Gaussian 1"):
            write_spz(tmp_path / "a.spz", gaussians)
        gaussians.quats[1] = float("nan")
        with pytest.raises(ConventionError, match="NaN"):
            write_spz(tmp_path / "a.spz", gaussians)
        assert list(tmp_path.iterdir()) == []

    def test_what_is_refused_is_counted_over_all_blocks(self, tmp_path, monkeypatch):
        def never(path):
            raise AssertionError("it is refused before the disk is touched")

        monkeypatch.setattr(spz, "atomic_path", never)
        monkeypatch.setattr(spz, "ROWS_PER_BLOCK", 3)
        gaussians = _random_gaussians(20, 0)
        gaussians.quats[13] = 0
        with pytest.raises(ConventionError, match="quats of Gaussian 13: expected a rotation"):
            write_spz(tmp_path / "a.spz", gaussians)
        gaussians.means[[8, 16], 1] = float("nan")
        with pytest.raises(ConventionError, match=r"means of Gaussian 8: .*\(2 such rows\)"):
            write_spz(tmp_path / "a.spz", gaussians)

    @pytest.mark.parametrize(
        ("header", "words"),
        [
            ((0x5053474F, 3, 0, 0, 12, 0, 0), "mark NGSP"),
            ((0x5053474E, 1, 0, 0, 12, 0, 0), "version 2 or 3, got 1"),
            ((0x5053474E, 3, 0, 4, 12, 0, 0), "SH degree 0 to 3, got 4"),
            ((0x5053474E, 3, 0, 0, 24, 0, 0), "23 fractional bits"),
            ((0x5053474E, 3, 5, 0, 12, 0, 0), "100 bytes, got 4"),
            ((0x5053474E, 3, 0xFFFFFFFF, 0, 12, 0, 0), "85,899,345,900 promised"),
            ((0x5053474E, 3, 0, 0, 12, 0, 0), "no more data"),
        ],
    )
    def test_headers(self, tmp_path, header, words):
        (tmp_path / "a.spz").write_bytes(gzip.compress(struct.pack("<IIIBBBB", *header) + b"\0" * 4))
        with pytest.raises(DataFormatError, match=words):
            read_spz(tmp_path / "a.spz")

    def test_other_files(self, tmp_path):
        path = tmp_path / "a.spz"
        path.write_bytes(struct.pack("<II", 0x5053474E, 4))
        with pytest.raises(DataFormatError, match="version 4"):
            read_spz(path)
        path.write_bytes(b"ply\n")
        with pytest.raises(DataFormatError, match="an SPZ file"):
            read_spz(path)
        path.write_bytes(_anchor_file(3)[:-1])
        with pytest.raises(DataFormatError, match="gzip checksum"):
            read_spz(path)
        path.write_bytes(_anchor_file(3) + b"x")
        with pytest.raises(DataFormatError, match="further bytes"):
            read_spz(path)


def test_damaged_streams(tmp_path):
    write_spz(tmp_path / "good.spz", _random_gaussians(20, 1))
    good = (tmp_path / "good.spz").read_bytes()
    assert_reader_survives(read_spz, good, tmp_path / "bad.spz")


def test_damaged_content_in_a_sound_stream(tmp_path):
    write_spz(tmp_path / "good.spz", _random_gaussians(20, 1), version=2)
    good = gzip.decompress((tmp_path / "good.spz").read_bytes())

    def read(path):
        data = path.read_bytes()
        path.write_bytes(gzip.compress(data))
        return read_spz(path)

    assert_reader_survives(read, good, tmp_path / "bad.spz")


def test_a_bomb_is_not_unpacked(tmp_path):
    """100 MB of zeros in 100 kB that the header does not announce: the reader stops after what was announced."""
    header = struct.pack("<IIIBBBB", 0x5053474E, 3, 1, 0, 12, 0, 0)
    bomb = gzip.compress(header + bytes(100_000_000), compresslevel=1)

    def read(path):
        path.write_bytes(bomb)
        return read_spz(path)

    assert_reader_survives(read, b"x", tmp_path / "bad.spz", count=2, max_bytes=8_000_000 + len(bomb))
