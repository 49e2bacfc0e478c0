"""The panel beside the scene: what a person can ask and choose."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

from scenewise.errors import ConventionError, ScenewiseError
from scenewise.parts.words.answers import AnswerSegment
from scenewise.parts.words.picture_questions import AskedPicture
from scenewise.show.viewer.contents import Contents
from scenewise.show.viewer.graph_panel import GraphPanel
from scenewise.show.viewer.legend import legend
from scenewise.show.viewer.painting import MODES, Look, Mode
from scenewise.show.viewer.panel_text import answer_html, busy_html, class_label, error_html, hint_html, reason_html, status_html
from scenewise.show.viewer.searcher import uploaded_picture

_MAX_CLASS_BUTTONS = 40
_MODE_TEXTS: dict[Mode, str] = {"color": "own colours", "classes": "classes", "confidence": "confidence", "heat": "answer (heat)"}
_HINTS = {"cameras": "Click a camera to look from there", "graph": "Click a box to read about an object"}
_HIDDEN_BUTTON = (70, 72, 78)


@runtime_checkable
class Choices(Protocol):
    """Who carries out what a person chooses; :class:`scenewise.show.viewer.server.SceneViewer` says what each does."""

    def set_mode(self, mode: Mode) -> None: ...
    def toggle_class(self, class_id: int) -> None: ...
    def show_all_classes(self, shown: bool = True) -> None: ...
    def set_min_confidence(self, min_confidence: float) -> None: ...
    def set_cut(self, fraction: float) -> None: ...
    def set_visible(self, what: str, shown: bool) -> None: ...
    def ask(self, text: str, picture: AskedPicture | None = None) -> tuple[AnswerSegment, ...]: ...
    def clear_question(self) -> None: ...
    def look_from(self, camera: str | None = None, client: Any = None) -> None: ...
    def select_object(self, object_id: int | None) -> None: ...
    def look_at_object(self, object_id: int, client: Any = None) -> None: ...


@dataclass
class _Always:
    """Stands in for a toggle that the panel does not have."""

    value: bool = True


@final
class Panel:
    """The controls, the same in all browsers.

    Args:
        gui: of viser.
        contents: what is shown.
        choices: carries out what is chosen.
        teacher: who answers questions, or None.
        no_searcher_reason: why nobody does; None where somebody does.
        takes_pictures: whether questions may be pictures.
        visible: what can be shown and hidden, and whether it is shown at first.

    Attributes:
        mode, question, answer, upload, class_buttons: controls of viser; ``upload`` is None where no picture can be asked for.
        objects: the part about the scene graph, or None where the scene has none.
    """

    def __init__(
        self,
        gui: Any,
        contents: Contents,
        choices: Choices,
        *,
        teacher: str | None,
        no_searcher_reason: str | None,
        takes_pictures: bool,
        visible: Mapping[str, bool],
    ) -> None:
        self._gui, self._contents, self._choices = gui, contents, choices
        self._can_ask, self._takes_pictures = no_searcher_reason is None, takes_pictures
        gui.configure_theme(
            dark_mode=True, show_logo=False, show_share_button=False, control_width="large", brand_color=(90, 140, 240)
        )
        gui.set_panel_label(f"Scenewise · {contents.name}")
        gui.main_panel.dock_right()
        gui.main_panel.set_width(340.0)
        gui.add_html(status_html(contents, teacher))
        self._build_question(hint_html() if no_searcher_reason is None else reason_html(no_searcher_reason))
        graph = contents.graph
        self.objects = None if graph is None else GraphPanel(gui, contents, graph, choices)
        self._build_modes()
        with gui.add_folder("Show"):
            self._build_toggles(visible)
            self._cut = gui.add_slider("Up to height", 5, 100, 1, 100, hint="In per cent; hides what is higher")
            self._cut.on_update(lambda _: choices.set_cut(self._cut.value / 100.0))
            if contents.cameras:
                self._build_camera_slider()
        self._build_legend()

    def follow(self, look: Look) -> None:
        """Brings the controls in line with what is shown."""
        self.mode.value = _MODE_TEXTS[look.mode]
        if self._threshold is not None:
            self._threshold.value = look.min_confidence
        rows = {row.class_id: row for row in legend(self._contents, look.min_confidence)}
        for class_id, button in self.class_buttons.items():
            is_hidden = class_id in look.hidden_classes
            button.label = class_label(rows[class_id], is_hidden)
            button.color = _HIDDEN_BUTTON if is_hidden else rows[class_id].color_u8

    def follow_cut(self, fraction: float) -> None:
        """Brings the height's slider in line."""
        self._cut.value = round(100 * min(fraction, 1.0))

    def is_shown(self, what: str) -> bool:
        """Whether "splats", "points", "cameras", "boxes" or "graph" are to be shown."""
        return bool(self._toggles[what].value)

    def set_shown(self, what: str, shown: bool) -> None:
        """Brings a toggle in line.

        Raises:
            ConventionError: there is no such thing to show.
        """
        if what not in self._toggles:
            raise ConventionError("what", expected=" or ".join(self._toggles), got=repr(what))
        self._toggles[what].value = shown

    def show_busy(self, text: str) -> None:
        """While a question is answered."""
        self.answer.content = busy_html(text)

    def show_error(self, message: str) -> None:
        """What is wrong with a question."""
        self.answer.content = error_html(message)

    def show_answer(self, text: str, asked: str, segments: tuple[AnswerSegment, ...], warnings: tuple[str, ...]) -> None:
        """The words of a question, all that was asked, and what was found for it."""
        self.question.value = text
        self.answer.content = answer_html(asked, segments, warnings)

    def show_no_question(self) -> None:
        """An empty box, and what it is for."""
        self.question.value = ""
        if self._can_ask:
            self.answer.content = hint_html()

    def _build_question(self, first_text: str) -> None:
        gui, choices = self._gui, self._choices
        with gui.add_form("Ask the scene") as form:
            self.question = gui.add_text("Look for", "", disabled=not self._can_ask, hint="For example: something to sit on")
            self.answer = gui.add_html(first_text)
            self.upload: Any = None
            if self._takes_pictures:
                hint = "Looks for what a picture shows; words in the box above belong to the question"
                self.upload = gui.add_upload_button("Look for a picture", mime_type="image/*", hint=hint)
                self.upload.on_upload(lambda _: self._ask_with(self.upload.value))
            if self._can_ask:
                clear = gui.add_button("Clear the answer", color="gray")
                clear.on_click(lambda _: choices.clear_question())

        def submitted(_: Any) -> None:
            text = str(self.question.value).strip()
            if not text:
                choices.clear_question()
                return
            try:
                choices.ask(text)
            except ScenewiseError as error:
                self.show_error(str(error))

        if self._can_ask:
            form.on_submit(submitted)

    def _ask_with(self, uploaded: Any) -> None:
        """Asks with a picture that a browser sent, and with the words in the box."""
        try:
            self._choices.ask(str(self.question.value).strip(), uploaded_picture(uploaded.name, uploaded.content))
        except ScenewiseError as error:
            self.show_error(str(error))

    def _build_modes(self) -> None:
        modes = [mode for mode in MODES if self._contents.has_labels or mode not in ("classes", "confidence")]
        modes = [mode for mode in modes if self._can_ask or mode != "heat"]
        texts = [_MODE_TEXTS[mode] for mode in modes]
        self.mode = self._gui.add_dropdown("Colours", texts, initial_value=_MODE_TEXTS["color"])
        mode_of_text = {text: mode for mode, text in _MODE_TEXTS.items()}
        self.mode.on_update(lambda _: self._choices.set_mode(mode_of_text[self.mode.value]))

    def _build_toggles(self, visible: Mapping[str, bool]) -> None:
        self._toggles: dict[str, Any] = {}
        for what, is_visible in visible.items():
            if what == "boxes" and not self._can_ask:
                self._toggles[what] = _Always()
                continue
            self._toggles[what] = self._gui.add_checkbox(what.capitalize(), is_visible, hint=_HINTS.get(what))
            self._toggles[what].on_update(lambda _, what=what: self._choices.set_visible(what, self.is_shown(what)))

    def _build_camera_slider(self) -> None:
        gui, cameras, choices = self._gui, self._contents.cameras, self._choices

        def go(event: Any) -> None:
            if event.client is not None:
                choices.look_from(cameras[int(slider.value) - 1].name, event.client)

        def home(event: Any) -> None:
            if event.client is not None:
                choices.look_from(None, event.client)

        if len(cameras) > 1:
            slider = gui.add_slider("Camera", 1, len(cameras), 1, 1, hint="Look from where the photographs were taken")
            slider.on_update(go)
        gui.add_button("First view", color="gray").on_click(home)

    def _build_legend(self) -> None:
        gui, rows = self._gui, legend(self._contents)
        self.class_buttons: dict[int, Any] = {}
        self._threshold: Any = None
        if not rows:
            return
        with gui.add_folder("Classes"):
            self._threshold = gui.add_slider("Confidence ≥", 0.0, 1.0, 0.01, 0.0, hint="What is less certain counts as unknown")
            self._threshold.on_update(lambda _: self._choices.set_min_confidence(self._threshold.value))
            both = gui.add_button_group("All classes", ("show", "hide"))
            both.on_click(lambda _: self._choices.show_all_classes(both.value == "show"))
            for row in (*rows[: _MAX_CLASS_BUTTONS - 1], rows[-1]) if len(rows) > _MAX_CLASS_BUTTONS else rows:
                button = gui.add_button(class_label(row, False), color=row.color_u8)
                button.on_click(lambda _, class_id=row.class_id: self._choices.toggle_class(class_id))
                self.class_buttons[row.class_id] = button
