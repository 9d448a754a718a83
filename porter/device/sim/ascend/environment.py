"""``torch_npu.utils.collect_env``: what of the vendor's software is installed."""

from __future__ import annotations


def get_cann_version() -> str:
    """Return "not known": what the vendor's function finds where CANN is not installed.

    Source: ``torch_npu/utils/collect_env.py`` of Ascend/pytorch, 9e73e708, which reads the folder
    of ``ASCEND_HOME_PATH``.
    """
    return "not known"
