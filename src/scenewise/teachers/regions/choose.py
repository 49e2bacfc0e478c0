"""One name, one source of regions."""

from scenewise.errors import ConventionError
from scenewise.teachers.regions.protocol import RegionSource

SAM_PREFIX = "sam:"


def open_region_source(name: str, *, device: str = "cpu", local_files_only: bool = False) -> RegionSource:
    """The source of regions a person asked for, with its default settings.

    Args:
        name: ``slic``, ``felzenszwalb``, or ``sam:`` and a folder or Hugging Face id.
        device: for SAM.
        local_files_only: never ask the network.

    Raises:
        ConventionError: there is no such source.
        ResourceError: the SAM cannot be reached.
        DataFormatError: its files are not what they should be.
        MissingDependencyError: transformers is not installed.
    """
    name = name.strip()
    if name == "slic":
        from scenewise.teachers.regions.slic import SlicRegions

        return SlicRegions()
    if name == "felzenszwalb":
        from scenewise.teachers.regions.felzenszwalb import FelzenszwalbRegions

        return FelzenszwalbRegions()
    if name.startswith(SAM_PREFIX) and len(name) > len(SAM_PREFIX):
        from scenewise.teachers.regions.sam import load_sam

        return load_sam(name.removeprefix(SAM_PREFIX), device=device, local_files_only=local_files_only)
    raise ConventionError("regions", expected='"slic", "felzenszwalb" or "sam:" and a folder or Hugging Face id', got=repr(name))
