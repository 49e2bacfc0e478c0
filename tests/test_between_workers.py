"""What is made once for all processes is made once."""

from pathlib import Path

import pytest
from tests.support.between_workers import made_once


def test_it_is_made_once_and_again_after_a_failure(tmp_path_factory: pytest.TempPathFactory):
    calls: list[Path] = []

    def fails(place: Path) -> str:
        place.mkdir()
        (place / "half").write_text("half")
        raise KeyboardInterrupt

    def make(place: Path) -> list[object]:
        calls.append(place)
        assert not place.exists()
        place.mkdir()
        return ["made", 1]

    name = "test_between_workers"
    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path_factory, name, fails)
    first, second = (made_once(tmp_path_factory, name, make) for _ in range(2))
    assert first == second == (calls[0], ["made", 1]) and len(calls) == 1
