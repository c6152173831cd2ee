import { hash } from 'node:crypto'
import { rmSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import { S2Error } from '#fleet/errors.ts'
import { ensureDurableFolder, syncPath } from '#runtime/durable-folder.ts'

/** What a segment holds, and between which numbers. */
export interface SegmentRange {
  readonly kind: 'audit' | 'messages'
  readonly first: number
  readonly last: number
  /** The hash before the first entry, so that the file can be verified alone; of messages, empty. */
  readonly previous: string
}

/** A file in the folder of segments, and the SHA-256 of its text. */
export interface SegmentFile {
  readonly file: string
  readonly digest: string
}

/** The first line of a segment. */
export interface SegmentHeader extends SegmentRange {
  readonly format: 's2-segment-1'
  /** Of the store that it was sealed from. */
  readonly store: string
}

/** Most bytes that a segment may have when it is unpacked: more is no segment of ours. */
const TEXT_MAX = 256 * 1024 * 1024
const zip = promisify(gzip)
const unzip = promisify(gunzip)

/** Where the segments of a database lie. */
export function segmentsFolder(database: string): string {
  return join(dirname(database), 'segments')
}

/**
 * Writes lines into a file of their own: draft, fsync, rename. Its name has its digest, so that one that is written again after
 * a crash takes the place of the first, and segments of two stores never meet.
 */
export async function writeSegment(
  folder: string,
  store: string,
  range: SegmentRange,
  lines: readonly string[],
): Promise<SegmentFile> {
  const header: SegmentHeader = { format: 's2-segment-1', store, ...range }
  const text = [JSON.stringify(header), ...lines, ''].join('\n')
  const digest = hash('sha256', text, 'hex')
  const file = `${range.kind}-${String(range.first).padStart(12, '0')}-${range.last}-${digest.slice(0, 12)}.jsonl.gz`
  const path = join(folder, file)
  await ensureDurableFolder(folder)
  const draft = `${path}.draft-${process.pid}`
  try {
    await writeFile(draft, await zip(text), { mode: 0o600 })
    await syncPath(draft)
    await rename(draft, path)
  } finally {
    rmSync(draft, { force: true })
  }
  await syncPath(folder)
  return { file, digest }
}

/** Reads a segment: its header, its lines and the digest of its text. Throws `unavailable` where it cannot be read. */
export async function readSegment(
  path: string,
): Promise<{ readonly header: SegmentHeader; readonly lines: readonly string[]; readonly digest: string }> {
  try {
    const text = (await unzip(await readFile(path), { maxOutputLength: TEXT_MAX })).toString('utf8')
    const [first = '', ...lines] = text.split('\n').slice(0, -1)
    const header = JSON.parse(first) as SegmentHeader
    if (header.format !== 's2-segment-1') throw new Error('its first line names another format')
    return { header, lines, digest: hash('sha256', text, 'hex') }
  } catch (cause) {
    throw new S2Error('unavailable', `the segment ${path} cannot be read: ${(cause as Error).message}`, {
      next: 'put back the file as it was, from a backup of the folder',
      cause,
    })
  }
}
