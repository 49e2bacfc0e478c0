"""Texts of the panel.  Everything from files and people is escaped, because the browser takes them as HTML."""

from html import escape

from scenewise.parts.words.answers import AnswerSegment
from scenewise.show.viewer.contents import Contents
from scenewise.show.viewer.legend import LegendRow

_STYLE = "padding:0 0.75em 0.6em;font-size:0.8em;line-height:1.45;overflow-wrap:anywhere"


def status_html(contents: Contents, teacher: str | None) -> str:
    """What is shown, who named it, under which licences, and what was left out."""
    counts = [f"<b>{len(contents.splats):,}</b> splats"] if len(contents.splats) else []
    counts += [f"<b>{len(contents.points):,}</b> points"] if len(contents.points) else []
    counts += [f"<b>{len(contents.cameras):,}</b> cameras"] if contents.cameras else []
    lines = [" · ".join(counts) or "an empty scene"]
    named_by = teacher or contents.teacher
    lines.append(f"named by {escape(named_by)}" if named_by else "no teacher has named it yet")
    licences = [f"{escape(name)}: {escape(licence or 'unknown')}" for name, licence in contents.scene.licences.items()]
    lines.append(f"licences: {', '.join(licences)}" if licences else "licences: none recorded")
    lines += [escape(note) for note in contents.notes]
    return block("<br>".join(lines))


def reason_html(reason: str) -> str:
    """Why questions cannot be asked."""
    return block(f"Questions are off: {escape(reason)}", dim=True)


def hint_html() -> str:
    """What the text box is for."""
    return block("Type what you look for, press Enter.", dim=True)


def answer_html(text: str, segments: tuple[AnswerSegment, ...], warnings: tuple[str, ...]) -> str:
    """What was found for a question."""
    lines = [f"⚠ {escape(warning)}" for warning in warnings]
    if not segments:
        lines.append(f"Nothing here answers <b>{escape(text)}</b>.")
    else:
        places = "place answers" if len(segments) == 1 else "places answer"
        lines.append(f"{len(segments)} {places} <b>{escape(text)}</b>:")
        lines += [
            f"{number} · {100.0 * segment.score:.0f} % · {_size_text(segment)}"
            for number, segment in enumerate(segments, start=1)
        ]
    return block("<br>".join(lines))


def busy_html(text: str) -> str:
    """While a question is answered."""
    return block(f"Looking for <b>{escape(text)}</b> …", dim=True)


def error_html(message: str) -> str:
    """What is wrong with a question."""
    return block(f'<span style="color:#ff8787">{escape(message)}</span>')


def class_label(row: LegendRow, is_hidden: bool) -> str:
    """Text of a class's button: its name and how often it occurs."""
    percent = f"{100.0 * row.share:.0f} %" if row.share >= 0.01 or not row.count else "< 1 %"
    return f"{'○' if is_hidden else '●'} {row.name} · {row.count:,} · {percent}"


def _size_text(segment: AnswerSegment) -> str:
    return " × ".join(f"{size:.2g}" for size in segment.box.size)


def block(content: str, *, dim: bool = False) -> str:
    """Lines in the panel."""
    return f'<div style="{_STYLE}{";opacity:0.7" if dim else ""}">{content}</div>'
