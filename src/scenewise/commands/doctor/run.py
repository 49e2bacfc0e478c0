"""What this machine can do, for people whose run went wrong and for every benchmark's record."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from scenewise import __version__
from scenewise.commands.doctor.options import DoctorOptions
from scenewise.engine.memory import text_from_bytes
from scenewise.engine.progress import Progress

# What pulls each optional package in, and what goes without it.
OPTIONAL_PACKAGES = {
    "opencv-python-headless": ("io", "fisheye and distorted cameras, MP4 films, initial points from photographs alone"),
    "laspy": ("io", "LAS and LAZ point clouds"),
    "trimesh": ("io", "meshes"),
    "pyproj": ("io", "georeferencing from GPS"),
    "pycolmap": ("sfm", "scenewise poses: photographs and films that come without poses"),
    "transformers": ("foundation", "CLIP, SigLIP and SAM as teachers; the embedded small CLIP needs nothing"),
    "sentencepiece": ("foundation", "SigLIP's tokenizer"),
    "lancedb": ("library", "a library of scenes that can be searched"),
    "viser": ("viewer", "scenewise view"),
    "gsplat": ("cuda", "training and rendering on CUDA"),
    "tensorboard": ("log", "TensorBoard curves"),
}
CORE_PACKAGES = ("torch", "numpy", "scipy", "pillow", "jaxtyping", "safetensors", "tyro", "rich", "jinja2")
# Instruction sets the compiled kernels make use of.
_INSTRUCTION_SETS = ("sse4_2", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "asimd", "sve")


@dataclass(frozen=True)
class KernelBackend:
    """Which implementation of one operator runs, and why.

    Attributes:
        kernel: name of the operator.
        backend: implementation in use.
        reason: why this one.
    """

    kernel: str
    backend: str
    reason: str


@dataclass(frozen=True)
class PackageState:
    """One package: its version, or what is missing without it.

    Attributes:
        name: name on the package index.
        version: installed version or None.
        needed_for: what it adds ("" for required packages).
        install: the line that installs it.
    """

    name: str
    version: str | None
    needed_for: str = ""
    install: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Everything ``scenewise doctor`` knows.

    Attributes:
        scenewise: version of this package.
        python: version and location of the interpreter.
        system: operating system and processor architecture.
        processor: model name of the processor.
        instruction_sets: those of interest that it has.
        cores: processors of the machine and those this process may use.
        memory_bytes: physical memory and what is free now; None where unknown.
        native_library: state of the compiled library.
        kernels: which backend runs each operator and why.
        torch_threads: threads torch computes with.
        cuda: names of the CUDA devices; empty without.
        packages: required packages.
        optional_packages: optional packages.
        data_root: folder of real captures and whether it exists.
        disk_free_bytes: free space in the current folder.
        problems: what deserves attention, each with its fix; empty when all is well.
    """

    scenewise: str
    python: str
    system: str
    processor: str
    instruction_sets: tuple[str, ...]
    cores: tuple[int, int]
    memory_bytes: tuple[int, int] | None
    native_library: dict[str, object]
    kernels: tuple[KernelBackend, ...]
    torch_threads: int
    cuda: tuple[str, ...]
    packages: tuple[PackageState, ...]
    optional_packages: tuple[PackageState, ...]
    data_root: tuple[str, bool]
    disk_free_bytes: int
    problems: tuple[str, ...]

    def text(self) -> str:
        """The diagnosis for people."""
        memory = (
            "unknown"
            if self.memory_bytes is None
            else " total, ".join(text_from_bytes(float(size)) for size in self.memory_bytes) + " free"
        )
        lines = [
            f"Scenewise {self.scenewise}",
            f"  python       {self.python}",
            f"  system       {self.system}",
            f"  processor    {self.processor}; {self.cores[0]} cores, {self.cores[1]} usable",
            f"  instructions {' '.join(self.instruction_sets) or 'unknown'}",
            f"  memory       {memory}",
            f"  disk here    {text_from_bytes(float(self.disk_free_bytes))} free",
            f"  real data    {self.data_root[0]} ({'found' if self.data_root[1] else 'not there; only the embedded room'})",
            f"  cuda         {', '.join(self.cuda) or 'none'}",
            f"  torch uses   {self.torch_threads} threads",
            "",
            "Kernels",
            "  compiled library: " + ", ".join(f"{name} {value}" for name, value in self.native_library.items()),
            *(f"  {kernel.kernel:<16}{kernel.backend:<11}{kernel.reason}" for kernel in self.kernels),
            "",
            "Packages",
            *(f"  {package.name:<24}{package.version or 'MISSING'}" for package in self.packages),
            *(
                f"  {package.name:<24}{package.version or '–':<12}{package.needed_for}"
                + ("" if package.version else f"   [{package.install}]")
                for package in self.optional_packages
            ),
            "",
            *(["Problems", *(f"  ! {problem}" for problem in self.problems)] if self.problems else ["No problems found."]),
        ]
        return "\n".join(lines)


def examine(options: DoctorOptions | None = None, progress: Progress | None = None) -> Diagnosis:
    """Looks at the machine; changes nothing and reaches for no network.

    Args:
        options: none exist yet; taken so that all commands are called alike.
        progress: likewise; nothing here takes long.
    """
    packages = tuple(PackageState(name, _version(name)) for name in CORE_PACKAGES)
    optional = tuple(
        PackageState(name, _version(name), needed_for, f'pip install "scenewise[{extra}]"')
        for name, (extra, needed_for) in OPTIONAL_PACKAGES.items()
    )
    torch_threads, cuda = _torch_state()
    library = _native_library()
    data_root = Path(os.environ.get("SCENEWISE_DATA", "data"))
    cores = (os.cpu_count() or 1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    disk_free = shutil.disk_usage(Path.cwd()).free
    return Diagnosis(
        scenewise=__version__,
        python=f"{platform.python_version()} ({sys.executable})",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor(),
        instruction_sets=_instruction_sets(),
        cores=cores,
        memory_bytes=_memory(),
        native_library=library,
        kernels=kernel_backends(),
        torch_threads=torch_threads,
        cuda=cuda,
        packages=packages,
        optional_packages=optional,
        data_root=(str(data_root), data_root.is_dir()),
        disk_free_bytes=disk_free,
        problems=tuple(_problems(packages, optional, library, cuda, disk_free)),
    )


def kernel_backends() -> tuple[KernelBackend, ...]:
    """Which implementation of every operator would run now on the usual input (float32, on the default device), and why."""
    import torch

    from scenewise.kernels import adam, anchor_decoder, march, ray_casting, sparse_conv, splats, ssim

    device = splats.default_device()
    values = torch.zeros(1, 3, device=device)
    probe = splats.SplatInput(
        means=values,
        quats=torch.ones(1, 4, device=device),
        scales=values,
        opacities=values[:, 0],
        sh0=values[:, None],
        shN=values[:, :0, None].expand(1, 0, 3),
        sh_degree=0,
        extra=None,
        camera_from_world=torch.eye(4, device=device),
        K=torch.eye(3, device=device),
        near=0.01,
        width=1,
        height=1,
        background=values[0],
        stored=True,
        screen_gradients=None,
        contribution=False,
    )
    reports = [KernelBackend("splats", *splats.backend_for(probe))]
    image = values[None]
    for name, is_native in (
        ("ssim", ssim.native.can_run(image, image)),
        ("adam", adam.native.can_run(values, values)),
        ("ray_casting", ray_casting.native.is_available()),
        ("anchor_decoder", anchor_decoder.native.takes(values)),
        ("march", march.native.takes(values)),
    ):
        backend = "native" if is_native else "reference"
        why = (
            "the compiled library is loaded"
            if is_native
            else f"plain torch on {device.type}: the compiled library cannot run here"
        )
        reports.append(KernelBackend(name, backend, why))
    reports.append(
        KernelBackend("sparse_conv", *sparse_conv.describe(torch.device("cuda" if torch.cuda.is_available() else "cpu")))
    )
    return tuple(reports)


def _native_library() -> dict[str, object]:
    from dataclasses import asdict

    from scenewise.kernels.native import library

    return asdict(library.describe())


def _torch_state() -> tuple[int, tuple[str, ...]]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return torch.get_num_threads(), tuple(torch.cuda.get_device_name(index) for index in range(count))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first = text.split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _processor() -> str:
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def _instruction_sets() -> tuple[str, ...]:
    info = _cpuinfo()
    present = set((info.get("flags") or info.get("Features") or "").split())
    return tuple(name for name in _INSTRUCTION_SETS if name in present)


def _memory() -> tuple[int, int] | None:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _problems(
    packages: tuple[PackageState, ...],
    optional: tuple[PackageState, ...],
    library: dict[str, object],
    cuda: tuple[str, ...],
    disk_free: int,
) -> list[str]:
    problems = [f"{package.name} is missing. Fix: pip install scenewise" for package in packages if package.version is None]
    if not library.get("loaded"):
        problems.append(
            f"the compiled kernels are not in use ({library.get('reason')}): training is many times slower. "
            "Fix: install a C++ compiler (or pip install ziglang) and reinstall"
        )
    installed = {package.name for package in optional if package.version}
    if cuda and "gsplat" not in installed:
        problems.append('a CUDA device is present but gsplat is not installed. Fix: pip install "scenewise[cuda]"')
    if disk_free < 2 * 10**9:
        problems.append(f"only {text_from_bytes(float(disk_free))} free on this disk; a scene with checkpoints may need more")
    return problems
