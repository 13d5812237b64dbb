"""Style Aligned Image Generation via Shared Attention (Hertz et al., arXiv 2312.02133).

The modules beside this one are the method in plain torch; `host` attaches it to ComfyUI.
"""
