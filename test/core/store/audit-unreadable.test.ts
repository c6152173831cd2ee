/** An audit trail whose details nobody can read: verification names the entry, and goes on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { auditHash } from '#fleet/audit.ts'
import { verifyTrail } from '#store/sqlite/audit/trail.ts'
import { SqliteConnection } from '#store/sqlite/file/connection.ts'
import { type AuditRow, allRows, entryOf } from '#store/sqlite/tables/audit-chain.ts'
import { Ground, openChannel } from './sqlite-ground.ts'

const ACTIONS = ['foreign_sealed', 'segment_sealed', 'database_restored']
const DETAILS = [
  'no JSON',
  'null',
  '5',
  '[]',
  '{"from":"x","first":"x","replaced":5}',
  '{"from":1,"to":1e99,"file":7,"replaced":{"seq":"x"}}',
]

/** Gives an entry other details, and all from there on the hashes that fit, as one can who owns the database. */
function forge(database: Parameters<Parameters<Ground['look']>[0]>[0], row: AuditRow, rest: readonly AuditRow[]): void {
  let previous = rest.findLast(({ seq }) => seq < row.seq)?.hash ?? ''
  database.pragma('ignore_check_constraints = ON')
  for (const each of [row, ...rest.filter(({ seq }) => seq > row.seq)]) {
    previous = auditHash(previous, each)
    const change = 'UPDATE s2_audit SET action = ?, details = ?, hash = ? WHERE seq = ?'
    database.prepare(change).run(each.action, each.detailsJson, previous, each.seq)
  }
}

test('details that cannot be read are a fault of their entry, and the rest is gone through', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a } = await openChannel(store)
  for (let n = 0; n < 10; n += 1) await store.send(a, `k${n}`, { text: 'x' })
  await store[Symbol.asyncDispose]()
  using connection = new SqliteConnection(ground.path, { create: false })
  const rows = [...allRows(connection)]
  const row = rows[4] ?? assert.fail('no entry 5')
  for (const action of ACTIONS) {
    for (const detailsJson of DETAILS) {
      ground.look((database) => forge(database, { ...row, action, detailsJson }, rows))
      const report = await verifyTrail(ground.path, {
        segments: null,
        heads: [],
        keys: null,
        onProgress: () => undefined,
      })
      const found = report.faults.map(({ kind, seq }) => `${kind} ${seq}`)
      assert.deepEqual(found, ['unreadable 5'], `${action} ${detailsJson}: ${JSON.stringify(report.faults)}`)
      assert.equal(report.last, 11, 'it goes on')
    }
  }
})

test('they are shown as they stand, and no reader breaks off at them', () => {
  const row: AuditRow = {
    ...{ version: 2, seq: 5, at: 1, actor: 'a', action: 'b', what: null, result: 'done', latencyMs: null },
    ...{ request: null, hash: 'h' },
    detailsJson: '',
  }
  const deep = `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
  for (const detailsJson of ['no JSON', 'null', '5', '[]', '', deep]) {
    const shown = JSON.parse(JSON.stringify(entryOf({ ...row, detailsJson }))) as { details: unknown }
    assert.deepEqual(shown.details, { unreadable: detailsJson })
  }
  assert.deepEqual(entryOf({ ...row, detailsJson: '{"a":1}' }).details, { a: 1 })
})
