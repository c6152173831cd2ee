/** A segment and an export by themselves: each line that is not as it was is found. */
import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { AUDIT_ROOT, type AuditEntry, auditHash } from '#fleet/audit.ts'
import { hashedEntryOf } from '#fleet/chain-check.ts'
import { readSegment, type SegmentRange, writeSegment } from '#store/sqlite/audit/segment-file.ts'
import type { TrailReport } from '#store/sqlite/audit/trail-report.ts'
import { kindOfTrail, verifyExport, verifySegment } from '#store/sqlite/audit/verify-lines.ts'

const STORE = '0123456789abcdef'
type Parts = Parameters<typeof verifyExport>[1]
const PARTS: Parts = { heads: [], keys: null, onProgress: () => undefined }

/** A folder that is removed with the test. */
class Folder implements AsyncDisposable {
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  static async make(): Promise<Folder> {
    return new Folder(await mkdtemp(join(tmpdir(), 's2-lines-')))
  }

  async write(text: string | Uint8Array): Promise<string> {
    const path = join(this.path, 'trail')
    await writeFile(path, text)
    return path
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true })
  }
}

/** A chain of five entries, the oldest first. */
const CHAIN: readonly AuditEntry[] = (() => {
  const entries: AuditEntry[] = []
  for (let seq = 1; seq <= 5; seq += 1) {
    const names = { version: 2 as const, actor: 'admin', action: 'send', what: null, result: 'done', request: null }
    const bare = { ...names, seq, at: seq * 1_000, latencyMs: null, details: { message: seq }, hash: '' }
    entries.push({ ...bare, hash: auditHash(entries.at(-1)?.hash ?? AUDIT_ROOT, hashedEntryOf(bare)) })
  }
  return entries
})()

/** The hash that the entry of this number follows. */
function before(seq: number): string {
  return CHAIN[seq - 2]?.hash ?? AUDIT_ROOT
}

function found({ faults }: TrailReport): string[] {
  return faults.map(({ kind, seq }) => `${kind} ${seq}`)
}

/** What can be done to the third of five lines, and what is found then. */
const ALTERATIONS: readonly (readonly [string, (line: string) => readonly string[], readonly string[]])[] = [
  ['nothing', (line) => [line], []],
  ['changed', (line) => [line.replace('admin', 'nobody')], ['changed 3']],
  ['removed', () => [], ['missing 3']],
  ['doubled', (line) => [line, line], ['out_of_order 3']],
  ['no JSON', () => ['no JSON'], ['unreadable 3', 'missing 3']],
  ['no entry', () => ['{}'], ['unreadable 3', 'missing 3']],
  ...['actor', 'action', 'hash', 'seq', 'at'].map(
    (field) =>
      [
        `without ${field}`,
        (line: string) => [JSON.stringify({ ...JSON.parse(line), [field]: null })],
        ['unreadable 3', 'missing 3'],
      ] as const,
  ),
]

function altered(lines: readonly string[], alter: (line: string) => readonly string[]): string[] {
  return lines.flatMap((line, index) => (index === 2 ? alter(line) : line))
}

suite('what a file is', () => {
  test('its first bytes say, and it is closed again', async () => {
    await using folder = await Folder.make()
    for (const [bytes, kind] of [
      ['SQLite format 3\0and more', 'database'],
      [Uint8Array.of(0x1f, 0x8b, 8), 'segment'],
      [Uint8Array.of(0x1f, 0x8c, 8), 'export'],
      [Uint8Array.of(0x20, 0x8b, 8), 'export'],
      ['{"seq":1}', 'export'],
      ['', 'export'],
    ] as const) {
      const path = await folder.write(bytes)
      assert.equal(await kindOfTrail(path), kind)
      assert.ok(!openFiles().includes(path))
    }
    await assert.rejects(kindOfTrail(join(folder.path, 'none')), { code: 'not_found' })
  })
})

function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return [] // that of the folder itself
    }
  })
}

suite('a segment', () => {
  const lines = CHAIN.map((entry) => JSON.stringify(entry))
  const range = (first: number): SegmentRange => ({ kind: 'audit', first, last: 5, previous: before(first) })

  async function seal(folder: Folder, range: SegmentRange, lines: readonly string[]): Promise<string> {
    const { file } = await writeSegment(folder.path, STORE, range, lines)
    return join(folder.path, file)
  }

  for (const [how, alter, faults] of ALTERATIONS) {
    test(`with a line that is ${how} is found so`, async () => {
      await using folder = await Folder.make()
      const report = await verifySegment(await seal(folder, range(1), altered(lines, alter)), PARTS)
      assert.deepEqual(found(report), faults)
      assert.deepEqual([report.segments, report.last, report.store], [1, 5, STORE])
    })
  }

  test('that begins later is whole from the hash that its first line names', async () => {
    await using folder = await Folder.make()
    const report = await verifySegment(await seal(folder, range(3), lines.slice(2)), PARTS)
    const { verdict, first, last, entries, head, endedAt } = report
    assert.deepEqual([verdict, first, last, entries, endedAt], ['whole', 3, 5, 3, 5_000])
    assert.equal(head.hash, CHAIN[4]?.hash)
    const wrong = { ...range(3), previous: AUDIT_ROOT }
    assert.deepEqual(found(await verifySegment(await seal(folder, wrong, lines.slice(2)), PARTS)), ['changed 3'])
  })

  test('of messages says that it alone proves nothing of them', async () => {
    await using folder = await Folder.make()
    const path = await seal(folder, { kind: 'messages', first: 7, last: 8, previous: '' }, ['{"id":7}', '{"id":8}'])
    const { verdict, entries, segments, faults, notes } = await verifySegment(path, PARTS)
    assert.deepEqual([verdict, entries, segments, faults], ['whole', 0, 1, []])
    assert.match(notes.join(), /^it holds 2 messages/)
    assert.equal((await readSegment(path)).lines.length, 2)
  })
})

suite('an export', () => {
  /** As `s2 audit export` prints it. */
  const lines = CHAIN.map((entry) =>
    JSON.stringify({ id: `if://s2/audit/${STORE}/${entry.seq}`, previous: before(entry.seq), ...entry }),
  )
  const check = async (folder: Folder, lines: readonly string[], parts = PARTS): Promise<TrailReport> =>
    await verifyExport(await folder.write(lines.join('\n')), parts)

  for (const [how, alter, faults] of ALTERATIONS) {
    test(`with a line that is ${how} is found so`, async () => {
      await using folder = await Folder.make()
      const report = await check(folder, altered(lines, alter))
      assert.deepEqual(found(report), faults)
      assert.deepEqual([report.last, report.store], [5, STORE])
    })
  }

  test('may begin anywhere, end anywhere, and have empty lines between', async () => {
    await using folder = await Folder.make()
    for (const [from, to] of [
      [1, 1],
      [2, 5],
      [3, 4],
      [5, 5],
    ] as const) {
      const report = await check(folder, ['', ...lines.slice(from - 1, to).flatMap((line) => [line, ''])])
      const { verdict, first, last, entries } = report
      assert.deepEqual([verdict, first, last, entries], ['whole', from, to, to - from + 1])
    }
  })

  test('that says what the first entry of all follows is not believed', async () => {
    await using folder = await Folder.make()
    const bare = { ...(CHAIN[0] ?? assert.fail('none')), hash: '' }
    const previous = 'f'.repeat(64)
    const forged = { ...bare, previous, hash: auditHash(previous, hashedEntryOf(bare)) }
    assert.deepEqual(found(await check(folder, [JSON.stringify(forged)])), ['changed 1'])
  })

  test('of lines that do not name their store is of none that is known', async () => {
    await using folder = await Folder.make()
    for (const id of ['other', 'if://s2/audit/', undefined]) {
      const { id: _, ...entry } = JSON.parse(lines[0] ?? '')
      assert.equal((await check(folder, [JSON.stringify({ ...entry, id })])).store, null)
    }
  })

  test('in which no line is an entry is refused', async () => {
    await using folder = await Folder.make()
    for (const none of [[], ['', ''], ['no JSON'], ['{}', '[]']])
      await assert.rejects(check(folder, none), { code: 'invalid', message: /is no audit trail/ })
  })

  test('that is long says now and then how far it is', async () => {
    await using folder = await Folder.make()
    const told: number[] = []
    const many = [...lines, ...Array.from({ length: 99_994 }, () => '0')]
    await check(folder, many, { ...PARTS, onProgress: (count) => void told.push(count) })
    assert.equal(told.length, 1)
    assert.equal(told[0], 50_000)
  })
})
