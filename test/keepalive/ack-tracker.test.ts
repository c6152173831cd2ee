import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StoredMessage } from '#fleet/message.ts'
import { recordingLog } from '#runtime/log.ts'
import { AckTracker } from '../../services/keepalive/ack-tracker.ts'
import { InboxScan } from '../../services/keepalive/inbox-scan.ts'
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
  const session = MESSAGE.to
  const acks = { queue: () => undefined, repeatAck: () => undefined }
  const tracker = new AckTracker({ session, inbox, clock, log, acks })
  const scan = new InboxScan({ inbox, clock, trackedBy: (id) => (tracker.tracks(id) ? session : undefined) })
  tracker.onPlaced([MESSAGE], await inbox.putAll([MESSAGE]))
  await inbox.ack([1])
  // It comes once more while the bridge is being told of the ack; a slow disk answers only when all is over.
  const again = await inbox.putAll([MESSAGE])
  assert.equal(again[0]?.as, 'known')
  await tracker.onConfirmed([1], 'acked')
  tracker.onPlaced([MESSAGE], again)
  for (let scans = 0; scans < 5; scans += 1) {
    const scanned = await scan.scan()
    tracker.onScan(scanned)
    await tracker.forgetAcked(scanned)
    clock.pause(6_000)
  }
  assert.deepEqual(log.records, [])
})
