"""Any network in any program can be the teacher: it writes one file per photograph, and `segment` reads them.

    python examples/04_your_own_teacher.py --out example_teacher

The "network" here knows three colours.  Yours may give features, probabilities or labels, at any resolution, from any language:
the files are safetensors, and `scenewise.io.teacher_files` says what stands in them.
"""

import argparse
from pathlib import Path

import numpy as np

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.engine.progress import console_progress
from scenewise.io.captures import open_capture
from scenewise.io.teacher_files import TeacherAnswer, TeacherFilesInfo, write_answer, write_teacher_info

NAMES = ("reddish", "greenish", "bluish")
CELL = 8  # pixels along each edge of a cell of the answer


def which_colour(image_u8: np.ndarray) -> np.ndarray:
    """Probabilities of the three names [rows, columns, 3]: how much of each colour a cell of the photograph has."""
    rows, columns = image_u8.shape[0] // CELL, image_u8.shape[1] // CELL
    cells = image_u8[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL, 3).mean(axis=(1, 3))
    strength = np.exp((cells - cells.mean(axis=2, keepdims=True)) / 16.0)
    return (strength / strength.sum(axis=2, keepdims=True)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, help="default a room made on the spot")
    parser.add_argument("--out", type=Path, default=Path("example_teacher"))
    parser.add_argument("--size", type=int, default=160, help="width of the room's photographs in pixels")
    arguments = parser.parse_args()

    photographs = arguments.photographs or arguments.out / "room"
    if not photographs.exists():
        write_demo_capture(photographs, frames=12, width=arguments.size, height=3 * arguments.size // 4)

    answers = arguments.out / "answers"
    info = TeacherFilesInfo(kind="probabilities", dim=len(NAMES), classes=NAMES, licence="CC0-1.0")
    write_teacher_info(answers, info)
    for frame in open_capture(photographs).frames:
        assert frame.load_image is not None
        write_answer(answers, frame.name, info, TeacherAnswer(values=which_colour(frame.load_image())))

    named = segment(
        SegmentOptions(
            (photographs,), out=arguments.out / "named", teacher=f"files:{answers}", max_points=20_000, overwrite=True
        ),
        console_progress(),
    )
    print(named.text())


if __name__ == "__main__":
    main()
