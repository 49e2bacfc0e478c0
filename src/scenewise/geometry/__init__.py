"""Pure functions on arrays: transforms, projection, distortion, spherical harmonics.  Conventions: docs/conventions.md."""
