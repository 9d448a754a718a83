"""CUDA calls served by another accelerator: what ``gpu_migration`` and ``transfer_to_npu`` do.

=========  =====================================================================================
table      the vendors' rules as data: per API match, modified or unsupported, with their source
log        :class:`MigrationLog`: every mapped call once per site, as text or JSON lines
devices    "cuda" in arguments becomes the target; functions that take devices are wrapped
calls      ``torch.cuda.*`` functions and classes, answered by the target's module
migration  :class:`Migration`: all of it switched on for one target, and off again
=========  =====================================================================================

What ``porter run --migration-log FILE`` calls is :func:`porter.migrate.migration.logging_to`.
"""
