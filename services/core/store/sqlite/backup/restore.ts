import { chmodSync, chownSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { AuditedAct } from '#fleet/audit.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import { prepare, SqliteConnection } from '../file/connection.ts'
import { type DatabasePath, identify, isSameFile, makeDatabasePath } from '../file/database-path.ts'
import { inspectSchema } from '../file/schema.ts'
import { isDamage, refusalOf } from '../file/sqlite-errors.ts'
import { AuditChainTable, headOf } from '../tables/audit-chain.ts'
import { madeAtOf, stampOf } from './backup.ts'
import { carryOver, hasTable, type Loss } from './carry-over.ts'
import { type CopyParts, copyDatabase, removeLeftDrafts, sync } from './copy-database.ts'
import { type ExclusiveDatabase, openExclusively } from './exclusive-open.ts'
import { checkIntegrity, demandFinished, type IntegrityReport } from './integrity-check.ts'

export interface RestoreWish {
  /** The backup to go back to. */
  readonly backup: string
  /** The message database whose place it takes. */
  readonly database: string
}

export interface Restored {
  readonly database: string
  /** Where the former one lies now, as it was; null where there was none. */
  readonly kept: string | null
  /** What is gone; null where the former one was missing or damaged, so that nobody knows. */
  readonly loss: Loss | null
  readonly proof: IntegrityReport
}

/**
 * Puts a backup in the place of the database. The copy is gone through whole before and after it is made fit (`carryOver`),
 * and takes its place by one rename(2): a crash leaves the former one or the restored one, each whole. Refused, with nothing
 * changed, while anybody has the database open. Throws `S2Error`.
 */
export async function restoreDatabase(wish: RestoreWish, parts: CopyParts): Promise<Restored> {
  const databasePath = await makeDatabasePath(wish.database)
  demandFinished(wish.backup)
  if (isSameFile(identify(wish.backup), identify(databasePath.path))) {
    throw new S2Error('invalid', `${wish.backup} is the database itself`, { next: 'name a backup: `s2 backup list`' })
  }
  const draft = `${databasePath.path}.restoring-${process.pid}`
  try {
    removeLeftDrafts(databasePath.folder, /\.restoring-\d+(-journal|-wal|-shm)?$/, parts.clock.wall())
    await copyDatabase(wish.backup, draft, parts).catch((error: unknown) => {
      throw isDamage((error as S2Error).cause) ? unfit(error, draft, wish.backup) : error
    })
    proveDraft(draft, wish.backup)
    return await takePlace(draft, databasePath, wish, parts.clock)
  } catch (error) {
    throw refusalOf(error, databasePath.path)
  } finally {
    for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(draft + suffix, { force: true })
  }
}

async function takePlace(
  draft: string,
  databasePath: DatabasePath,
  wish: RestoreWish,
  clock: Clock,
): Promise<Restored> {
  const { path, folder } = databasePath
  using former = openExclusively(path)
  using beats = openExclusively(databasePath.liveness)
  const kept = former === null ? null : `${path}.replaced-${stampOf(clock.wall())}`
  const loss = makeFit(draft, former, wish, clock)
  const proof = proveDraft(draft, wish.backup)
  takeAfter(draft, path)
  await sync(draft)
  // They are of another time, and say nothing that is not said anew within seconds.
  beats?.discard()
  if (kept !== null) former?.keepAs(kept)
  renameSync(draft, path)
  await sync(folder)
  return { database: path, kept, loss, proof }
}

function proveDraft(draft: string, backup: string): IntegrityReport {
  try {
    using connection = new SqliteConnection(draft, { create: false })
    return checkIntegrity(connection, draft)
  } catch (error) {
    throw unfit(error, draft, backup)
  }
}

function unfit(error: unknown, draft: string, backup: string): S2Error {
  const { code, message } = refusalOf(error, backup)
  return new S2Error(code, `nothing was restored: ${message.replaceAll(draft, backup)}`, {
    next: 'take another one: `s2 backup list` shows what there is, `s2 backup verify` what is sound',
    cause: error,
  })
}

/** Carries over what must not be forgotten, and puts on record that the past was brought back. */
function makeFit(draft: string, former: ExclusiveDatabase | null, { backup }: RestoreWish, clock: Clock): Loss | null {
  using fresh = new SqliteConnection(draft, { create: false })
  const carryFrom = (from: SqliteConnection | null): Loss | null =>
    fresh.transaction(() => {
      const now = Math.floor(clock.wall())
      const loss = carryOver(fresh, from, madeAtOf(backup) ?? now, now)
      if (hasTable(fresh, 's2_audit'))
        record(fresh, { backup: basename(backup), ...loss }, from, { ...clock, wall: () => now })
      return loss
    })
  const loss = carryPastDamage(readableOf(former), carryFrom)
  // It goes on with a log from its first instant, so that nobody who opens it has to switch it to one.
  prepare(fresh, 'FULL', 'make')
  fresh.pragma('wal_checkpoint(TRUNCATE)')
  return loss
}

/** As if nothing could be read of a former database that turns out to be damaged on the way. */
function carryPastDamage(
  former: SqliteConnection | null,
  carryFrom: (from: SqliteConnection | null) => Loss | null,
): Loss | null {
  try {
    return carryFrom(former)
  } catch (error) {
    if (former === null || !isDamage(error)) throw error
    return carryFrom(null)
  }
}

/** Null where it is damaged, holds nothing, or was written by a newer S2. Throws where it is something else's. */
function readableOf(former: ExclusiveDatabase | null): SqliteConnection | null {
  const connection = former?.connection ?? null
  if (connection === null) return null
  try {
    return inspectSchema(connection, 'the database in its place') === 'nothing' ? null : connection
  } catch (error) {
    if (isDamage(error) || hasTable(connection, 's2_migrations')) return null
    throw error
  }
}

/** The end of the chain that is given up is named in the one that goes on: both can be checked against each other. */
function record(
  fresh: SqliteConnection,
  details: AuditedAct['details'],
  former: SqliteConnection | null,
  clock: Clock,
): void {
  const replaced = former !== null && hasTable(former, 's2_audit') ? headOf(former) : null
  new AuditChainTable(fresh, clock).append({
    actor: 'admin',
    action: 'database_restored',
    details: { ...details, replaced },
  })
}

/** Belongs to whom the former one belonged to, or the folder does, and may be used by the same. */
function takeAfter(draft: string, path: string): void {
  const former = statSync(path, { throwIfNoEntry: false })
  const { uid, gid } = former ?? statSync(dirname(path))
  const own = statSync(draft)
  if (own.uid !== uid || own.gid !== gid) chownSync(draft, uid, gid)
  chmodSync(draft, (former?.mode ?? 0o600) & 0o666)
}
