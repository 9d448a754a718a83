"""Serve CUDA calls by another accelerator, as ``gpu_migration`` and ``transfer_to_npu`` do.

===========  =====================================================================================
table        the vendors' rules as data: per API match, modified or unsupported, with their source
log          :class:`MigrationLog`: every mapped call once per site, as text or JSON lines
calls        "cuda" in arguments becomes the target, whose module serves ``torch.cuda.*``
torch_names  names outside ``torch.cuda`` that a migration replaces
migration    :class:`Migration`: switches all of it on and off for one target
===========  =====================================================================================

``porter run --migration-log FILE`` calls :func:`porter.migrate.migration.logging_to`.
"""
