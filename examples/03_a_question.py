"""A sentence is asked of a named scene; the places that answer it come back ranked, with boxes in the scene's own coordinates.

python examples/03_a_question.py example_scene "where can I sit"
"""

import argparse
from pathlib import Path

from scenewise.commands.query.options import QueryOptions
from scenewise.commands.query.run import query
from scenewise.engine.progress import console_progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path, nargs="?", default=Path("example_scene"), help="folder after 02_words_on_splats.py")
    parser.add_argument("question", nargs="?", default="where can I sit")
    parser.add_argument("--views", type=int, default=1, help="heat maps to draw")
    arguments = parser.parse_args()

    # No image is opened: the features were kept with the scene when it was named.
    found = query(QueryOptions(arguments.scene, arguments.question, views=arguments.views), console_progress())
    for place in found.answers:
        middle = ", ".join(f"{value:.2f}" for value in place.box_center_in_world)
        size = " × ".join(f"{edge:.2f}" for edge in place.box_size)
        print(f"{place.score:.2f}  {place.name or 'something'} at ({middle}), {size}")
    print(found.text())


if __name__ == "__main__":
    main()
