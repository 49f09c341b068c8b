"""Adds the squares of the numbers below 1000, on all tasks of the job."""

from mpi4py import MPI

world = MPI.COMM_WORLD
mine = sum(number**2 for number in range(world.rank, 1000, world.size))
total = world.reduce(mine)  # the first copy gets the sum
nodes = world.gather(MPI.Get_processor_name())
if world.rank == 0:
    print(total, "by", world.size, "tasks on", len(set(nodes)), "nodes")
