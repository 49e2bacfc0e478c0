"""What the panel says about the objects of a scene graph.  Everything from files is escaped, for the browser takes it as HTML."""

from html import escape

from scenewise.scenes.predicates import DIRECTIONS
from scenewise.scenes.scene_graphs import GraphObject, SceneGraph
from scenewise.show.graphs.telling import object_label, said_once, sentence, size_text
from scenewise.show.viewer.panel_text import block

_MOST_SENTENCES = 12
_MOST_NAMES = 3


def graph_html(graph: SceneGraph) -> str:
    """What the graph holds, while nothing is chosen."""
    things = "object" if len(graph.objects) == 1 else "objects"
    hint = "Click a box, or choose from the list." if graph.objects else ""
    return block(f"<b>{len(graph.objects):,}</b> {things} · <b>{len(graph.relations):,}</b> relations<br>{hint}", dim=True)


def object_html(graph: SceneGraph, object_id: int) -> str:
    """Name, certainty, size, room and relations of an object."""
    thing = graph.by_id[object_id]
    lines = [f"<b>{escape(object_label(thing))}</b> · {100.0 * thing.confidence:.0f} % sure"]
    others = [f"{escape(name)} {100.0 * share:.0f} %" for name, share in thing.names if name != thing.name][:_MOST_NAMES]
    if others:
        lines.append(f"or {', '.join(others)}")
    lines.append(f"box {size_text(graph, thing.box.size)}{_room_text(graph, thing)}")
    told = said_once(graph, graph.relations_of(object_id), first=object_id)
    lines += ["", *(escape(sentence(graph, each)) for each in told[:_MOST_SENTENCES])]
    rest = told[_MOST_SENTENCES:]
    if rest:
        directions = sum(each.predicate in DIRECTIONS for each in rest)
        of_them = f", {directions} of them directions" if directions else ""
        lines.append(f"… and {len(rest)} more{of_them}")
    if not told:
        lines.append("no relations")
    return block("<br>".join(lines))


def _room_text(graph: SceneGraph, thing: GraphObject) -> str:
    room = next((room.name for room in graph.rooms if room.room_id == thing.room_id), None)
    return "" if room is None else f" · in {escape(room)}"
