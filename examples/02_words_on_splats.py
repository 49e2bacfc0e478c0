"""Names for every splat of a scene, from words alone: no training, no label.

python examples/01_photographs_to_splats.py --out example_scene
python examples/02_words_on_splats.py example_scene --classes "wall, floor, sofa|couch, table, lamp"
"""

import argparse
from collections import Counter
from pathlib import Path

from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.engine.progress import console_progress
from scenewise.io.scene_folder import read_scene_labels
from scenewise.io.vocabularies import read_vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path, nargs="?", default=Path("example_scene"))
    parser.add_argument("--classes", help="names separated by commas, synonyms by bars; default the teacher's own list")
    parser.add_argument("--teacher", default="small-clip", help="or a CLIP or SigLIP on Hugging Face, or files:DIR")
    parser.add_argument("--frames", type=int, help="look at this many views only")
    arguments = parser.parse_args()

    named = segment(
        SegmentOptions(
            (arguments.scene,),
            classes=arguments.classes,
            teacher=arguments.teacher,
            frames=arguments.frames,
            overwrite=True,
        ),
        console_progress(),
    )
    print(named.text())

    # A label per splat, in the order of splats.ply: class, object and confidence.
    vocabulary, _ = read_vocabulary(arguments.scene / "classes.json")
    labels = read_scene_labels(arguments.scene, "splats")
    assert labels is not None, "segment has just written them"
    counted = Counter(labels.class_ids.tolist())
    for class_id, count in counted.most_common(8):
        print(f"{count:7,}  {'unknown' if class_id < 0 else vocabulary.names[class_id]}")


if __name__ == "__main__":
    main()
