"""PLY files: splats in the layout every 3D Gaussian Splatting viewer opens, and coloured points.

Splats are one ``vertex`` table of little-endian float32 columns in this order: x y z, nx ny nz (zeros), f_dc_0..2, f_rest_0..
(channel-major: all coefficients of red, then green, then blue), opacity (before the logistic function), scale_0..2 (natural
logarithms), rot_0..3 (wxyz).  That is 62 floats at SH degree 3.  Source: the files of Kerbl et al. 2023, arXiv 2308.04079.
"""
