"""What a verification is asked, says on its way, and reports in the end."""

from typing import Protocol

import msgspec

from schemas.ids import UserKey
from streams.clients.verification.findings import Finding
from topology import keys


class StageBooks(msgspec.Struct, frozen=True, kw_only=True):
    """How the books of one stage add up; see `schemas.outcome`.

    Attributes:
        stage: its name.
        topic: what it reads.
        records: that it has passed; equal to the three outcomes together when the books balance.
        pending: records that it has still to settle.
    """

    stage: str
    topic: str
    records: int
    applied: int
    filtered: int
    dead_lettered: int
    pending: int


class Mended(msgspec.Struct, kw_only=True):
    """What was written to the store.

    Attributes:
        memories_written: missing, older or different ones, as the log has them.
        memories_deleted: those that the log has not.
        heads_written: put behind them.
    """

    memories_written: int = 0
    memories_deleted: int = 0
    heads_written: int = 0


class Report(msgspec.Struct, kw_only=True):
    """What a verification saw.

    Attributes:
        sound: whether nothing is wrong, or nothing any more.
        partitions: how many were read; those with a hanging transaction are not, unless it hangs in the ledger alone.
        users: how many the changes are about.
        changes: how many there are.
        changes_pending: those that index has still to settle; the store may lack them.
        memories: how many the store gave of these users.
        heads: how many there are.
        versions: how many Redis has; none where Redis does not answer, which is no fault.
        books: per stage, of the partitions whose ledger no transaction holds up; none when only some users were looked
            at.
        findings: what was wrong when looked at first.
        mended: what was written; none unless asked for.
        left: what is wrong after that.
    """

    sound: bool = True
    partitions: int = 0
    users: int = 0
    changes: int = 0
    changes_pending: int = 0
    memories: int = 0
    heads: int = 0
    versions: int | None = 0
    books: list[StageBooks] = []
    findings: list[Finding] = []
    mended: Mended | None = None
    left: list[Finding] = []


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to look at; books and watermarks are about everybody, and so are left out of a narrower scope.

    Attributes:
        tenant: only users of this tenant.
        user_id: only this user.
    """

    tenant: str | None = None
    user_id: str | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.tenant is None and self.user_id is None

    def has(self, user: UserKey) -> bool:
        """Whether a user is in it."""
        return self.tenant in (None, user.tenant) and self.user_id in (None, user.user_id)

    @property
    def user(self) -> UserKey | None:
        """The one user in it, if it names one."""
        return None if self.tenant is None or self.user_id is None else UserKey(self.tenant, self.user_id)

    def partitions(self, count: int) -> range:
        """Where its users are."""
        if self.user is None:
            return range(count)
        partition = keys.partition_of(self.user, count)
        return range(partition, partition + 1)


class Progress(Protocol):
    """Told how a verification goes on."""

    def begin(self, offsets: int) -> None:
        """So many offsets will be read."""

    def say(self, doing: str) -> None:
        """What is being done now."""

    def advance(self, offsets: int) -> None:
        """So many more have been read."""
