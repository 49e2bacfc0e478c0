"""The constants every backend of the splat kernel shares: those of the current gsplat."""

ALPHA_MAX = 0.99
"""α is clamped here, so that two opaque Gaussians reach the stop below and 1 / (1 − α) stays finite."""
ALPHA_MIN = 1.0 / 255.0
"""Contributions below one grey level are skipped; this also bounds a Gaussian's extent."""
TRANSMITTANCE_MIN = 1e-4
"""A pixel ends before the Gaussian that would bring its transmittance to this value or below."""
DILATION = 0.3
"""Added to both variances of the projected covariance, px²: a Gaussian never falls between pixels."""
FRUSTUM_MARGIN = 0.3
"""The ray slope used in the projection's Jacobian is clamped to the image widened by this fraction of half its size."""
SCALE_MAX_LOG = 30.0
"""Log-scales beyond ±30 describe nothing physical and would overflow; such Gaussians are not drawn."""
MEAN_MAX = 1e15
"""Centres farther out than this overflow when squared; such Gaussians are not drawn."""
