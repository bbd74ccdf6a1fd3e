"""Django imports this module by its name; the class differs from Django's own in the pool that it makes."""

from typing import Any

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base

from postgres_deadline.pool import DeadlinePool


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, with a DeadlinePool where OPTIONS["pool"] is set."""

    _connection_pools: dict[str, Any]
    _configure_connection: Any

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
