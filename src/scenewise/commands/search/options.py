"""Options of ``scenewise search``."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from scenewise.commands.scene_libraries import DESCRIPTORS_PREFIX, EVERY_SCENE, Filters, Place
from scenewise.engine.option_values import Count, Number, OptionalPath, Text, require, require_at_least

KEPT_DESCRIPTORS = "library"
_FOV_RANGE = (5.0, 170.0)


@dataclass(frozen=True)
class SearchOptions:
    """Search a library of scenes by words, by a picture, by a scan or by a thing.

    Attributes:
        text: words, such as "a room with two red chairs and a plant".
        image: picture file; says which scene it shows and where in it it was taken.
        scene: a scene of the library by its name, or a capture, scene folder or cloud that is not in it: finds the same place.
        object: a thing of a scene in the library, as SCENE:NUMBER; finds things like it.  Answers to words name them so, and
            scenewise library list SCENE.
        descriptors: rank by what another network said of the library's pictures (scenewise library add --descriptors):
            "files:DIR" with its descriptor of the --image, or "library" for those of a --scene that is in the library.
        fov: of the picture's camera, horizontally, in degrees; default what EXIF says of the focal length, else several are
            tried.
        library: folder, or place on object storage such as s3://bucket/name.
        teacher: the encoder of the library where it has moved: "condense:RUN".
        top: at most so many hits.
        at: version of the library to search; scenewise library info --versions lists them.
        where: which scenes are searched.
        out: folder for hits.json, hits.png, a contact sheet, and camera.json where a camera was found.
        view: look at the best hit in the browser, from the camera that was found.
        threads: worker threads; default all cores this process may use.
    """

    text: Positional[Text] = None
    image: OptionalPath = None
    scene: Text = None
    object: Text = None
    descriptors: Annotated[Text, arg(metavar=f"{DESCRIPTORS_PREFIX}DIR|{KEPT_DESCRIPTORS}")] = None
    fov: Number = None
    library: Place = None
    teacher: Text = None
    top: int = 10
    at: Count = None
    where: Filters = EVERY_SCENE
    out: OptionalPath = None
    view: bool = False
    threads: Count = None

    def __post_init__(self) -> None:
        asked = {"TEXT": self.text, "--image": self.image, "--scene": self.scene, "--object": self.object}
        given = [option for option, value in asked.items() if value is not None]
        require(len(given) == 1, "search", "one of TEXT, --image, --scene and --object", " and ".join(given) or "none")
        require(self.text is None or bool(self.text.strip()), "TEXT", "words", repr(self.text))
        is_thing = self.object is None or self.object.rpartition(":")[2].isdigit()
        require(is_thing and (self.object is None or ":" in self.object), "--object", "SCENE:NUMBER", repr(self.object))
        require(self.fov is None or self.image is not None, "--fov", "--image", "none")
        self._require_descriptors()
        low, high = _FOV_RANGE
        require(self.fov is None or low <= self.fov <= high, "--fov", f"{low:g} to {high:g} degrees", self.fov)
        require_at_least("--top", self.top, 1)
        require_at_least("--threads", self.threads, 1)

    def _require_descriptors(self) -> None:
        if self.descriptors is None:
            return
        fits = (
            self.descriptors.startswith(DESCRIPTORS_PREFIX)
            if self.image is not None
            else self.scene is not None and self.descriptors == KEPT_DESCRIPTORS
        )
        expected = f'"{DESCRIPTORS_PREFIX}DIR" with --image, or "{KEPT_DESCRIPTORS}" with --scene'
        require(fits, "--descriptors", expected, repr(self.descriptors))
        require(self.fov is None, "--fov and --descriptors", "one of the two", "both")
