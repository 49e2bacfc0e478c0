"""Build backend: setuptools plus the one compiled library.

The library is plain C++ called through ctypes, so it links against neither Python nor torch.  A system compiler is used; where
there is none, the build asks for ``ziglang`` (a compiler from the package index), and if compiling still fails the package
installs all the same and its reference kernels run with one warning.
"""

import os
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import build_meta as _setuptools
from setuptools.build_meta import *  # noqa: F403

NATIVE = Path(__file__).resolve().parent.parent / "src" / "scenewise" / "kernels" / "native"

FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-pthread"]
# Finite-math assumptions stay off: NaN handling is part of the kernels' contract.
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]

# One shared object per instruction set and not one with all: templates of the C++ library compiled for AVX-512 must never be
# the copy the linker keeps for an older processor.
VARIANTS_X86 = {
    "base": ["-march=x86-64-v2"],
    "avx2": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    "avx512bf16": ["-march=x86-64-v4", "-mprefer-vector-width=512", "-mavx512bf16"],
}


def _system_compiler() -> list[str] | None:
    named = os.environ.get("CXX")
    for candidate in ([named] if named else []) + ["c++", "g++", "clang++"]:
        if candidate and shutil.which(candidate.split()[0]):
            return candidate.split()
    return None


def _compiler() -> list[str] | None:
    system = _system_compiler()
    if system is not None:
        return system
    try:
        import ziglang  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return None
    return [sys.executable, "-m", "ziglang", "c++"]


def _variants() -> dict[str, list[str]]:
    if platform.machine().lower() in ("x86_64", "amd64"):
        return VARIANTS_X86
    return {"base": []}


def _flags_for(compiler: list[str], flags: list[str]) -> list[str]:
    """The flags in the compiler's own words: zig writes x86_64_v3 where others write x86-64-v3."""
    if "ziglang" not in compiler:
        return flags
    return [flag.replace("-", "_").replace("_march", "-march", 1) if flag.startswith("-march=") else flag for flag in flags]


def library_name(variant: str) -> str:
    """File name of the shared object of one instruction-set variant."""
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    return f"libscenewise_{variant}{suffix}"


def compile_native() -> list[Path]:
    """Compile every variant beside the sources; returns what was built, and says why where nothing was."""
    sources = sorted(NATIVE.glob("*.cpp"))
    compiler = _compiler()
    if compiler is None:
        print("scenewise: no C++ compiler found; the reference kernels will be used", file=sys.stderr)
        return []
    interface = runpy.run_path(str(NATIVE / "interface.py"))["interface_of"](NATIVE)
    with tempfile.TemporaryDirectory() as scratch:

        def build(variant: str, flags: list[str], source: Path) -> Path:
            target = Path(scratch) / f"{variant}-{source.stem}.o"
            command = [
                *compiler,
                *FLAGS,
                *_flags_for(compiler, flags),
                f'-DSW_VARIANT="{variant}"',
                f'-DSW_INTERFACE="{interface}"',
                "-c",
                str(source),
                "-o",
                str(target),
            ]
            subprocess.run(command, check=True)
            return target

        def link(variant: str, objects: list[Path]) -> Path:
            target = NATIVE / library_name(variant)
            beside = target.with_suffix(f".{os.getpid()}.tmp")
            subprocess.run([*compiler, "-shared", "-pthread", *map(str, objects), "-o", str(beside)], check=True)
            beside.replace(target)
            return target

        try:
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                pending = {
                    variant: [pool.submit(build, variant, flags, source) for source in sources]
                    for variant, flags in _variants().items()
                }
                objects = {variant: [job.result() for job in jobs] for variant, jobs in pending.items()}
            return [link(variant, built) for variant, built in objects.items()]
        except (OSError, subprocess.CalledProcessError) as error:
            print(
                f"scenewise: compiling the native kernels failed ({error}); the reference kernels will be used", file=sys.stderr
            )
            return []


def _with_compiler(requirements: list[str]) -> list[str]:
    return requirements if _system_compiler() is not None else [*requirements, "ziglang"]


def get_requires_for_build_wheel(config_settings=None):  # type: ignore[no-untyped-def]
    return _with_compiler(_setuptools.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings=None):  # type: ignore[no-untyped-def]
    return _with_compiler(_setuptools.get_requires_for_build_editable(config_settings))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    compile_native()
    return _setuptools.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    compile_native()
    return _setuptools.build_editable(wheel_directory, config_settings, metadata_directory)


if __name__ == "__main__":
    built = compile_native()
    print("\n".join(str(path) for path in built) or "nothing built")
    sys.exit(0 if built else 1)
