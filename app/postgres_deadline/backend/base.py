"""Django imports this module by its name; the class differs from Django's own in its pool, and where a connection is
lost inside a transaction.
"""

from typing import Any

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base

from postgres_deadline.pool import DeadlinePool


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, with a DeadlinePool where OPTIONS["pool"] is set."""

    _connection_pools: dict[str, Any]
    _configure_connection: Any

    def set_autocommit(self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False) -> None:
        """As Django's, which ends every transaction with it, also one in which the connection was lost.

        There it would connect only to set what a new connection has anyway, fail once more, and that error would take
        the place of the COMMIT's: "nothing was sent" instead of "unknown".
        """
        if autocommit and self.connection is None:
            self.autocommit = True
            return
        super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)

    @property
    def pool(self) -> DeadlinePool | None:
        """The process's pool of this alias, made on first use; None when the alias has none."""
        options = self.settings_dict["OPTIONS"].get("pool")
        if self.alias == NO_DB_ALIAS or not options:
            return None
        if self.alias not in self._connection_pools:
            made = DeadlinePool(
                kwargs={**self.get_connection_params(), "autocommit": True},
                open=False,
                configure=self._configure_connection,
                **options,
            )
            # Of two threads at once the first wins; the other's pool was never opened.
            self._connection_pools.setdefault(self.alias, made)
        return self._connection_pools[self.alias]  # type: ignore[no-any-return]
