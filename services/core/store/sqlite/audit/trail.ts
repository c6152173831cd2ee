import { dirname, join } from 'node:path'
import type { AuditEntry } from '#fleet/audit.ts'
import { CHAIN_START } from '#fleet/audit.ts'
import type { SignedHead } from '#fleet/audit-head.ts'
import { hashedEntryOf } from '#fleet/chain-check.ts'
import { S2Error } from '#fleet/errors.ts'
import { SqliteConnection } from '../file/connection.ts'
import { inspectSchema } from '../file/schema.ts'
import { demandNoTrace } from '../file/shared-rights.ts'
import { refusalOf } from '../file/sqlite-errors.ts'
import { type AuditRow, allRows, baseOf, hasSegments, storeIdOf } from '../tables/audit-chain.ts'
import { countPlanted, countUnsealed, hashForeignRows } from './foreign-rows.ts'
import { readSegment } from './segment-file.ts'
import { detailsOf, TrailCheck, type TrailReport } from './trail-report.ts'

/** A segment as the database names it. */
interface NamedSegment {
  readonly kind: 'audit' | 'messages'
  readonly first: number
  readonly last: number
  readonly hash: string
  readonly digest: string
  readonly file: string
}

export interface TrailParts {
  /** Where the segments lie; null goes through the database alone. */
  readonly segments: string | null
  readonly heads: readonly SignedHead[]
  /** Whose signatures of heads count; null: every key's own. */
  readonly keys: ReadonlySet<string> | null
  /** Called now and then with the entries gone through so far. */
  onProgress(entries: number): void
}

const PROGRESS_EVERY = 50_000

/**
 * Goes through the audit trail of a database and its segments: every entry, every file, every range of foreign rows, and the
 * kept heads. Others may write meanwhile; what is seen is one instant of it. Throws where the file is no database of S2.
 */
export async function verifyTrail(path: string, parts: TrailParts): Promise<TrailReport> {
  return await reading(path, async (connection) => {
    const named = segmentsOf(connection)
    const start = parts.segments === null ? baseOf(connection) : CHAIN_START
    const check = new TrailCheck(start, storeIdOf(connection), parts.heads, parts.keys)
    const sealed = new Map<string, NamedSegment>()
    let unsealedAfter = 0
    let entries = 0
    const take = (row: AuditRow): void => {
      check.take(row)
      entries += 1
      if (entries % PROGRESS_EVERY === 0) parts.onProgress(entries)
      if (row.action === 'segment_sealed') noteSealed(row, sealed, check)
      if (row.action === 'foreign_sealed') unsealedAfter = compareForeign(row, connection, check) ?? unsealedAfter
    }
    const digests = parts.segments === null ? null : await readSegments(named, parts.segments, check, take)
    for (const row of allRows(connection)) take(row)
    judgeSegments(named, sealed, digests, check)
    check.leftUnsealed(countUnsealed(connection, unsealedAfter))
    const planted = countPlanted(connection)
    if (planted > 0) {
      check.fault({
        seq: 0,
        kind: 'foreign_rows',
        text: `${planted} rows of audit_log stand before the first that can be`,
      })
    }
    return check.report()
  })
}

/** All entries of a trail in order: those of its segments, then those of the database. Checks nothing. */
export async function* readTrail(path: string, folder: string): AsyncGenerator<AuditRow> {
  using connection = openTrail(path)
  connection.beginReading()
  for (const { kind, file } of segmentsOf(connection)) {
    if (kind === 'audit') yield* (await readSegment(join(folder, file))).lines.map(rowOfLine)
  }
  yield* allRows(connection)
}

/** The entry of a line of a segment or an export. Throws `invalid`. */
export function rowOfLine(line: string): AuditRow {
  try {
    const { detailsJson, hash, version, seq, at, actor, action, what, result, latencyMs, request } = hashedEntryOf(
      JSON.parse(line) as AuditEntry,
    )
    return { version, seq, at, actor, action, what, result, latencyMs, request, detailsJson, hash }
  } catch (cause) {
    throw new S2Error('invalid', 'a line is not an entry of the audit trail', { cause })
  }
}

/** The store whose database this is; null where S2 never wrote to it. */
export function storeIdIn(path: string): string | null {
  using connection = openTrail(path)
  return storeIdOf(connection)
}

async function reading<T>(path: string, read: (connection: SqliteConnection) => Promise<T>): Promise<T> {
  using connection = openTrail(path)
  try {
    connection.beginReading()
    return await read(connection)
  } catch (error) {
    throw refusalOf(error, path)
  }
}

function openTrail(path: string): SqliteConnection {
  try {
    demandNoTrace({ path, folder: dirname(path) })
    const connection = new SqliteConnection(path, { create: false })
    if (inspectSchema(connection, path) === 'ours') return connection
    connection[Symbol.dispose]()
  } catch (error) {
    throw refusalOf(error, path)
  }
  throw new S2Error('invalid', `${path} has no audit trail: S2 never wrote to it`, {
    next: 'name the database of the bridge, a backup of it, an export or a segment',
  })
}

function segmentsOf(connection: SqliteConnection): NamedSegment[] {
  if (!hasSegments(connection)) return []
  return connection.all<NamedSegment>(
    'SELECT kind, first, last, hash, digest, file FROM s2_segments ORDER BY kind, first, id',
  )
}

/** Goes through the files; answers the digest of each that can be read. */
async function readSegments(
  named: readonly NamedSegment[],
  folder: string,
  check: TrailCheck,
  take: (row: AuditRow) => void,
): Promise<Map<string, string>> {
  const digests = new Map<string, string>()
  for (const { kind, file, first, last } of named) {
    try {
      const { lines, digest } = await readSegment(join(folder, file))
      digests.set(file, digest)
      check.tookSegment()
      if (kind === 'audit') for (const line of lines) take(rowOfLine(line))
    } catch (error) {
      check.fault({ seq: first, kind: 'segment', text: `${kind} ${first} to ${last}: ${(error as Error).message}` })
    }
  }
  return digests
}

function noteSealed(row: AuditRow, sealed: Map<string, NamedSegment>, check: TrailCheck): void {
  const segment = detailsOf(row)
  if (segment !== null && isNamedSegment(segment)) sealed.set(segment.file, segment)
  else check.unreadable(row)
}

function isNamedSegment(details: object): details is NamedSegment {
  const { kind, first, last, hash, digest, file } = details as Record<keyof NamedSegment, unknown>
  const areTexts = [kind, hash, digest, file].every((each) => typeof each === 'string')
  return areTexts && [first, last].every(Number.isSafeInteger)
}

/** The database names segments for speed; what counts is that the chain names the same ones. */
function judgeSegments(
  named: readonly NamedSegment[],
  sealed: ReadonlyMap<string, NamedSegment>,
  digests: ReadonlyMap<string, string> | null,
  check: TrailCheck,
): void {
  const newest = named.findLast(({ kind }) => kind === 'audit')
  for (const segment of named) {
    const { file, first, last, digest, hash } = segment
    const told = sealed.get(file)
    const isSame = told?.first === first && told.last === last && told.digest === digest && told.hash === hash
    // Without the files, only the newest segment's entry is surely among those that were gone through.
    const isKnown = digests !== null || told !== undefined || segment === newest
    if (isKnown && !isSame) {
      check.fault({ seq: first, kind: 'segment', text: `the chain does not name the segment ${file}, or otherwise` })
    } else if (digests?.has(file) === true && digests.get(file) !== digest) {
      check.fault({ seq: first, kind: 'segment', text: `the segment ${file} was changed` })
    }
  }
  const files = new Set(named.map(({ file }) => file))
  for (const { file, first } of sealed.values()) {
    if (!files.has(file)) {
      check.fault({
        seq: first,
        kind: 'segment',
        text: `the segment ${file} is in the chain, and the database does not name it`,
      })
    }
  }
}

/** Compares a range of rows of others with the entry that seals it; answers the last row of the range, null where it names none. */
function compareForeign(row: AuditRow, connection: SqliteConnection, check: TrailCheck): number | null {
  const { from, to, rows, hash } = (detailsOf(row) ?? {}) as Record<'from' | 'to' | 'rows', number> & { hash: string }
  if (![from, to, rows].every(Number.isSafeInteger)) {
    check.unreadable(row)
    return null
  }
  const found = hashForeignRows(connection, from, to)
  check.tookForeign(found.rows)
  if (found.hash === hash) return to
  const how = found.rows === rows ? 'one of them was changed' : `there were ${rows}, and there are ${found.rows}`
  check.fault({ seq: row.seq, kind: 'foreign_rows', text: `rows ${from} to ${to} of audit_log: ${how}` })
  return to
}
