"""How good a reconstruction is: PSNR, SSIM, LPIPS, colour correction, depth error.

Images are float [height, width, 3] in [0, 1].  A figure for a set of views is the mean of the figures of its views.
"""
