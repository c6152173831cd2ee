import { linkSync, renameSync, rmSync } from 'node:fs'
import { S2Error } from '#fleet/errors.ts'
import { SqliteConnection } from '../file/connection.ts'
import { identify } from '../file/database-path.ts'
import { holdersOf } from '../file/lock-holders.ts'
import { isBusy, isDamage, refusalOf } from '../file/sqlite-errors.ts'

/**
 * A database that was taken out of use, so that another can take its place: no other process has it open, and none can open
 * it until this is disposed. Where it is too damaged to be opened, no process had it open when this was checked.
 */
export interface ExclusiveDatabase extends Disposable {
  /** To read what it held; null where it is damaged. */
  readonly connection: SqliteConnection | null
  /** Keeps it under another name, and removes the files beside it, which its successor must not find. */
  keepAs(path: string): void
  /** Removes it and the files beside it. */
  discard(): void
}

/** The endings of files that SQLite finds by a database's name and takes for parts of it. */
const BESIDE = ['-wal', '-shm', '-journal'] as const

/**
 * Takes a database out of use; null where there is none, not even a log of one. Throws `unavailable`, naming who has it open,
 * and then nothing has changed.
 */
export function openExclusively(path: string): ExclusiveDatabase | null {
  if (['', ...BESIDE].every((suffix) => identify(path + suffix) === null)) return null
  const connection = identify(path) === null ? null : openAlone(path)
  if (connection === null) demandUnheld(path)
  return {
    connection,
    keepAs: (kept) => {
      // Where it could be opened its log was checkpointed, so the files beside it hold nothing.
      for (const suffix of BESIDE) {
        if (connection === null && identify(path + suffix) !== null) renameSync(path + suffix, kept + suffix)
        else rmSync(path + suffix, { force: true })
      }
      if (identify(path) !== null) linkSync(path, kept)
    },
    discard: () => {
      for (const suffix of [...BESIDE, '']) rmSync(path + suffix, { force: true })
    },
    [Symbol.dispose]: () => connection?.[Symbol.dispose](),
  }
}

/**
 * Opens it exclusively. A process holds a lock for as long as it has a WAL database open, so this is refused while there is
 * one, in any container of this machine. The log is checkpointed and removed: a process that opened the file a moment before
 * its name went to another file finds no log to write to, and SQLite refuses to write to a database without a log whose name
 * belongs to another file by now. With a log that process would write into the successor's. Null where it is damaged.
 */
function openAlone(path: string): SqliteConnection | null {
  let connection: SqliteConnection | undefined
  try {
    connection = new SqliteConnection(path, { create: false })
    connection.pragma('locking_mode = EXCLUSIVE')
    if (connection.pragma('journal_mode = DELETE') !== 'delete') throw inUse(path)
    connection.exec('BEGIN EXCLUSIVE; COMMIT')
    return connection
  } catch (error) {
    connection?.[Symbol.dispose]()
    if (error instanceof S2Error) throw error
    if (isBusy(error)) throw inUse(path)
    if (isDamage(error)) return null
    throw refusalOf(error, path)
  }
}

function demandUnheld(path: string): void {
  for (const suffix of ['', ...BESIDE]) {
    const file = identify(path + suffix)
    if (file !== null && holdersOf(file)?.length !== 0) throw inUse(path)
  }
}

function inUse(path: string): S2Error {
  const files = ['', '-shm'].map((suffix) => identify(path + suffix)).filter((file) => file !== null)
  const holders = [...new Set(files.flatMap((file) => holdersOf(file) ?? []))]
  const who = holders.length === 0 ? 'another process' : holders.join(', ')
  return new S2Error('unavailable', `${path} is in use by ${who}; nothing was changed`, {
    next: 'stop what uses it first, e.g. systemctl stop s2-bridge s2-watchdog s2-fs-watcher, and any other bridge',
  })
}
