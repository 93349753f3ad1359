"""A small world with one person in it: skeleton, camera, ground, light, and rays that meet them.

Metres, seconds and radians; Y is up; a person at rest faces +X with the right hand towards +Z.
Shapes as name suffixes: T frames, H W pixels, J joints, P body parts, N points or rays, 3 xyz, 4 wxyz.
"""
