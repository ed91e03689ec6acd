"""The parameter servers of a job: which generation of their contents is current, and when it is served.

A plain object. A generation begins with the job, and whenever a server has died. All servers, including the surviving
ones, then load the contents of the last checkpoint; they are up once all have.
"""

from __future__ import annotations

from elasticdl_nb.runtime.master.decisions.membership import Member, Membership
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb


class ServerGroup:
    """All servers of a job; `initial` is a checkpoint to start from, if any."""

    def __init__(self, count: int, initial: str = "") -> None:
        self.members = Membership("ps", count)
        self.generation = 1
        self.restore_from = initial
        self._keep_step = False

    def begin_generation(self, checkpoint: str, *, initial: str) -> None:
        """Go back to a checkpoint or, without one, to what the job began with."""
        self.generation += 1
        self.restore_from, self._keep_step = (checkpoint, True) if checkpoint else (initial, False)

    def restored(self, server: Member, generation: int) -> bool:
        """A server has this generation's contents; return whether all of them are now up."""
        was_up = self.are_up
        server.generation = generation
        return self.are_up and not was_up

    @property
    def are_up(self) -> bool:
        """Whether every server has the contents of this generation."""
        return all(server.state == "running" and server.generation == self.generation for server in self.members)

    def restore_message(self) -> pb.MasterMessage:
        """The order that makes a server load this generation's contents."""
        restore = pb.Restore(generation=self.generation, path=self.restore_from, keep_step=self._keep_step)
        return pb.MasterMessage(restore=restore)

    def servers_message(self) -> pb.MasterMessage:
        """The message for workers: where all servers are, or that they must wait."""
        addresses = [server.address for server in self.members] if self.are_up else []
        return pb.MasterMessage(servers=pb.Servers(generation=self.generation, addresses=addresses))

    def to_message(self) -> journal.Servers:
        """Return everything in the journal's form."""
        return journal.Servers(
            members=self.members.to_messages(), generation=self.generation, restore_from=self.restore_from,
            keep_step=self._keep_step,
        )  # fmt: skip

    def load(self, message: journal.Servers) -> None:
        """Restore the state from a message made by `to_message`."""
        self.members.load(message.members)
        self.generation, self.restore_from = message.generation, message.restore_from
        self._keep_step = message.keep_step
