"""Pipelines of diffusers whose import tells people that torchvision is missing, which nothing here needs."""

from __future__ import annotations

from videoalign.models.quiet import no_notes

with no_notes():
    from diffusers import FluxPipeline, StableDiffusion3Pipeline, WanImageToVideoPipeline

__all__ = ["FluxPipeline", "StableDiffusion3Pipeline", "WanImageToVideoPipeline"]
