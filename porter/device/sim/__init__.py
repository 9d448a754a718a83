"""Simulated accelerators: ``sim:cuda``, ``sim:hpu``, ``sim:npu``.

``docs/simulator.md`` describes what they model; this page is for those who extend them.

==============  ====================================================================================
core            tensors (a tensor's class is its device), dispatch through code generated per op,
                placement checks, transfers, devices as data, the state of a machine, counters
rng             generators, Philox, the kernels of random ops
torch_patches   torch's own functions replaced: factories, constructors, parameters, checkpoints,
                pinned memory, autocast, device modules and streams
graphs          lazy graphs with signatures, captured graphs
accounting      all counts of one machine, CPU fallbacks and op tables, host syncs
vendors         the import machinery of vendors' packages, and what these have in common
habana, ascend  the simulated packages ``habana_frameworks.torch`` and ``torch_npu``
contract        the vendors' published names and signatures
activate        the simulation switched on and off
==============  ====================================================================================

How to extend it
----------------

*Watch ops*: write an :class:`~porter.device.sim.core.dispatch.Observer`, call
``machine.observe(it)``. Keep per-op work in the closure that its ``watch`` returns; never walk
arguments with ``tree_map``.

*Count*: ``machine.counters.event(kind, what, detail)`` finds the user's line itself;
``machine.counters.add(name, n)`` only counts. The total of a kind has its name, its bytes are
``<kind>_bytes``.

*Follow copies between devices*: ``machine.on_transfer``, called once per copy with a
:class:`~porter.device.sim.core.transfer.Transfer`, before the data moves.

*Replace an op's kernel*: ``machine.overrides["aten.normal_"] = make`` with ``make(op, machine,
cls)`` returning ``run(args, kwargs)``; it runs natively on CPU storage and its fresh results are
wrapped.

*Work unobserved*: ``with unseen():``; fresh tensors inside are CPU tensors.

*Describe a device*: a :class:`~porter.device.sim.core.profiles.Profile`.
"""
