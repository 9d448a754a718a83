"""Simulated accelerators: ``sim:cuda``, ``sim:hpu``, ``sim:npu``.

What they are and cannot be is told in ``docs/simulator.md``; this page is for those who build on
them.

**Tensors.** ``tensor`` (a tensor's class is its device), ``dispatch`` (every op passes here,
through code generated per op), ``facts`` (an op's schema, worked out once), ``hot`` (direct
bindings), ``placement`` (mixed devices), ``factories``, ``construct``, ``composites`` (what C++
would leave on the CPU), ``mixed_matmul``, ``transfer``, ``parameters``, ``pinning``, ``saving``,
``printing``, ``compile``.

**Devices.** ``profile`` and ``profiles`` (devices as data), ``machine`` (one device type's state),
``surface`` and ``streams`` (what every device module offers), ``autocast``, ``generator``,
``randomness``, ``philox``, ``patching`` and ``activate`` (on and off).

**Accounting.** ``sites`` and ``spots`` (the user's line), ``counters``, ``accounting`` (all of it
put together), ``graph``, ``tape``, ``difference``, ``recipes`` (lazy graphs), ``replay``,
``graphed``, ``limits`` (captured graphs), ``fallback``, ``optables``, ``waits``, ``opcounts``.

**Vendors.** ``vendor``, ``packages``, ``fused``, ``collectives``, ``habana``, ``ascend``,
``contract``.

The seam
--------

*See ops*: write an :class:`~porter.device.sim.core.dispatch.Observer` and ``machine.observe(it)``.
Its ``watch(facts)`` is asked once per op; what it returns is called around every run of that op
with the very ``args``/``kwargs`` and, after, the result. An op that ``watch`` answers with None
costs nothing. Keep per-op work in the closure that ``watch`` returns; never walk arguments with
``tree_map``.

*Count*: ``machine.counters.event(kind, what, detail)`` finds the user's line itself;
``machine.counters.add(name, n)`` only counts. A kind's total bears its name, its bytes are
``<kind>_bytes``.

*Follow copies between devices*: ``machine.on_transfer``, called once per copy with a
:class:`~porter.device.sim.core.transfer.Transfer`, before the data moves.

*Replace an op's kernel*: ``machine.overrides["aten.normal_"] = make`` with ``make(op, machine,
cls)`` returning ``run(args, kwargs)``; it runs natively on CPU storage and its fresh results are
wrapped.

*Work unseen*: ``with unseen():``; fresh tensors inside are CPU tensors.

*Describe a device*: a :class:`~porter.device.sim.core.profiles.Profile`.
"""
