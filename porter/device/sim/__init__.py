"""Simulated accelerators: ``sim:cuda``, ``sim:hpu``, ``sim:npu``.

The parts, each importing only those above it:

=============  ====================================================================================
profile        a device as data: names, dispatch keys, dtypes, op support, autocast lists
sites          the line of user code that is running, found on demand
counters       :class:`Counters` (totals) and :class:`Event` (kind, op, site, detail)
facts          :class:`OpFacts`: what an op's schema says, worked out once, kept on the op
hot            direct bindings of the ops called most
dispatch       the seam: every op passes here; :class:`Observer` and :class:`Watch`; generated code
placement      operands on different devices: a real backend's refusal
tensor         the tensor classes; a tensor's class is its device
machine        :class:`Machine`: one device type's classes, observers, counters; ``machines``
=============  ====================================================================================

How to build on it ------------------ *See ops*: write an
:class:`~porter.device.sim.dispatch.Observer` and ``machine.observe(it)``. Its ``watch(facts)`` runs
once per op; what it returns is called around every run of that op with the very
``args``/``kwargs``, and, after, the result. An op that ``watch`` answers with None costs nothing.
Keep per-op work in the closure that ``watch`` returns; never walk arguments with ``tree_map``.

*Count*: ``machine.counters.event(kind, what, detail)`` finds the user's line itself;
``machine.counters.add(name, n)`` only counts. Kinds in use: ``cpu_fallback``, ``host_sync``,
``h2d``, ``d2h``, ``d2d``, ``dynamic_shape``, ``dtype``; a kind's total bears its name, bytes are
``<kind>_bytes``.

*Transfers between host and device* end in ``aten.copy_`` with operands of two devices; they are
told to ``machine.transfers`` (see :mod:`porter.device.sim.transfer`), once each, with direction and
bytes.

*Replace an op's kernel*: ``machine.overrides["aten.normal_"] = make`` with ``make(op, machine,
cls)`` returning ``run(args, kwargs)``; it runs natively on CPU storage and its fresh results are
wrapped.

*Do work that must not be seen*: ``with unseen():``; fresh tensors inside are CPU tensors.

*Describe a device*: a :class:`~porter.device.sim.profile.Profile`.
"""
