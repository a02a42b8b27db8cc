"""How the weights of a reward are held and run: number format, attention, quantisation, device."""

from __future__ import annotations

from typing import Any, Literal

import torch
from transformers import BitsAndBytesConfig
from transformers.utils import is_bitsandbytes_available, is_flash_attn_2_available

from videoalign.config import Config
from videoalign.errors import ConfigError, ModelError

SKIPPED = ("visual", "lm_head")
"""Parts that quantisation leaves alone."""


class LoadOptions(Config):
    """How a reward is loaded; the head and the reward tokens stay float32 whatever is chosen."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the backbone."""
    attention: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    """PyTorch's own attention, that of the package flash-attn, or plain matrix products."""
    quantise: Literal["8bit", "4bit"] | None = None
    """Language model in 8 or 4 bits through bitsandbytes, for scoring; the vision tower keeps its format."""
    device: str | None = None
    """Where the weights go, as torch names it; default: the processor."""

    def check(self) -> None:
        """Checks that this machine can load so.

        Raises:
            ConfigError: no such device.
            ModelError: a package is missing, or the attention cannot run on the device or in the format.
        """
        device = self._device()
        if self.attention == "flash_attention_2":
            if self.dtype != "bfloat16":
                raise ModelError(f"attention: flash_attention_2 runs in bfloat16, dtype is {self.dtype}; change one.")
            present = is_flash_attn_2_available()
            if device.type != "cuda" or not present:
                raise ModelError(
                    "attention: flash_attention_2 wants the package flash-attn and a graphics card; got "
                    f"device={device}, flash-attn {'present' if present else 'not usable here'}. Use attention=sdpa."
                )
        if self.quantise and not is_bitsandbytes_available():
            raise ModelError(
                f"quantise: {self.quantise} wants the package bitsandbytes, which is not installed; "
                "install it, or leave quantise out."
            )

    def arguments(self) -> dict[str, Any]:
        """What ``from_pretrained`` of transformers is told; see `check` for the errors."""
        self.check()
        told: dict[str, Any] = {"dtype": getattr(torch, self.dtype), "attn_implementation": self.attention}
        if self.quantise:
            told["quantization_config"] = BitsAndBytesConfig(
                load_in_8bit=self.quantise == "8bit",
                load_in_4bit=self.quantise == "4bit",
                llm_int8_skip_modules=list(SKIPPED),
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=getattr(torch, self.dtype),
            )
            told["device_map"] = {"": str(self._device())}
        return told

    def _device(self) -> torch.device:
        try:
            return torch.empty(0, device=self.device or "cpu").device
        except (RuntimeError, AssertionError) as error:
            reason = " ".join(str(error).split())[:80]
            raise ConfigError(f"device: cannot use '{self.device}' here ({reason}); use cpu, or one that is.") from None


def load_options(
    *, dtype: str | torch.dtype, attention: str, quantise: str | None, device: str | torch.device | None
) -> LoadOptions:
    """The options, checked as settings are.

    Raises:
        ConfigError: one that is not known.
    """
    named = {"dtype": str(dtype).removeprefix("torch."), "attention": attention, "quantise": quantise}
    return LoadOptions.build_from({**named, "device": None if device is None else str(device)}, "load")
