"""Simulate ``torch_npu``, which a ported tree imports on ``sim:npu``.

Each name computes the documented result with plain torch ops, in the documented precision.
Sources: the signatures of the torch-npu 2.13.0 wheel (``porter/device/sim/contract``) and Huawei's
operator and API documentation (hiascend.com, Ascend Extension for PyTorch API reference).
"""
