"""The models that a processor has loaded: no more than memory allows, those used longest ago leave first."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass

from equipoise.engines.base import Engine
from equipoise.engines.processors import LocalProcessor
from equipoise.engines.registry import load_engine
from equipoise.errors import ModelError, NoRoomError
from equipoise.node.memory import ModelMemory
from equipoise.node.repertoire import Closing, Repertoire

Key = tuple[str, str]  # identity of a family, name of a variant

_GIVE_WAY_S = 2.0  # what other processors may take to unload what they do not need, at the end of their task


@dataclass(frozen=True, slots=True)
class _Loaded:
    engine: Engine
    size_bytes: int
    file: Closing | None


class LoadedModels:
    """Engines by family and variant; used by the one thread of a processor, `keys` by any."""

    def __init__(self, repertoire: Repertoire, processor: LocalProcessor, memory: ModelMemory) -> None:
        self._repertoire = repertoire
        self._processor = processor
        self._memory = memory
        self._loaded: OrderedDict[Key, _Loaded] = OrderedDict()

    @property
    def keys(self) -> tuple[Key, ...]:
        """What is loaded, the one used last at the end."""
        return tuple(self._loaded)

    def __contains__(self, key: Key) -> bool:
        return key in self._loaded

    def get(self, key: Key) -> Engine:
        """The engine, loaded if need be. Raises KeyError, and ModelError if it cannot be loaded or has no room.

        A file that is not here is fetched first, for as long as that takes.
        """
        if key not in self._loaded:
            self._repertoire.refuse_unsigned(*key)
            with ExitStack() as undo:
                file = self._hold(key)
                if file is not None:
                    undo.callback(file.close)
                size_bytes = self._make_room(key)
                undo.callback(self._memory.give_back, size_bytes)
                engine = load_engine(self._repertoire.family(key[0]), key[1], self._processor)
                undo.pop_all()
            self._loaded[key] = _Loaded(engine, size_bytes, file)
        self._loaded.move_to_end(key)
        return self._loaded[key].engine

    def _hold(self, key: Key) -> Closing | None:
        """The variant's file; what is loaded leaves if its file is in the way."""
        try:
            return self._repertoire.hold(*key)
        except NoRoomError:
            if not self._loaded:
                raise
        self._unload_oldest()
        return self._hold(key)

    def give_way(self, needed: Key | None = None) -> None:
        """Unload what is not needed next, the oldest first, while another processor lacks the room."""
        for key in tuple(self._loaded):
            if self._memory.short and key != needed:
                self._unload(key)

    def close(self) -> None:
        """Unload everything."""
        while self._loaded:
            self._unload_oldest()

    def _make_room(self, key: Key) -> int:
        profile = self._repertoire.profile(key[0], self._processor.name, key[1])
        size_bytes = profile.memory_bytes if profile is not None else 0
        while not self._memory.take(size_bytes):
            if self._loaded:
                self._unload_oldest()
            elif self._memory.take_when_left(size_bytes, _GIVE_WAY_S):
                break
            else:
                raise ModelError(
                    f"variant {key[1]!r} needs {size_bytes} bytes of memory; of the {self._memory.total_bytes:.0f} "
                    f"that models may have here, other processors use {self._memory.used_bytes}"
                )
        return size_bytes

    def _unload_oldest(self) -> None:
        self._unload(next(iter(self._loaded)))

    def _unload(self, key: Key) -> None:
        leaving = self._loaded.pop(key)
        leaving.engine.close()
        self._memory.give_back(leaving.size_bytes)
        if leaving.file is not None:
            leaving.file.close()
