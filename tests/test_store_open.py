"""Opening a store: its tables, its faults in words, and the keys of those who may call."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from leadscore.errors import StoreError
from leadscore.store import (
    create_key,
    find_key,
    list_keys,
    object_to_scoring,
    open_store,
    reading,
    revoke_key,
    transaction,
)
from leadscore.store.schema import leads, metadata, touches
from leadscore.store.settings import secret
from tests.stores import NOON, contents, fresh_url, opened

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.store import Store

pytestmark = pytest.mark.integration

OPEN = "import sys; from leadscore.store import open_store; open_store(sys.argv[1])"


def test_the_migrations_make_the_tables_that_the_code_expects(database: Store) -> None:
    with database.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)

    # SQLite cannot say in which order an index is.
    assert [each for each in found if "ix_listed" not in repr(each)] == []
    indexes = {index["name"] for index in sa.inspect(database.engine).get_indexes("listed")}
    assert {index.name for index in metadata.tables["listed"].indexes} <= indexes


def test_a_second_opening_changes_nothing(database_url: str) -> None:
    with opened(database_url) as store:
        before = contents(store)
    with opened(database_url) as again:
        assert contents(again) == before


def test_many_may_open_a_new_database_at_once(database_url: str) -> None:
    other = subprocess.Popen([sys.executable, "-c", OPEN, database_url], stderr=subprocess.PIPE, text=True)
    faults: list[str] = []
    ready = threading.Barrier(8)

    def work() -> None:
        ready.wait()
        try:
            open_store(database_url).close()
        except StoreError as fault:
            faults.append(str(fault))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (faults, other.communicate()[1]) == ([], "")
    with opened(database_url) as store, reading(store) as connection:
        assert len(secret(connection)) == 32


def test_tables_of_a_later_leadscore_are_refused(database_url: str) -> None:
    with opened(database_url) as store, transaction(store) as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))

    with pytest.raises(StoreError, match="later leadscore"):
        open_store(database_url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "no URL of a database"),
        ("mysql://me:topsecret@here/x", "names mysql"),
        ("sqlite://", "names no file"),
        ("postgresql://me:topsecret@127.0.0.1:1/x", "cannot be opened"),
        ("postgresql://me@127.0.0.1:1/x?password=topsecret", "cannot be opened"),
        ("sqlite:////proc/no/store.db", "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_opened_is_said_without_its_password(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as refused:
        open_store(url)

    assert "topsecret" not in str(refused.value)


def test_what_a_driver_says_is_told_without_the_password(tmp_path: Path) -> None:
    with fresh_url("postgresql", tmp_path) as url:
        nobody = sa.make_url(url).set(username="topsecret", password="topsecret")  # noqa: S106 - the server trusts all
        with pytest.raises(StoreError, match="cannot be opened") as refused:
            open_store(nobody.render_as_string(hide_password=False))

    said = str(refused.value).partition("opened: ")[2]
    assert "does not exist" in said
    assert "topsecret" not in said


def test_the_store_of_the_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEADSCORE_DATABASE_URL", raising=False)
    open_store().close()
    monkeypatch.setenv("LEADSCORE_DATABASE_URL", "sqlite:///other.db")
    open_store().close()

    assert (tmp_path / "models" / "leadscore.db").is_file()
    assert (tmp_path / "other.db").is_file()


def test_sqlite_is_set_to_lose_nothing(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path / 'store.db'}") as store, reading(store) as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        found = [connection.exec_driver_sql(f"PRAGMA {each}").scalar_one() for each in pragmas]

    assert found == ["wal", 2, 1]


def test_only_a_transaction_that_need_not_be_checked_is_not(tmp_path: Path) -> None:
    def store_orphan(lead: int, *, checked: bool, then: type[Exception] | None = None) -> None:
        row = {"lead": lead, "kind": "call", "occurred_at": 1, "recorded_at": 1, "event_key": bytes([lead])}
        with transaction(store, checked=checked) as connection:
            connection.execute(sa.insert(touches), row)
            if then is not None:
                raise then

    with opened(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store_orphan(1, checked=False)
        with pytest.raises(KeyError):
            store_orphan(2, checked=False, then=KeyError)
        with pytest.raises(sa.exc.IntegrityError, match="FOREIGN KEY"):
            store_orphan(3, checked=True)
        with reading(store) as connection:
            assert connection.execute(sa.select(touches.c.lead)).scalars().all() == [1]


def test_a_reader_sees_one_state_and_a_fault_writes_nothing(database: Store) -> None:
    row = {"lead_id": "a", "created_at": 1, "recorded_at": 1, "attributes": "{}", "do_not_score": False}
    with reading(database) as reader:
        count = sa.select(sa.func.count()).select_from(leads)
        assert reader.execute(count).scalar_one() == 0
        with transaction(database) as writer:
            writer.execute(sa.insert(leads), row)
        assert reader.execute(count).scalar_one() == 0
    with pytest.raises(sa.exc.IntegrityError) as refused, transaction(database) as writer:
        writer.execute(sa.insert(leads), row | {"attributes": "private"})
    assert "private" not in str(refused.value)


def test_a_database_that_goes_away_is_our_error(tmp_path: Path) -> None:
    with fresh_url("postgresql", tmp_path) as url, opened(url) as store:
        with pytest.raises(StoreError, match="cannot be used now"), transaction(store) as connection:
            connection.execute(sa.text("select pg_terminate_backend(pg_backend_pid())"))

        assert contents(store)["leads"] == []


def test_nothing_that_is_sent_is_logged(database: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "leadscore"), transaction(database) as connection:
        object_to_scoring(connection, "private", objects=True, at=NOON)

    assert "private" not in caplog.text


def test_a_key_is_found_until_it_is_revoked(database: Store) -> None:
    with transaction(database) as connection:
        key = create_key(connection, ["read", "score"], note="CRM", at=NOON)
        other = create_key(connection, ["erase"], at=NOON + 1)
        found = find_key(connection, key)

        assert found is not None
        assert (sorted(found.scopes), found.note, found.created_at) == (["read", "score"], "CRM", NOON)
        assert revoke_key(connection, found.id, at=NOON + 2)
        assert not revoke_key(connection, found.id, at=NOON + 3)
        assert find_key(connection, key) is None
        assert find_key(connection, other) is not None
        assert [each.revoked_at for each in list_keys(connection)] == [NOON + 2, None]


def test_a_key_is_kept_as_a_salted_hash(database: Store) -> None:
    with transaction(database) as connection:
        key = create_key(connection, ["read"], at=NOON)

    assert key.partition(".")[2] not in repr(contents(database))
    assert len(key.partition(".")[2]) == 43


def test_a_wrong_key_is_none(database: Store) -> None:
    with transaction(database) as connection:
        key_id, _, said = create_key(connection, ["read"], at=NOON).partition(".")
        wrong = ["", key_id, f"{key_id}.", f".{said}", f"{key_id}.{said}x", f"{key_id}.\0", f"{said}.{key_id}", "é.é"]

        assert [find_key(connection, each) for each in [*wrong, "\udc80.", "nobody.x"]] == [None] * 10


@pytest.mark.parametrize("scopes", [[], ["admin"], ["read", "all"]])
def test_a_key_needs_known_scopes(database: Store, scopes: list[str]) -> None:
    with pytest.raises(StoreError, match="score, read, write, erase"), transaction(database) as connection:
        create_key(connection, scopes, at=NOON)
