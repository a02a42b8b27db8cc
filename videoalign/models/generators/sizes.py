"""Sizes of clips that a model can work in."""

from __future__ import annotations

from videoalign.contracts.video import MIN_FRAMES
from videoalign.errors import ConfigError
from videoalign.models.generators.settings import SamplingSettings


def require_sizes(name: str, settings: SamplingSettings, *, time: int, down: int, right: int) -> None:
    """Checks that frames, height and width are such that autoencoder, transformer and pipeline can work in them.

    Args:
        name: of the model, for the message.
        settings: of the model.
        time: frames are 1 more than a multiple of this.
        down: pixels that the height is a multiple of.
        right: likewise the width.

    Raises:
        ConfigError: they are not; the message names the nearest ones that are.
    """
    rest = (settings.num_frames - 1) % time
    if rest or settings.num_frames < MIN_FRAMES:
        below = settings.num_frames - rest
        near = [size for size in (below, below + time) if size >= MIN_FRAMES]
        more = " above 1, as a clip of one frame is a picture, which no reward reads" if len(near) == 1 else ""
        raise ConfigError(
            f"num_frames: got {settings.num_frames}; '{name}' wants 1 more than a multiple of {time}{more}. "
            f"Set {' or '.join(f'num_frames={size}' for size in near)}."
        )
    for side, value, step in (("height", settings.height, down), ("width", settings.width, right)):
        if value % step:
            near = [size for size in (value // step * step, (value // step + 1) * step) if size]
            raise ConfigError(
                f"{side}: got {value}; '{name}' wants a multiple of {step}. "
                f"Set {' or '.join(f'{side}={size}' for size in near)}."
            )
