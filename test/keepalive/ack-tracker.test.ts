import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StoredMessage } from '#fleet/message.ts'
import { recordingLog } from '#runtime/log.ts'
import { AckTracker } from '../../services/keepalive/ack-tracker.ts'
import { ManualClock } from '../manual-clock.ts'
import { MemoryInbox } from './spool.ts'

const MESSAGE: StoredMessage = {
  id: 1,
  from: 'conv_0123456789abcdef/a',
  to: 'conv_0123456789abcdef/b',
  text: 'hello',
  action: null,
  files: [],
  sentAt: 0,
  delivery: 'queued',
}

test('a message that was found here just before it was let go is not taken for one that somebody removed', async () => {
  const clock = new ManualClock()
  const inbox = new MemoryInbox()
  const log = recordingLog()
  const shelves = new AckTracker({
    inbox,
    clock,
    log,
    reader: () => ({ owe: () => undefined, reaffirm: () => undefined }),
  })
  shelves.onBrought(MESSAGE.to, [MESSAGE], await inbox.putAll([MESSAGE]))
  await inbox.ack([1])
  // It comes once more while the bridge is being told of the ack; a slow disk answers only when all is over.
  const again = await inbox.putAll([MESSAGE])
  assert.equal(again[0]?.as, 'known')
  await shelves.onTold([1], 'acked')
  shelves.onBrought(MESSAGE.to, [MESSAGE], again)
  for (let looks = 0; looks < 5; looks += 1) {
    await shelves.look()
    clock.pause(6_000)
  }
  assert.deepEqual(log.records, [])
})
