"""How Gaussians are added, removed and moved in the course of training."""

from scenewise.parts.splats.strategies.default import DefaultStrategy
from scenewise.parts.splats.strategies.mcmc import McmcStrategy
from scenewise.parts.splats.strategies.protocol import StepContext, Strategy, ViewResult

__all__ = ["DefaultStrategy", "McmcStrategy", "StepContext", "Strategy", "ViewResult"]
