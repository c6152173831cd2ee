/** What is no item, and drafts whose writers died, leave the outbox while it is scanned, some at a time. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Outbox } from '#spool/outbox.ts'
import { OutboxScan } from '../../services/keepalive/outbox-scan.ts'
import { ManualClock } from '../manual-clock.ts'

const FROM = 'conv_00000000000000aa/b'

test('junk and old drafts go when a scan begins and once a minute, some at a time, and hold no item up', async (context) => {
  const state = mkdtempSync(join(tmpdir(), 's2-scan-'))
  context.after(() => rmSync(state, { recursive: true, force: true }))
  const outbox = new Outbox(state)
  const item = await outbox.put({ kind: 'send', from: FROM, draft: { text: 'hello' } })
  const clock = new ManualClock()
  const junk = (count: number): void => {
    for (let n = 0; n < count; n += 1) {
      writeFileSync(join(state, 'outbox/new', `junk ${n}`), '')
      writeFileSync(join(state, 'outbox/tmp', `draft ${n}`), '')
      utimesSync(join(state, 'outbox/tmp', `draft ${n}`), 1, 1)
    }
    writeFileSync(join(state, 'outbox/tmp', 'fresh'), '')
    utimesSync(join(state, 'outbox/tmp', 'fresh'), clock.wall() / 1000, clock.wall() / 1000)
  }
  const left = (): number[] => ['new', 'tmp'].map((folder) => readdirSync(join(state, 'outbox', folder)).length)

  junk(250)
  const scan = new OutboxScan(outbox, clock)
  assert.deepEqual([...((await scan.scan()) ?? [])], [[FROM, [item]]])
  assert.deepEqual(left(), [51, 51], '200 of each have gone')
  clock.pause(59_000)
  await scan.scan()
  assert.deepEqual(left(), [51, 51])
  clock.pause(1_000)
  await scan.scan()
  assert.deepEqual(left(), [1, 1], 'the item, and the draft of a living writer')
})

test('an outbox that cannot be tidied is scanned all the same, until the next minute', async () => {
  const clock = new ManualClock()
  let tidied = 0
  const scan = new OutboxScan(
    {
      names: async () => ['0000000000000001-0123456789abcdef'],
      read: async () => ({ kind: 'send', from: FROM, key: 'k', draft: { text: 'x', action: null, files: [] } }),
      tidy: async () => {
        tidied += 1
        throw new Error('the disk reports an error')
      },
    },
    clock,
  )
  await assert.rejects(scan.scan(), /the disk/)
  assert.equal((await scan.scan())?.size, 1)
  assert.equal(tidied, 1)
})
