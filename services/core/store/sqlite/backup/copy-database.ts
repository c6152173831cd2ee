import { closeSync, openSync, readdirSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { SqliteConnection, waitingForLock } from '../file/connection.ts'
import { demandRoom, fullByCopy } from '../file/disk-room.ts'
import { demandNoTrace } from '../file/shared-rights.ts'
import { isFull, refusalOf, sqliteCode } from '../file/sqlite-errors.ts'

export interface CopyParts {
  readonly clock: Clock
  readonly chance: Chance
  /** Bytes that may still be written into a folder. */
  readonly roomIn: (folder: string) => number
}

/** How long a locked database is waited for, and how long a copy may take in all. Milliseconds. */
const LOCK_WAIT_MAX_MS = 10_000
const COPY_MAX_MS = 3_600_000

/**
 * Copies a database, to which others may be writing, into a new file without a log that its owner alone may read: all of it
 * as it was at one instant. The caller syncs it, and removes what there is of it where this throws `S2Error`.
 */
export async function copyDatabase(from: string, to: string, parts: CopyParts): Promise<void> {
  const { clock, chance } = parts
  using source = openSource(from)
  await waitingForLock(() => source.beginReading(), from, { clock, chance, boundMs: LOCK_WAIT_MAX_MS })
  const target = { folder: dirname(to), setting: 'S2_BACKUPS' } as const
  const bytes = Number(source.pragma('page_count')) * Number(source.pragma('page_size'))
  demandRoom({ ...target, original: from, bytes }, parts.roomIn(target.folder))
  const end = clock.now() + COPY_MAX_MS
  closeSync(openSync(to, 'wx', 0o600)) // made here, so that nobody else can ever read it
  try {
    await source.copyTo(to, () => {
      if (clock.now() > end) throw tooSlow(from)
    })
    source.rollback()
    using copy = new SqliteConnection(to, { create: false })
    copy.pragma('synchronous = OFF') // a file without a name of its own yet is synced once, by whoever names it
    copy.pragma('journal_mode = DELETE') // one file, which can be read wherever it is put
  } catch (error) {
    if (isFull(error)) throw fullByCopy(target, error)
    throw refusalOf(error, /CORRUPT|NOTADB/.test(sqliteCode(error) ?? '') ? from : target.folder)
  }
}

function openSource(path: string): SqliteConnection {
  try {
    demandNoTrace({ path, folder: dirname(path) })
    return new SqliteConnection(path, { create: false })
  } catch (error) {
    throw refusalOf(error, path)
  }
}

/** Removes drafts of copies that were not finished: those that nobody has written to for an hour. */
export function removeLeftDrafts(folder: string, isDraft: RegExp, now: number): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    const draft = isDraft.test(name) ? statSync(path, { throwIfNoEntry: false }) : undefined
    if (draft !== undefined && now - draft.mtimeMs > COPY_MAX_MS) rmSync(path, { force: true })
  }
}

function tooSlow(path: string): S2Error {
  return new S2Error('unavailable', `the copy of ${path} was not done within an hour`, {
    next: 'look at the disk, and at what else is busy on it; nothing was changed',
  })
}
