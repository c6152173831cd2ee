import { chmodSync, chownSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { AuditedAct } from '#fleet/audit.ts'
import type { RestoreSigner } from '#fleet/audit-restore.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import { syncPath } from '#runtime/durable-folder.ts'
import { SqliteConnection } from '../file/connection.ts'
import { type DatabasePath, identify, isSameFile, makeDatabasePath } from '../file/database-path.ts'
import { inspectSchema, migrate } from '../file/schema.ts'
import { isDamage, refusalOf } from '../file/sqlite-errors.ts'
import { AuditChainTable, headOf, storeIdOf } from '../tables/audit-chain.ts'
import { madeAtOf, stampOf } from './backup.ts'
import { carryOver, hasTable, type Loss } from './carry-over-counters.ts'
import { type CopyParts, copyDatabase, removeLeftDrafts } from './copy-database.ts'
import { type ExclusiveDatabase, openExclusively } from './exclusive-open.ts'
import { checkIntegrity, demandFinished, type IntegrityReport } from './integrity-check.ts'

export interface RestoreOrder {
  /** The backup to go back to. */
  readonly backup: string
  /** The message database whose place it takes. */
  readonly database: string
}

export interface RestoreParts extends CopyParts {
  /** By the orchestrator's key; null where it is not at hand: kept heads of the chain that is given up then count as altered. */
  readonly sign: RestoreSigner | null
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
 * Puts a backup in the place of the database. The copy is checked as a whole before and after `carryOver`, and takes its
 * place by one rename(2): a crash leaves the former database or the restored one, each whole. Refused, with nothing changed,
 * while any process has the database open. Throws `S2Error`.
 */
export async function restoreDatabase(order: RestoreOrder, parts: RestoreParts): Promise<Restored> {
  const databasePath = await makeDatabasePath(order.database)
  demandFinished(order.backup)
  if (isSameFile(identify(order.backup), identify(databasePath.path))) {
    throw new S2Error('invalid', `${order.backup} is the database itself`, { next: 'name a backup: `s2 backup list`' })
  }
  const draft = `${databasePath.path}.restoring-${process.pid}`
  try {
    removeLeftDrafts(databasePath.folder, /\.restoring-\d+(-journal|-wal|-shm)?$/, parts.clock.wall())
    await copyDatabase(order.backup, draft, parts).catch((error: unknown) => {
      throw isDamage((error as S2Error).cause) ? unusable(error, draft, order.backup) : error
    })
    checkRestored(draft, order.backup)
    return await takePlace(draft, databasePath, order, parts)
  } catch (error) {
    throw refusalOf(error, databasePath.path)
  } finally {
    for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(draft + suffix, { force: true })
  }
}

async function takePlace(
  draft: string,
  databasePath: DatabasePath,
  order: RestoreOrder,
  parts: RestoreParts,
): Promise<Restored> {
  const { path, folder } = databasePath
  using former = openExclusively(path)
  using beats = openExclusively(databasePath.liveness)
  const kept = former === null ? null : `${path}.replaced-${stampOf(parts.clock.wall())}`
  const loss = makeReady(draft, former, order, parts)
  const proof = checkRestored(draft, order.backup)
  takeOwnership(draft, path)
  await syncPath(draft)
  // Beats and verdicts of another time are wrong now, and new ones come within seconds.
  beats?.discard()
  if (kept !== null) former?.keepAs(kept)
  await syncPath(folder) // before the former one loses its place: the names of two files come in no order
  renameSync(draft, path)
  await syncPath(folder)
  return { database: path, kept, loss, proof }
}

function checkRestored(draft: string, backup: string): IntegrityReport {
  try {
    using connection = new SqliteConnection(draft, { create: false })
    return checkIntegrity(connection, draft)
  } catch (error) {
    throw unusable(error, draft, backup)
  }
}

function unusable(error: unknown, draft: string, backup: string): S2Error {
  const { code, message } = refusalOf(error, backup)
  return new S2Error(code, `nothing was restored: ${message.replaceAll(draft, backup)}`, {
    next: 'take another one: `s2 backup list` shows what there is, `s2 backup verify` what is sound',
    cause: error,
  })
}

/** Carries over what must not be lost, and records the restore in the audit chain. */
function makeReady(
  draft: string,
  former: ExclusiveDatabase | null,
  { backup }: RestoreOrder,
  { clock, sign }: RestoreParts,
): Loss | null {
  using fresh = new SqliteConnection(draft, { create: false })
  fresh.pragma('synchronous = OFF') // a draft is synced once, when it is ready
  if (hasTable(fresh, 's2_audit'))
    fresh.transaction(() => migrate(fresh, draft, Math.floor(clock.wall()), () => undefined))
  const carryFrom = (from: SqliteConnection | null): Loss | null =>
    fresh.transaction(() => {
      const now = Math.floor(clock.wall())
      const loss = carryOver(fresh, from, madeAtOf(backup) ?? now, now)
      if (hasTable(fresh, 's2_audit'))
        record(fresh, { backup: basename(backup), ...loss }, from, sign, { ...clock, wall: () => now })
      return loss
    })
  const loss = carryPastDamage(readableOf(former), carryFrom)
  // It has a write-ahead log from the start, so that nobody who opens it has to switch it to one.
  fresh.pragma('journal_mode = WAL')
  fresh.get('SELECT count(*) FROM sqlite_schema') // after a migration the checkpoint meets a lock of this connection's own without it
  fresh.pragma('wal_checkpoint(TRUNCATE)')
  return loss
}

/** Where the former database turns out to be damaged on the way, it counts as unreadable. */
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

/** The chain that goes on names the end of the chain that is given up, so that they can be checked against each other. */
function record(
  fresh: SqliteConnection,
  details: AuditedAct['details'],
  former: SqliteConnection | null,
  sign: RestoreSigner | null,
  clock: Clock,
): void {
  const replaced = former !== null && hasTable(former, 's2_audit') ? headOf(former) : null
  const { seq, hash: previous } = headOf(fresh)
  const store = storeIdOf(fresh) ?? 'none'
  const signed = sign?.({ store, seq: seq + 1, at: clock.wall(), previous, replaced })
  new AuditChainTable(fresh, clock).append({
    actor: 'admin',
    action: 'database_restored',
    details: { ...details, replaced, signed },
  })
}

/** Gives the draft the owner and mode of the former database, or else the owner of the folder. */
function takeOwnership(draft: string, path: string): void {
  const former = statSync(path, { throwIfNoEntry: false })
  const { uid, gid } = former ?? statSync(dirname(path))
  const own = statSync(draft)
  if (own.uid !== uid || own.gid !== gid) chownSync(draft, uid, gid)
  chmodSync(draft, (former?.mode ?? 0o600) & 0o666)
}
