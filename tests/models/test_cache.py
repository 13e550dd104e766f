"""The folder of fetched files: whole and right or not there, bounded, and nothing in use is taken away."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from equipoise.errors import ModelError
from equipoise.models.cache import ModelCache
from equipoise.models.description import ModelFile


def file_of(content: bytes) -> ModelFile:
    return ModelFile(hashlib.sha256(content).hexdigest(), ".onnx", len(content))


def put(cache: ModelCache, content: bytes, used_at_s: int | None = None) -> ModelFile:
    file = file_of(content)
    part = cache.begin(file)
    assert part is not None
    part.append(content)
    assert part.finish()
    part.close()
    if used_at_s is not None:
        os.utime(cache.path_of(file), (used_at_s, used_at_s))
    return file


def test_a_file_is_there_once_it_is_whole_and_right(tmp_path: Path):
    cache, content = ModelCache(tmp_path, 1000), b"a model"
    file = file_of(content)
    part = cache.begin(file)
    assert part is not None
    part.append(content[:3])
    assert file not in cache
    assert cache.hold(file) is None
    part.append(content[3:])
    assert part.finish()
    part.close()

    assert file in cache
    assert cache.path_of(file).read_bytes() == content


def test_what_was_fetched_before_a_restart_is_still_there(tmp_path: Path):
    content = b"a model"
    part = ModelCache(tmp_path, 1000).begin(file_of(content))
    assert part is not None
    part.append(content[:3])
    part.close()

    again = ModelCache(tmp_path, 1000).begin(file_of(content))

    assert again is not None
    assert again.size_bytes == 3
    again.append(content[3:])
    assert again.finish()
    again.close()


def test_what_is_not_what_it_is_called_is_thrown_away(tmp_path: Path):
    cache = ModelCache(tmp_path, 1000)
    file = file_of(b"a model")
    part = cache.begin(file)
    assert part is not None
    part.append(b"a m0del")

    assert not part.finish()
    assert part.size_bytes == 0
    assert file not in cache
    part.close()


def test_a_file_that_was_changed_on_the_disk_is_not_handed_out(tmp_path: Path):
    cache = ModelCache(tmp_path, 1000)
    file = put(cache, b"a model")
    cache.path_of(file).write_bytes(b"a m0del")

    assert cache.hold(file) is None
    assert file not in cache


def test_who_was_used_longest_ago_leaves_first_and_no_more_than_need_be(tmp_path: Path):
    cache = ModelCache(tmp_path, 30)
    old, older, new = put(cache, b"1" * 10, 200), put(cache, b"2" * 10, 100), put(cache, b"3" * 10, 300)

    newest = put(cache, b"4" * 10)

    assert [file in cache for file in (older, old, new, newest)] == [False, True, True, True]


def test_holding_a_file_counts_as_using_it(tmp_path: Path):
    cache = ModelCache(tmp_path, 20)
    first, second = put(cache, b"1" * 10, 100), put(cache, b"2" * 10, 200)
    held = cache.hold(first)
    assert held is not None
    held.close()

    put(cache, b"3" * 10)

    assert first in cache
    assert second not in cache


def test_a_file_in_use_never_leaves_even_if_another_process_needs_room(tmp_path: Path):
    cache, other_process = ModelCache(tmp_path, 20), ModelCache(tmp_path, 20)
    first, second = put(cache, b"1" * 10, 100), put(cache, b"2" * 10, 200)
    held = [cache.hold(first), cache.hold(second)]
    with pytest.raises(ModelError, match=r"has no room: 10 of the 20 bytes .* --cache-bytes"):
        other_process.begin(file_of(b"3" * 10))
    assert first in cache
    assert second in cache

    for one in held:
        assert one is not None
        one.close()
    put(other_process, b"3" * 10)
    assert first not in cache


def test_nothing_leaves_in_vain(tmp_path: Path):
    cache = ModelCache(tmp_path, 20)
    loose, used = put(cache, b"1" * 5, 100), put(cache, b"2" * 10, 200)
    held = cache.hold(used)
    with pytest.raises(ModelError, match="has no room"):
        cache.begin(file_of(b"3" * 15))

    assert loose in cache
    assert held is not None
    held.close()


def test_a_file_that_can_never_fit_is_refused_with_both_sizes(tmp_path: Path):
    with pytest.raises(ModelError, match=r"has 30 bytes, more than the 20 .* --cache-bytes"):
        ModelCache(tmp_path, 20).begin(file_of(b"1" * 30))


def test_a_file_on_its_way_has_its_whole_room_and_is_nobody_elses(tmp_path: Path):
    cache, other_process = ModelCache(tmp_path, 30), ModelCache(tmp_path, 30)
    content = b"1" * 20
    part = cache.begin(file_of(content))
    assert part is not None

    assert other_process.begin(file_of(content)) is None
    with pytest.raises(ModelError, match="has no room"):
        other_process.begin(file_of(b"2" * 20))
    part.close()


def test_what_nobody_goes_on_fetching_leaves_like_everything_else(tmp_path: Path):
    cache = ModelCache(tmp_path, 30)
    part = cache.begin(file_of(b"1" * 20))
    assert part is not None
    part.close()

    put(cache, b"2" * 20)

    assert cache.here_bytes(file_of(b"2" * 20)) == 20
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_that_cannot_be_written_to_is_named_with_what_to_do(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    cache = ModelCache(tmp_path / "file", 100)
    with pytest.raises(ModelError, match="--cache DIR"):
        cache.prepare()
    with pytest.raises(ModelError, match="--cache DIR"):
        cache.begin(file_of(b"1"))
