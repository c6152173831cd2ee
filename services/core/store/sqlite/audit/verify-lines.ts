import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { CHAIN_START, type ChainHead } from '#fleet/audit.ts'
import { S2Error } from '#fleet/errors.ts'
import type { AuditRow } from '../tables/audit-chain.ts'
import { readSegment } from './segment-file.ts'
import { rowOfLine, type TrailParts } from './trail.ts'
import { TrailCheck, type TrailReport } from './trail-report.ts'

/** What a file is that holds a trail, by its first bytes. */
export async function kindOfTrail(path: string): Promise<'database' | 'segment' | 'export'> {
  const file = await open(path, 'r').catch((cause) => {
    throw new S2Error('not_found', `${path} cannot be read`, {
      next: 'name a database, a backup, a segment or an export',
      cause,
    })
  })
  try {
    const { buffer } = await file.read(Buffer.alloc(16), 0, 16, 0)
    if (buffer.toString('latin1').startsWith('SQLite format 3')) return 'database'
    return buffer[0] === 0x1f && buffer[1] === 0x8b ? 'segment' : 'export'
  } finally {
    await file.close()
  }
}

type LineParts = Omit<TrailParts, 'segments'>

/** Goes through one segment: its chain from the hash that its first line names. */
export async function verifySegment(path: string, parts: LineParts): Promise<TrailReport> {
  const { header, lines } = await readSegment(path)
  const start = header.kind === 'audit' ? { seq: header.first - 1, hash: header.previous } : CHAIN_START
  const check = new TrailCheck(start, header.store, parts.heads, parts.keys)
  check.tookSegment()
  if (header.kind === 'audit') for (const line of lines) takeLine(line, check)
  else check.note(`it holds ${lines.length} messages: whether they are as they were, the trail of the database says`)
  return check.report()
}

/** Goes through an export line by line: the chain from the hash that its first line names. Throws `invalid` for what is none. */
export async function verifyExport(path: string, parts: LineParts): Promise<TrailReport> {
  let check: TrailCheck | undefined
  let count = 0
  let entries = 0
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line === '') continue
    check ??= beginExport(line, parts)
    if (takeLine(line, check)) entries += 1
    count += 1
    if (count % 50_000 === 0) parts.onProgress(count)
  }
  if (check !== undefined && entries > 0) return check.report()
  throw new S2Error('invalid', `${path} is no audit trail: none of its lines is an entry`, {
    next: 'name a database, a backup, a segment, or what `s2 audit export` printed',
  })
}

function beginExport(line: string, { heads, keys }: LineParts): TrailCheck {
  let start: ChainHead = CHAIN_START
  let store: string | null = null
  try {
    const { id, previous, seq } = JSON.parse(line) as { id: string; previous: string; seq: number }
    store = /^if:\/\/s2\/audit\/([^/]+)\//.exec(id)?.[1] ?? null
    if (seq > 1) start = { seq: seq - 1, hash: previous }
  } catch {
    // takeLine says what is wrong with it
  }
  return new TrailCheck(start, store, heads, keys)
}

/** Answers whether the line is an entry. */
function takeLine(line: string, check: TrailCheck): boolean {
  const row = rowOf(line)
  if (row !== null) check.take(row)
  else
    check.fault({
      seq: check.next,
      kind: 'unreadable',
      text: `the line where entry ${check.next} is due cannot be read`,
    })
  return row !== null
}

function rowOf(line: string): AuditRow | null {
  try {
    const row = rowOfLine(line)
    const texts = [row.actor, row.action, row.hash] // a head has a number and a hash too
    const isEntry = [row.seq, row.at].every(Number.isSafeInteger) && texts.every((each) => typeof each === 'string')
    return isEntry ? row : null
  } catch {
    return null
  }
}
