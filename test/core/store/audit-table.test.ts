/** The audit chain in its table: what is appended, and what is read of it, also of a database of before. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { AUDIT_ROOT, auditHash, CHAIN_START, DETAILS_DEPTH_MAX } from '#fleet/audit.ts'
import { SqliteConnection } from '#store/sqlite/file/connection.ts'
import {
  type AuditRow,
  allRows,
  baseOf,
  entryOf,
  hasSegments,
  headOf,
  proveChain,
  storeIdOf,
} from '#store/sqlite/tables/audit-chain.ts'
import { TablesScene } from './tables-scene.ts'

const ACT = { actor: 'admin', action: 'act', details: { task: 't' } } as const

test('an act is appended with its place, its time, what it was done to and how it ended', () => {
  using scene = new TablesScene()
  const { chain } = scene.tables
  chain.append(ACT)
  scene.clock.pause(5)
  chain.append({ ...ACT, result: 'conflict', what: null, details: { b: 1, a: 2 } })
  const { clock } = scene
  const plain = { version: 2, actor: 'admin', action: 'act', latencyMs: null, request: null } as const
  const [one, two] = chain.audit(0, 10)
  assert.ok(one && two)
  const first = { ...plain, seq: 1, at: clock.wall() - 5, what: 'task/t', result: 'done', details: { task: 't' } }
  assert.deepEqual({ ...one, hash: '' }, { ...first, hash: '' })
  const second = { ...plain, seq: 2, at: clock.wall(), what: null, result: 'conflict', details: { a: 2, b: 1 } }
  assert.deepEqual({ ...two, hash: '' }, { ...second, hash: '' })
  assert.equal(one.hash, auditHash(AUDIT_ROOT, { ...one, detailsJson: '{"task":"t"}' }))
  assert.equal(two.hash, auditHash(one.hash, { ...two, detailsJson: '{"a":2,"b":1}' }))
  assert.deepEqual([chain.audit(1, 10), chain.audit(0, 1)], [[two], [one]])
})

test('what is done for a request bears its id and how long it took, and what follows bears neither', () => {
  using scene = new TablesScene()
  const { clock } = scene
  const { chain } = scene.tables
  const since = clock.now()
  clock.pause(7)
  assert.equal(
    chain.within({ id: 'r1', since }, () => {
      chain.append(ACT)
      return 'done'
    }),
    'done',
  )
  chain.within({ id: null, since }, () => chain.append(ACT))
  const fails = () => chain.within({ id: 'r2', since }, () => assert.fail('refused'))
  assert.throws(fails, /refused/)
  chain.append(ACT)
  const seen = chain.audit(0, 10).map(({ request, latencyMs }) => [request, latencyMs])
  assert.deepEqual(seen, [
    ['r1', 7],
    [null, 7],
    [null, null],
  ])
})

test('after a transaction that was rolled back the chain goes on where it stands', () => {
  using scene = new TablesScene()
  const { chain } = scene.tables
  chain.append(ACT)
  const { hash } = headOf(scene.connection)
  scene.connection.begin()
  chain.append({ ...ACT, details: { task: 'undone' } })
  scene.connection.rollback()
  chain.forgetHead()
  chain.append(ACT)
  assert.deepEqual(
    chain.audit(0, 10).map(({ seq }) => seq),
    [1, 2],
  )
  assert.equal(proveChain(scene.connection, 'x.db').seq, 2)
  assert.notEqual(headOf(scene.connection).hash, hash)
})

test('a program’s own act is checked and redacted before it is appended', () => {
  using scene = new TablesScene()
  const { chain } = scene.tables
  assert.throws(() => chain.record({ ...ACT, action: 'Not a word' }), { code: 'invalid' })
  const secret = ['f'.repeat(32), '0'.repeat(32)].join('')
  chain.record({ ...ACT, details: { why: secret } })
  chain.append({ ...ACT, details: { why: secret } })
  const kept = chain.rows(0, 10).map(({ detailsJson }) => detailsJson)
  assert.equal(kept.length, 2)
  assert.ok(!kept.join().includes(secret))
})

test('the head of a chain names its store by what is kept of the secret', () => {
  using scene = new TablesScene()
  const { chain } = scene.tables
  const key = scene.connection.get<{ token_key: Uint8Array }>('SELECT token_key FROM s2_secrets')?.token_key
  assert.ok(key)
  const store = createHash('sha256').update('s2-audit-store').update(key).digest('hex').slice(0, 16)
  assert.deepEqual(chain.auditHead(), { ...CHAIN_START, store, at: scene.clock.wall() })
  chain.append(ACT)
  const { seq, hash } = chain.audit(0, 10)[0] ?? assert.fail('nothing')
  assert.deepEqual(chain.auditHead(), { seq, hash, store, at: scene.clock.wall() })
  scene.connection.run('DELETE FROM s2_secrets')
  assert.deepEqual([storeIdOf(scene.connection), chain.auditHead().store], [null, 'none'])
})

test('details that nobody could have written are shown as they stand', () => {
  const names = { version: 2, seq: 5, at: 1, actor: 'a', action: 'b', what: null, result: 'done' } as const
  const row: AuditRow = { ...names, latencyMs: null, request: null, hash: 'h', detailsJson: '{}' }
  const { detailsJson: _, ...entry } = row
  for (const json of [
    'no JSON',
    'null',
    '5',
    '"text"',
    '[]',
    `{"a":${'['.repeat(DETAILS_DEPTH_MAX)}${']'.repeat(DETAILS_DEPTH_MAX)}}`,
  ])
    assert.deepEqual(entryOf({ ...row, detailsJson: json }), { ...entry, details: { unreadable: json } })
  assert.deepEqual(entryOf({ ...row, detailsJson: '{"a":[1]}' }), { ...entry, details: { a: [1] } })
})

test('a chain of many pages is read whole and in order, once', () => {
  using scene = new TablesScene()
  const { chain } = scene.tables
  let written = 0
  for (const length of [0, 1, 1_000, 2_001]) {
    scene.connection.begin()
    for (; written < length; written += 1) chain.append(ACT)
    scene.connection.commit()
    const seqs: number[] = []
    for (const { seq } of allRows(scene.connection)) if (seqs.push(seq) > length) break
    assert.deepEqual(
      seqs,
      Array.from({ length }, (_, index) => index + 1),
    )
  }
})

test('a database of before has the former columns, and no segments', () => {
  using connection = new SqliteConnection(':memory:', { create: true })
  connection.exec('CREATE TABLE s2_audit (seq INTEGER PRIMARY KEY, at, actor, action, details, hash)')
  connection.run("INSERT INTO s2_audit VALUES (1, 5, 'a', 'b', '{}', 'h')")
  const names = { version: 1, seq: 1, at: 5, actor: 'a', action: 'b', what: null, result: 'done' }
  assert.deepEqual(
    [...allRows(connection)],
    [{ ...names, latencyMs: null, request: null, detailsJson: '{}', hash: 'h' }],
  )
  assert.equal(hasSegments(connection), false)
  assert.deepEqual(baseOf(connection), CHAIN_START)
})

test('the first entry in a database follows the last one that was sealed', () => {
  using scene = new TablesScene()
  assert.equal(hasSegments(scene.connection), true)
  assert.deepEqual(baseOf(scene.connection), CHAIN_START)
  const insert =
    'INSERT INTO s2_segments (kind, first, last, hash, digest, file, sealed_at) VALUES (?, ?, ?, ?, ?, ?, 0)'
  for (const [kind, first, last, hash] of [
    ['audit', 1, 3, 'h3'],
    ['audit', 4, 6, 'h6'],
    ['messages', 1, 9, ''],
  ] as const)
    scene.connection.run(insert, kind, first, last, hash, '0'.repeat(64), `${kind}-${first}`)
  assert.deepEqual(baseOf(scene.connection), { seq: 6, hash: 'h6' })
})

test('a chain is proved to its last entry, or the first that is wrong is named', () => {
  using scene = new TablesScene()
  const { connection } = scene
  for (let n = 0; n < 5; n += 1) scene.tables.chain.append(ACT)
  assert.deepEqual(proveChain(connection, 'x.db'), headOf(connection))
  const proves = () => proveChain(connection, 'x.db')
  connection.run("UPDATE s2_audit SET actor = 'nobody' WHERE seq = 4")
  assert.throws(proves, { code: 'unavailable', message: 'the audit chain of x.db is broken: its entry 4 was changed' })
  connection.run('DELETE FROM s2_audit WHERE seq = 3')
  assert.throws(proves, { message: 'the audit chain of x.db is broken: its entry 3 is missing' })
})
