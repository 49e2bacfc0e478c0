"""Tells setuptools that the wheel holds a compiled library for this platform (any Python ≥ 3.11)."""

from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.dist import Distribution

_NATIVE = Path(__file__).parent / "src" / "scenewise" / "kernels" / "native"


class PlatformDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return any(_NATIVE.glob("libscenewise_*"))


class PlatformWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform_tag = super().get_tag()
        return "py3", "none", platform_tag if self.distribution.has_ext_modules() else "any"


setup(distclass=PlatformDistribution, cmdclass={"bdist_wheel": PlatformWheel})
