import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import { HeldCopies } from '../../services/bridge/held-copies.ts'

test('copies that programs kept of a database are one incident, until somebody moves them away', async () => {
  const folder = mkdtempSync(join(tmpdir(), 's2-held-'))
  const log = recordingLog()
  await using store = openMemoryStore({ clock: systemClock })
  const copies = new HeldCopies(`sqlite:${join(folder, 'bridge.db')}`, { store, log })
  const open = async (): Promise<string[]> => (await store.incidents({ open: true })).map(({ summary }) => summary)
  await copies.look()
  assert.deepEqual(await open(), [])
  const held = join(folder, 'bridge.db.held-20261130T060000.000Z-42')
  writeFileSync(held, '')
  writeFileSync(join(folder, 'other.db.held-20261130T060000.000Z-43'), '')
  for (let look = 0; look < 2; look += 1) await copies.look()
  const [summary = '', ...more] = await open()
  assert.deepEqual(more, [])
  assert.ok(summary.includes(`${held}: bring back what is missing`), summary)
  assert.equal(log.records.filter(({ event }) => event === 'held copies beside the database').length, 1)
  rmSync(held)
  const later = new HeldCopies(`sqlite:${join(folder, 'bridge.db')}`, { store, log })
  await later.look()
  assert.deepEqual(await open(), [])
  rmSync(folder, { recursive: true })
})
